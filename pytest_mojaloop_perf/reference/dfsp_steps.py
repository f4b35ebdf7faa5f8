"""The synchronous transfer in three steps: look up the payee, accept it, accept the quote."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from pytest_mojaloop_perf.fspiop import bodies
from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.codes import INTERNAL_SERVER
from pytest_mojaloop_perf.fspiop.http import Request, Response
from pytest_mojaloop_perf.fspiop.ilp import fulfils
from pytest_mojaloop_perf.fspiop.schema import decode_body
from pytest_mojaloop_perf.model import Dfsp
from pytest_mojaloop_perf.reference.dfsp_book import Transfers, TransferView
from pytest_mojaloop_perf.reference.dfsp_exchange import Exchange
from pytest_mojaloop_perf.reference.dfsp_inbound import party_key
from pytest_mojaloop_perf.reference.dfsp_payee import timestamp
from pytest_mojaloop_perf.reference.dfsp_sender import RefusedError
from pytest_mojaloop_perf.reference.rendezvous import Callback, CallbackTimeoutError

__all__ = ["Steps", "new_ulid"]

_VERSION = "2.0"
_JSON = (("content-type", "application/json; charset=utf-8"),)
_KEEP_S = 600.0
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PARTY = "WAITING_FOR_PARTY_ACCEPTANCE"
_QUOTE = "WAITING_FOR_QUOTE_ACCEPTANCE"


class _Person(msgspec.Struct, rename="camel", kw_only=True):
    """A payer or payee as this API names it; what else it may say is passed over."""

    id_type: str
    id_value: bodies.Text128
    id_sub_value: bodies.Text128 | None = None
    fsp_id: bodies.FspId | None = None


class _Begin(bodies.Body, frozen=True, kw_only=True):
    """POST /transfers of the synchronous API."""

    home_transaction_id: str
    payer: _Person = msgspec.field(name="from")
    payee: _Person = msgspec.field(name="to")
    amount_type: Literal["SEND", "RECEIVE"]
    currency: bodies.Currency
    amount: bodies.Amount
    transaction_type: Literal["TRANSFER"]
    sub_scenario: str | None = None
    note: bodies.Text128 | None = None
    quote_request_extensions: Any = None
    transfer_request_extensions: Any = None
    skip_party_lookup: bool = False
    prepare_expiry_seconds: int | None = None
    quote_expiry_seconds: int | None = None


class _GoOn(msgspec.Struct, rename="camel", kw_only=True):
    """PUT /transfers/{id}."""

    accept_party: bool | None = None
    accept_quote: bool | None = None


class _StepError(Exception):
    """A step failed: the HTTP status, the code for the body, and the callback's error, if that was it."""

    def __init__(self, status: int, code: str, message: str, information: Any = None) -> None:
        self.status = status
        self.code = code
        self.information = information
        super().__init__(message)


