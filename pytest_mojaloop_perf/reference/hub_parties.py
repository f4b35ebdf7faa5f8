"""Parties and quotes: look up by the oracle, then pass messages between payer and payee."""

from __future__ import annotations

import asyncio

from pytest_mojaloop_perf.faults import FaultSwitches
from pytest_mojaloop_perf.fspiop import bodies
from pytest_mojaloop_perf.fspiop.codes import (
    DESTINATION_COMMUNICATION,
    DESTINATION_FSP,
    ID_NOT_FOUND,
    PARTY_NOT_FOUND,
)
from pytest_mojaloop_perf.fspiop.http import Response
from pytest_mojaloop_perf.fspiop.schema import decode_body
from pytest_mojaloop_perf.reference.forwarding import Courier
from pytest_mojaloop_perf.reference.hub_inbound import FspiopRoutes, Inbound
from pytest_mojaloop_perf.reference.hub_metrics import HubMetrics
from pytest_mojaloop_perf.reference.ledger_book import Book

__all__ = ["Parties"]

ACCEPTED = Response(202)
OK = Response(200)


class Parties:
    """GET and PUT /parties/{Type}/{ID}[/{SubId}][/error]."""

    def __init__(self, book: Book, courier: Courier, metrics: HubMetrics, faults: FaultSwitches) -> None:
        self._book = book
        self._courier = courier
        self._delay_s = faults.delay_s("discovery")
        self._get_time = metrics.histogram("moja_getPartiesByTypeAndID", success="true")
        self._put_time = metrics.histogram("moja_putPartiesByTypeAndID", success="true")

    def routes(self) -> FspiopRoutes:
        """Return what this part answers."""
        routes: FspiopRoutes = {}
        for ids in (2, 3):
            routes["GET", "parties", ids, False] = self.get
            routes["PUT", "parties", ids, False] = self.put
            routes["PUT", "parties", ids, True] = self.put
        return routes

    async def get(self, inbound: Inbound) -> Response:
        """Look a party up: 202, then the request goes to the payee or an error callback to the asker."""
        self._courier.spawn(self._look_up(inbound))
        return ACCEPTED

    async def put(self, inbound: Inbound) -> Response:
        """Pass the payee's answer on to the asker."""
        destination = inbound.wanted_destination()
        decode_body(bodies.ErrorInformationObject if inbound.is_error else bodies.PartiesPut, inbound.body)
        self._courier.spawn(self._pass_back(inbound, destination))
        return OK

    async def _look_up(self, inbound: Inbound) -> None:
        if not self._courier.knows(inbound.source):
            # Code 3200; but an unknown asker has no address that it could be sent to.
            return
        payee, code, why = self._payee(inbound)
        if payee is not None:
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            sent = await self._courier.forward(inbound, payee, _endpoint(inbound, "GET"))
            self._get_time.since(inbound.started_s)
            if sent:
                return
            code, why = DESTINATION_COMMUNICATION, f"{payee} could not be reached"
        await self._refuse(inbound, code, why, payer_waits=True)

    def _payee(self, inbound: Inbound) -> tuple[str | None, str, str]:
        """Return the FSP to ask, or the code and the description of the error callback."""
        if inbound.destination is not None:
            known = self._courier.knows(inbound.destination)
            return (inbound.destination if known else None), DESTINATION_FSP, "Destination FSP is unknown"
        id_type, identifier, *sub_id = inbound.ids
        if id_type not in self._book.oracle_types:
            return None, ID_NOT_FOUND, f"There is no oracle for {id_type}"
        found = self._book.parties.get((id_type, identifier, sub_id[0] if sub_id else ""))
        if found is None:
            if not sub_id and (id_type, identifier) in self._book.parties_with_sub_id:
                return None, ID_NOT_FOUND, "Party is known under a sub-id only"
            return None, PARTY_NOT_FOUND, "Party not found"
        if not self._courier.knows(found[0]):
            return None, DESTINATION_FSP, f"{found[0]} is unknown or inactive"
        return found[0], "", ""

    async def _pass_back(self, inbound: Inbound, destination: str) -> None:
        if not self._courier.knows(destination):
            await self._refuse(inbound, DESTINATION_FSP, "Destination FSP is unknown")
            return
        endpoint = _endpoint(inbound, "PUT_ERROR" if inbound.is_error else "PUT")
        await self._courier.forward(inbound, destination, endpoint, payer_waits=True)
        self._put_time.since(inbound.started_s)

    async def _refuse(self, inbound: Inbound, code: str, why: str, *, payer_waits: bool = False) -> None:
        await self._courier.tell_error(
            "parties",
            inbound.ids,
            code,
            why,
            to=inbound.source,
            endpoint=_endpoint(inbound, "PUT_ERROR"),
            payer_waits=payer_waits,
        )


def _endpoint(inbound: Inbound, kind: str) -> str:
    return f"PARTIES_SUB_ID_{kind}" if len(inbound.ids) == 3 else f"PARTIES_{kind}"
