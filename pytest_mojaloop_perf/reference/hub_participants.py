"""FSPIOP /participants: DFSPs tell the oracle which parties are theirs, one by one or thousands at once."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qs

from msgspec import Meta

from pytest_mojaloop_perf.fspiop import bodies
from pytest_mojaloop_perf.fspiop.codes import ID_NOT_FOUND, PARTY_NOT_FOUND
from pytest_mojaloop_perf.fspiop.http import Response
from pytest_mojaloop_perf.fspiop.schema import decode_body
from pytest_mojaloop_perf.reference.forwarding import Courier
from pytest_mojaloop_perf.reference.hub_inbound import FspiopRoutes, Inbound
from pytest_mojaloop_perf.reference.ledger_book import POSITION, Book

__all__ = ["Participants", "ParticipantsBatch"]

ADD_PARTY_ERROR = "3003"


class ParticipantsBatch(bodies.Body, frozen=True, kw_only=True):
    """POST /participants: many parties in one request."""

    request_id: bodies.CorrelationId
    party_list: Annotated[tuple[bodies.PartyIdInfo, ...], Meta(min_length=1, max_length=10_000)]
    currency: bodies.Currency | None = None


class Participants:
    """GET and POST /participants/{Type}/{ID}[/{SubId}], and POST /participants for a list."""

    def __init__(self, book: Book, courier: Courier) -> None:
        self._book = book
        self._courier = courier

    def routes(self) -> FspiopRoutes:
        """Return what this part answers."""
        routes: FspiopRoutes = {("POST", "participants", 0, False): self.add_many}
        for ids in (2, 3):
            routes["GET", "participants", ids, False] = self.get
            routes["POST", "participants", ids, False] = self.add
        return routes

    async def add(self, inbound: Inbound) -> Response:
        """Register one party; the outcome comes by callback."""
        body = decode_body(bodies.ParticipantsPost, inbound.body)
        self._courier.spawn(self._add(inbound, body))
        return Response(202)

    async def add_many(self, inbound: Inbound) -> Response:
        """Register a list of parties; the outcome of each comes in one callback."""
        body = decode_body(ParticipantsBatch, inbound.body)
        self._courier.spawn(self._add_many(inbound, body))
        return Response(202)

    async def get(self, inbound: Inbound) -> Response:
        """Tell by callback which FSP a party belongs to."""
        self._courier.spawn(self._get(inbound))
        return Response(202)

    async def _add(self, inbound: Inbound, body: bodies.ParticipantsPost) -> None:
        id_type, identifier, *rest = inbound.ids
        sub_id = rest[0] if rest else ""
        problem = self._problem(inbound.source, id_type, body.fsp_id, body.currency)
        if problem:
            await self._refuse(inbound, ADD_PARTY_ERROR, problem)
            return
        await self._book.add_parties([(id_type, identifier, sub_id, body.fsp_id, body.currency or "")])
        party = {"partyIdType": id_type, "partyIdentifier": identifier, "fspId": body.fsp_id}
        if sub_id:
            party["partySubIdOrType"] = sub_id
        answer: dict[str, Any] = {"partyList": [party]}
        if body.currency:
            answer["currency"] = body.currency
        await self._tell(inbound, answer)

    async def _add_many(self, inbound: Inbound, body: ParticipantsBatch) -> None:
        accepted: list[tuple[str, str, str, str, str]] = []
        results: list[dict[str, Any]] = []
        for party in body.party_list:
            owner = party.fsp_id or inbound.source
            sub_id = party.party_sub_id_or_type or ""
            result: dict[str, Any] = {
                "partyId": {
                    "partyIdType": party.party_id_type,
                    "partyIdentifier": party.party_identifier,
                    "fspId": owner,
                }
            }
            if sub_id:
                result["partyId"]["partySubIdOrType"] = sub_id
            problem = self._problem(inbound.source, party.party_id_type, owner, body.currency)
            if problem:
                result["errorInformation"] = {"errorCode": ADD_PARTY_ERROR, "errorDescription": problem}
            else:
                accepted.append(
                    (party.party_id_type, party.party_identifier, sub_id, owner, body.currency or "")
                )
            results.append(result)
        await self._book.add_parties(accepted)
        answer: dict[str, Any] = {"partyList": results}
        if body.currency:
            answer["currency"] = body.currency
        await self._courier.tell(
            "PUT",
            "participants",
            (body.request_id,),
            answer,
            to=inbound.source,
            endpoint="PARTICIPANT_BATCH_PUT",
        )

    async def _get(self, inbound: Inbound) -> None:
        id_type, identifier, *rest = inbound.ids
        if id_type not in self._book.oracle_types:
            await self._refuse(inbound, ID_NOT_FOUND, f"There is no oracle for {id_type}")
            return
        found = self._book.parties.get((id_type, identifier, rest[0] if rest else ""))
        currency = parse_qs(inbound.query).get("currency", [None])[0]
        if found is None or (currency and found[1] and currency != found[1]):
            await self._refuse(inbound, PARTY_NOT_FOUND, "Party not found")
            return
        await self._tell(inbound, {"fspId": found[0]})

    def _problem(self, source: str, id_type: str, owner: str, currency: str | None) -> str | None:
        """Return why a party cannot be registered, or None. Nobody registers parties for another FSP."""
        if owner != source or not self._courier.knows(owner):
            return "fspId is not an active participant, or not the sender"
        if id_type not in self._book.oracle_types:
            return f"There is no oracle for {id_type}"
        if currency and self._book.account(owner, currency, POSITION) is None:
            return f"{owner} has no {currency} account"
        return None

    async def _tell(self, inbound: Inbound, body: dict[str, Any]) -> None:
        await self._courier.tell(
            "PUT", "participants", inbound.ids, body, to=inbound.source, endpoint=_endpoint(inbound, "PUT")
        )

    async def _refuse(self, inbound: Inbound, code: str, why: str) -> None:
        endpoint = _endpoint(inbound, "PUT_ERROR")
        await self._courier.tell_error(
            "participants", inbound.ids, code, why, to=inbound.source, endpoint=endpoint
        )


def _endpoint(inbound: Inbound, kind: str) -> str:
    return f"PARTICIPANT_SUB_ID_{kind}" if len(inbound.ids) == 3 else f"PARTICIPANT_{kind}"
