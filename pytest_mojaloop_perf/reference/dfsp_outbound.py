"""The synchronous API that a DFSP's own systems, and the load generator, call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

import msgspec

from pytest_mojaloop_perf.fspiop import bodies
from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.codes import FspiopError
from pytest_mojaloop_perf.fspiop.http import Request, Response
from pytest_mojaloop_perf.fspiop.schema import decode_body
from pytest_mojaloop_perf.reference.dfsp_book import Transfers, TransferView
from pytest_mojaloop_perf.reference.dfsp_exchange import Exchange
from pytest_mojaloop_perf.reference.dfsp_inbound import party_key
from pytest_mojaloop_perf.reference.dfsp_metrics import DfspMetrics
from pytest_mojaloop_perf.reference.dfsp_sender import RefusedError
from pytest_mojaloop_perf.reference.dfsp_steps import Steps
from pytest_mojaloop_perf.reference.rendezvous import Callback, CallbackTimeoutError

__all__ = ["LEDGER_PATH", "METRICS_PATH", "Outbound"]

LEDGER_PATH = "/reference/transfers"
METRICS_PATH = "/metrics"

_VERSION = "1.0"
"""The simple calls ask for version 1, whatever else the scheme adapter is configured to speak."""

_Route = Callable[[Request, list[str]], Awaitable[Response]]
_JSON = (("content-type", "application/json; charset=utf-8"),)
_ENCODE = msgspec.json.encode


class _SimpleQuotes(bodies.Body, frozen=True, kw_only=True):
    """POST /quotes of the synchronous API."""

    fsp_id: bodies.FspId
    quotes_post_request: msgspec.Raw


class _SimpleTransfers(bodies.Body, frozen=True, kw_only=True):
    """POST /simpleTransfers."""

    fsp_id: bodies.FspId
    transfers_post_request: msgspec.Raw


class _PartiesPut(msgspec.Struct):
    """A PUT /parties whose party is passed on as it came."""

    party: msgspec.Raw


_PARTIES = msgspec.json.Decoder(_PartiesPut)


class Outbound:
    """Handles one DFSP's outbound port."""

    def __init__(self, exchange: Exchange, steps: Steps, transfers: Transfers, metrics: DfspMetrics) -> None:
        self._exchange = exchange
        self._transfers = transfers
        self._metrics = metrics
        self._routes: dict[tuple[str, str, int], _Route] = {
            ("GET", "parties", 3): self._parties,
            ("GET", "parties", 4): self._parties,
            ("POST", "quotes", 1): self._quotes,
            ("POST", "simpleTransfers", 1): self._simple_transfers,
            ("POST", "transfers", 1): steps.begin,
            ("PUT", "transfers", 2): steps.go_on,
            ("GET", "transfers", 2): steps.look_up,
            ("GET", "", 1): self._health,
            ("GET", "reference", 2): self._ledger,
        }

    async def handle(self, request: Request) -> Response:
        """Answer one call, in the shapes of the scheme adapter."""
        segments = request.path.split("/")[1:]
        route = self._routes.get((request.method, segments[0], len(segments)))
        if route is None:
            return _bad_request("not found")
        try:
            return await route(request, segments)
        except FspiopError as error:
            self._metrics.called(segments[0], "bad-request")
            return _bad_request(error.description)

    async def _health(self, request: Request, segments: list[str]) -> Response:
        del request, segments
        return Response(200)

    async def _ledger(self, request: Request, segments: list[str]) -> Response:
        del segments
        if request.path != LEDGER_PATH:
            return _bad_request("not found")
        return Response(200, self._transfers.page(), (("content-type", "application/x-ndjson"),))

    async def _parties(self, request: Request, segments: list[str]) -> Response:
        named = segments[1:]
        path = "/parties/" + "/".join(quote(segment, safe="") for segment in named)
        answer = await self._call("parties", party_key(named), "GET", path, request)
        if isinstance(answer, Response):
            return answer
        if answer.error:
            return Response(404, answer.body[:-1] + b',"currentState":"COMPLETED"}', _JSON)
        party = bytes(_PARTIES.decode(answer.body).party)
        return Response(200, _completed(b"party", party, answer.headers), _JSON)

    async def _quotes(self, request: Request, segments: list[str]) -> Response:
        del segments
        call = decode_body(_SimpleQuotes, request.body, flavour="sdk")
        inner = decode_body(bodies.QuotesPost, bytes(call.quotes_post_request), flavour="sdk")
        answer = await self._call(
            "quotes",
            f"quotes/{inner.quote_id}",
            "POST",
            "/quotes",
            request,
            body=_sorted(call.quotes_post_request),
            destination=call.fsp_id,
        )
        if isinstance(answer, Response):
            return answer
        if answer.error:
            return Response(200, b'{"quotes":' + answer.body + b',"currentState":"COMPLETED"}', _JSON)
        iso = b',"originalIso20022QuoteResponse":{}'
        return Response(200, _completed(b"quotes", answer.body, answer.headers, more=iso), _JSON)

    async def _simple_transfers(self, request: Request, segments: list[str]) -> Response:
        del segments
        call = decode_body(_SimpleTransfers, request.body, flavour="sdk")
        inner = decode_body(bodies.TransfersPost, bytes(call.transfers_post_request), flavour="sdk")
        self._transfers.begin(
            TransferView(
                transfer_id=inner.transfer_id,
                role="payer",
                state="SENT",
                amount=inner.amount.amount,
                currency=inner.amount.currency,
                counterparty=inner.payee_fsp,
            )
        )
        answer = await self._call(
            "simpleTransfers",
            f"transfers/{inner.transfer_id}",
            "POST",
            "/transfers",
            request,
            body=_sorted(call.transfers_post_request),
            destination=call.fsp_id,
        )
        if isinstance(answer, Response):
            return answer
        # An error callback comes in the same shape and with the same status: the body tells them apart.
        return Response(200, _completed(b"transfer", answer.body, answer.headers), _JSON)

    async def _call(
        self,
        call: str,
        key: str,
        method: str,
        path: str,
        request: Request,
        *,
        body: bytes = b"",
        destination: str | None = None,
    ) -> Callback | Response:
        """Send a request to the hub and return its callback, or the 500 answer when there is none."""
        try:
            return await self._exchange.call(
                call,
                key,
                method,
                path,
                version=_VERSION,
                trace=request.headers,
                body=body,
                destination=destination,
            )
        except (CallbackTimeoutError, RefusedError) as error:
            return _failed(call, str(error))


_STATES = {
    "parties": "requestPartiesInformationState",
    "quotes": "requestQuotesInformationState",
    "simpleTransfers": "requestSimpleTransfersInformationState",
}


def _failed(call: str, message: str) -> Response:
    """Return the answer for a request that got no callback; here the status in the body is text."""
    return Response(500, _ENCODE({"message": message, _STATES[call]: {}, "statusCode": "500"}), _JSON)


def _bad_request(message: str) -> Response:
    """Return the answer for a call that is not valid; here the status in the body is a number."""
    return Response(400, _ENCODE({"message": message, "statusCode": 400}), _JSON)


def _completed(name: bytes, body: bytes, headers: Mapping[str, str], *, more: bytes = b"") -> bytes:
    """Return `{name: {body, headers}, currentState}` around JSON text that is not parsed again."""
    return b'{"%b":{"body":%b,"headers":%b%b},"currentState":"COMPLETED"}' % (
        name,
        body,
        _ENCODE(headers),
        more,
    )


def _sorted(raw: msgspec.Raw) -> bytes:
    """Return a JSON text with its keys sorted, as it is signed and sent."""
    return encode_sorted(msgspec.json.decode(raw))