class Steps:
    """The transfers of one DFSP that are being made step by step; each is forgotten after ten minutes."""

    def __init__(self, dfsp: Dfsp, exchange: Exchange, transfers: Transfers, *, expiry_s: float) -> None:
        self._fsp_id = dfsp.fsp_id
        self._exchange = exchange
        self._transfers = transfers
        self._expiry_s = expiry_s
        self._states: dict[str, tuple[float, dict[str, Any]]] = {}

    async def begin(self, request: Request, segments: list[str]) -> Response:
        """POST /transfers: look the payee up, or go straight to the quote."""
        del segments
        wanted = decode_body(_Begin, request.body, flavour="sdk")
        state = msgspec.json.decode(request.body)
        state |= {"transferId": new_ulid(), "direction": "OUTBOUND", "initiatedTimestamp": timestamp()}
        self._keep(state)
        step = self._quote if wanted.skip_party_lookup and wanted.payee.fsp_id else self._look_up_party
        return await self._run(step, state, request)

    async def go_on(self, request: Request, segments: list[str]) -> Response:
        """PUT /transfers/{id}: accept the payee or the quote, or abort."""
        kept = self._states.get(segments[1])
        if kept is None:
            return _failure(500, INTERNAL_SERVER, f"no transfer {segments[1]}", {})
        try:
            answer = msgspec.json.decode(request.body, type=_GoOn)
        except msgspec.DecodeError as error:
            return Response(400, msgspec.json.encode({"message": str(error), "statusCode": 400}), _JSON)
        state = kept[1]
        given = {_PARTY: answer.accept_party, _QUOTE: answer.accept_quote}.get(state.get("currentState", ""))
        if given is None:
            return _failure(500, INTERNAL_SERVER, f"nothing to accept in {state.get('currentState')}", state)
        if not given:
            what = "Party" if state["currentState"] == _PARTY else "Quote"
            state |= {"currentState": "ABORTED", "abortedReason": f"{what} rejected by backend"}
            return Response(200, msgspec.json.encode(state), _JSON)
        step = self._quote if state["currentState"] == _PARTY else self._prepare
        return await self._run(step, state, request)

    async def look_up(self, request: Request, segments: list[str]) -> Response:
        """GET /transfers/{id}: ask the hub."""
        state: dict[str, Any] = {"transferId": segments[1]}

        async def ask(state: dict[str, Any], trace: Mapping[str, str]) -> None:
            path = f"/transfers/{quote(segments[1], safe='')}"
            state["fulfil"] = await self._call(f"transfers/{segments[1]}", "GET", path, trace)
            state["currentState"] = "COMPLETED"

        return await self._run(ask, state, request)

    async def _run(self, step: Any, state: dict[str, Any], request: Request) -> Response:
        """Do one step and return the whole state, or the error and the state."""
        try:
            await step(state, request.headers)
        except _StepError as error:
            state["currentState"] = "ERROR_OCCURRED"
            state["lastError"] = {"httpStatusCode": error.status, "mojaloopError": error.information}
            return _failure(error.status, error.code, str(error), state)
        return Response(200, msgspec.json.encode(state), _JSON)

    async def _look_up_party(self, state: dict[str, Any], trace: Mapping[str, str]) -> None:
        payee = state["to"]
        named = [payee["idType"], payee["idValue"]]
        if payee.get("idSubValue"):
            named.append(payee["idSubValue"])
        path = "/parties/" + "/".join(quote(part, safe="") for part in named)
        state["getPartiesResponse"] = await self._call(party_key(named), "GET", path, trace)
        party = state["getPartiesResponse"]["body"]["party"]
        payee["fspId"] = party["partyIdInfo"].get("fspId")
        name = party.get("personalInfo", {}).get("complexName", {})
        payee |= {key: name[key] for key in ("firstName", "middleName", "lastName") if key in name}
        state["currentState"] = _PARTY

    async def _quote(self, state: dict[str, Any], trace: Mapping[str, str]) -> None:
        body = {
            "quoteId": new_ulid(),
            "transactionId": state["transferId"],
            "payer": {"partyIdInfo": _party_id(state["from"], self._fsp_id)},
            "payee": {"partyIdInfo": _party_id(state["to"], state["to"]["fspId"])},
            "amountType": state["amountType"],
            "amount": {"amount": state["amount"], "currency": state["currency"]},
            "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
            "expiration": timestamp(after_s=self._expiry_s),
        }
        if state.get("note"):
            body["note"] = state["note"]
        state |= {"quoteId": body["quoteId"], "quoteRequest": {"body": body}}
        key = f"quotes/{body['quoteId']}"
        response = await self._call(key, "POST", "/quotes", trace, body=body, to=state["to"]["fspId"])
        state |= {
            "quoteResponse": response,
            "quoteResponseSource": response["headers"].get("fspiop-source"),
            "currentState": _QUOTE,
        }

    async def _prepare(self, state: dict[str, Any], trace: Mapping[str, str]) -> None:
        quoted = state["quoteResponse"]["body"]
        payee_fsp = state["to"]["fspId"]
        body = {
            "transferId": state["transferId"],
            "payerFsp": self._fsp_id,
            "payeeFsp": payee_fsp,
            "amount": quoted["transferAmount"],
            "ilpPacket": quoted["ilpPacket"],
            "condition": quoted["condition"],
            "expiration": timestamp(after_s=self._expiry_s),
        }
        self._transfers.begin(
            TransferView(
                transfer_id=state["transferId"],
                role="payer",
                state="SENT",
                amount=body["amount"]["amount"],
                currency=body["amount"]["currency"],
                counterparty=payee_fsp,
            )
        )
        state["prepare"] = {"body": body}
        key = f"transfers/{state['transferId']}"
        state["fulfil"] = await self._call(key, "POST", "/transfers", trace, body=body, to=payee_fsp)
        if not fulfils(state["fulfil"]["body"].get("fulfilment", ""), quoted["condition"]):
            raise _StepError(500, "500", "Invalid fulfilment received from peer DFSP.")
        state["currentState"] = "COMPLETED"

    async def _call(
        self,
        key: str,
        method: str,
        path: str,
        trace: Mapping[str, str],
        *,
        body: dict[str, Any] | None = None,
        to: str | None = None,
    ) -> dict[str, Any]:
        """Return the body and headers of the callback.

        Raises:
            _StepError: an error callback, none in time, or a refusal.
        """
        content = encode_sorted(body) if body is not None else b""
        try:
            callback: Callback = await self._exchange.call(
                "transfers", key, method, path, version=_VERSION, trace=trace, body=content, destination=to
            )
        except CallbackTimeoutError as error:
            raise _StepError(504, "504", f"Timeout waiting for {method} {path}") from error
        except RefusedError as error:
            raise _StepError(500, "500", str(error)) from error
        decoded = msgspec.json.decode(callback.body)
        if callback.error:
            information = decoded["errorInformation"]
            code = information["errorCode"]
            raise _StepError(500, code, f"Got an error response: {information['errorDescription']}", decoded)
        return {"body": decoded, "headers": dict(callback.headers)}

    def _keep(self, state: dict[str, Any]) -> None:
        now = time.monotonic()
        self._states[state["transferId"]] = (now + _KEEP_S, state)
        while (oldest := next(iter(self._states.items())))[1][0] < now:
            del self._states[oldest[0]]


def new_ulid() -> str:
    """Return a new ULID: 48 bits of milliseconds and 80 random bits, in Crockford's base 32."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def _party_id(person: dict[str, Any], fsp_id: str | None) -> dict[str, str]:
    party = {"partyIdType": person["idType"], "partyIdentifier": person["idValue"]}
    if person.get("idSubValue"):
        party["partySubIdOrType"] = person["idSubValue"]
    if fsp_id:
        party["fspId"] = fsp_id
    return party


def _failure(status: int, code: str, message: str, state: dict[str, Any]) -> Response:
    body = {"message": message, "transferState": state, "statusCode": code}
    return Response(status, msgspec.json.encode(body), _JSON)
