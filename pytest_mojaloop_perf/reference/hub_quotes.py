"""Quotes in Mojaloop's simple routing mode: every message is passed on, repeated ones too."""

from __future__ import annotations

import asyncio

from pytest_mojaloop_perf.faults import FaultSwitches
from pytest_mojaloop_perf.fspiop import bodies
from pytest_mojaloop_perf.fspiop.codes import (
    DESTINATION_COMMUNICATION,
    DESTINATION_FSP,
    MISSING_ELEMENT,
    PAYEE_FSP_NOT_FOUND,
    FspiopError,
)
from pytest_mojaloop_perf.fspiop.http import Response
from pytest_mojaloop_perf.fspiop.schema import decode_body
from pytest_mojaloop_perf.reference.forwarding import Courier
from pytest_mojaloop_perf.reference.hub_inbound import FspiopRoutes, Inbound
from pytest_mojaloop_perf.reference.hub_metrics import HubMetrics

__all__ = ["Quotes"]


class Quotes:
    """POST /quotes, GET and PUT /quotes/{ID}, PUT /quotes/{ID}/error."""

    def __init__(self, courier: Courier, metrics: HubMetrics, faults: FaultSwitches) -> None:
        self._courier = courier
        self._messages = metrics.messages
        self._delay_s = faults.delay_s("quote")
        name = "moja_model_quote"
        self._post_time = metrics.histogram(name, success="true", queryName="quote_handleQuoteRequest")
        self._put_time = metrics.histogram(name, success="true", queryName="quote_handleQuoteUpdate")

    def routes(self) -> FspiopRoutes:
        """Return what this part answers."""
        return {
            ("POST", "quotes", 0, False): self.post,
            ("GET", "quotes", 1, False): self.get,
            ("PUT", "quotes", 1, False): self.put,
            ("PUT", "quotes", 1, True): self.put,
        }

    async def post(self, inbound: Inbound) -> Response:
        """Pass a quote request on to the payee."""
        body = decode_body(bodies.QuotesPost, inbound.body)
        payee = inbound.destination or body.payee.party_id_info.fsp_id
        if payee is None:
            raise FspiopError(MISSING_ELEMENT, "header fspiop-destination is missing")
        self._messages["topic-quotes-post"] += 1
        self._courier.spawn(self._request(inbound, payee, body.quote_id))
        return Response(202)

    async def get(self, inbound: Inbound) -> Response:
        """Pass a question about a quote on to whom it is for."""
        destination = inbound.wanted_destination()
        self._messages["topic-quotes-get"] += 1
        self._courier.spawn(self._request(inbound, destination, inbound.ids[0]))
        return Response(202)

    async def put(self, inbound: Inbound) -> Response:
        """Pass the payee's answer on to the payer."""
        destination = inbound.wanted_destination()
        decode_body(bodies.ErrorInformationObject if inbound.is_error else bodies.QuotesPut, inbound.body)
        self._messages["topic-quotes-put"] += 1
        self._courier.spawn(self._answer(inbound, destination))
        return Response(200)

    async def _request(self, inbound: Inbound, payee: str, quote_id: str) -> None:
        if not self._courier.knows(inbound.source):
            return
        code, why = PAYEE_FSP_NOT_FOUND, f"{payee} is unknown or inactive"
        if self._courier.knows(payee):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            path = "/quotes" if inbound.method == "POST" else f"/quotes/{quote_id}"
            sent = await self._courier.forward(inbound, payee, "QUOTES", path=path)
            self._post_time.since(inbound.started_s)
            if sent:
                return
            code, why = DESTINATION_COMMUNICATION, f"{payee} could not be reached"
        await self._refuse(quote_id, code, why, to=inbound.source, payer_waits=True)

    async def _answer(self, inbound: Inbound, payer: str) -> None:
        quote_id = inbound.ids[0]
        if not self._courier.knows(payer):
            await self._refuse(quote_id, DESTINATION_FSP, "Destination FSP is unknown", to=inbound.source)
            return
        path = f"/quotes/{quote_id}/error" if inbound.is_error else f"/quotes/{quote_id}"
        await self._courier.forward(inbound, payer, "QUOTES", path=path, payer_waits=True)
        self._put_time.since(inbound.started_s)

    async def _refuse(
        self, quote_id: str, code: str, why: str, *, to: str, payer_waits: bool = False
    ) -> None:
        path = f"/quotes/{quote_id}/error"
        await self._courier.tell_error(
            "quotes", (quote_id,), code, why, to=to, endpoint="QUOTES", path=path, payer_waits=payer_waits
        )
