"""What the hub sends to a DFSP: requests are taken at once and answered later, callbacks release callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import quote

from pytest_mojaloop_perf.fspiop import bodies
from pytest_mojaloop_perf.fspiop.codes import (
    BAD_SIGNATURE,
    GENERIC_CLIENT,
    INTERNAL_SERVER,
    UNKNOWN_URI,
    FspiopError,
)
from pytest_mojaloop_perf.fspiop.headers import RESOURCES, check_headers
from pytest_mojaloop_perf.fspiop.http import Request, Response
from pytest_mojaloop_perf.fspiop.jws import JwsError, Verifier
from pytest_mojaloop_perf.fspiop.pki import HUB_NAME
from pytest_mojaloop_perf.fspiop.schema import body_type, decode_body
from pytest_mojaloop_perf.reference.dfsp_book import Transfers
from pytest_mojaloop_perf.reference.dfsp_metrics import DfspMetrics
from pytest_mojaloop_perf.reference.dfsp_payee import Payee
from pytest_mojaloop_perf.reference.dfsp_sender import Sender
from pytest_mojaloop_perf.reference.process import SparseLog
from pytest_mojaloop_perf.reference.rendezvous import Callback, Rendezvous

__all__ = ["Inbound", "party_key"]

_TAKEN = Response(202)
_DONE = Response(200)
_JSON = (("content-type", "application/json"),)
_METHODS = {
    "parties": ("GET", "PUT"),
    "participants": ("PUT",),
    "quotes": ("POST", "PUT"),
    "transfers": ("GET", "POST", "PUT", "PATCH"),
}


def party_key(segments: Sequence[str]) -> str:
    """Return the rendezvous key of a party look-up: type, identifier and, if any, sub-id."""
    return "parties/" + "/".join(segments)


class Inbound:
    """Handles one DFSP's FSPIOP port.

    Args:
        payee: makes the answers to requests.
        sender: sends them.
        rendezvous: where callers of the synchronous API wait.
        transfers: this DFSP's own view.
        verifier: the public keys of everybody; None when signatures are not checked.
        hub_only: with mutual TLS, the peer must be the hub.
    """

    def __init__(
        self,
        payee: Payee,
        sender: Sender,
        rendezvous: Rendezvous,
        transfers: Transfers,
        metrics: DfspMetrics,
        *,
        verifier: Verifier | None,
        hub_only: bool,
    ) -> None:
        self._payee = payee
        self._sender = sender
        self._rendezvous = rendezvous
        self._transfers = transfers
        self._metrics = metrics
        self._verifier = verifier
        self._hub_only = hub_only
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = SparseLog("inbound")

    async def handle(self, request: Request) -> Response:
        """Answer one request: 202 or 200 without a body, or an FSPIOP error."""
        try:
            return self._take(request)
        except FspiopError as error:
            self._metrics.message("refused", request.method, request.path.split("/", 2)[1])
            self._log.warn(f"refused with {error.code}", f"{request.method} {request.path}: {error}")
            return Response(error.status, error.body(), _JSON)

    async def finish(self) -> None:
        """End all answers that are still being made."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, request: Request) -> Response:
        if self._hub_only and request.peer != HUB_NAME:
            raise FspiopError(GENERIC_CLIENT, "only the hub may call here", status=403)
        segments = request.path.split("/")[1:]
        resource = segments[0]
        if resource not in RESOURCES:
            raise FspiopError(UNKNOWN_URI, f"no resource at {request.path}", status=404)
        if request.method not in _METHODS[resource]:
            raise FspiopError(GENERIC_CLIENT, f"{request.method} is not for {resource}", status=405)
        check_headers(request.method, resource, request.headers, date_required=False)
        self._check_signature(request, resource)
        self._metrics.message("in", request.method, resource)
        if request.method == "GET":
            return self._take_get(request, resource, segments)
        if request.method == "POST":
            return self._take_post(request, resource, segments)
        return self._take_callback(request, resource, segments)

    def _check_signature(self, request: Request, resource: str) -> None:
        if self._verifier is None or request.method == "GET":
            return
        if resource == "parties" and "fspiop-signature" not in request.headers:
            return  # senders may leave the answer to a look-up unsigned
        try:
            self._verifier.verify(request.headers, request.body)
        except JwsError as error:
            raise FspiopError(BAD_SIGNATURE, f"invalid signature: {error}") from error

    def _take_get(self, request: Request, resource: str, segments: list[str]) -> Response:
        path = "/".join(quote(segment, safe="") for segment in segments)
        if resource == "parties" and len(segments) in {3, 4}:
            self._answer(request, f"/{path}", lambda: self._payee.party(segments[1], segments[2]))
        elif resource == "transfers" and len(segments) == 2:
            self._answer(request, f"/{path}", lambda: self._payee.transfer_state(segments[1]))
        else:
            raise FspiopError(UNKNOWN_URI, f"nothing at {request.path}", status=404)
        return _TAKEN

    def _take_post(self, request: Request, resource: str, segments: list[str]) -> Response:
        if len(segments) != 1:
            raise FspiopError(UNKNOWN_URI, f"nothing at {request.path}", status=404)
        if resource == "quotes":
            quote_request = decode_body(bodies.QuotesPost, request.body, flavour="sdk")
            path = f"/quotes/{quote_request.quote_id}"
            self._answer(request, path, lambda: self._payee.quote(quote_request, request.body))
        else:
            prepare = decode_body(bodies.TransfersPost, request.body, flavour="sdk")
            self._answer(request, f"/transfers/{prepare.transfer_id}", lambda: self._payee.fulfil(prepare))
        return _TAKEN

    def _take_callback(self, request: Request, resource: str, segments: list[str]) -> Response:
        error = segments[-1] == "error"
        named = segments[1:-1] if error else segments[1:]
        wanted = {1} if resource in {"quotes", "transfers"} else {1, 2, 3}
        if len(named) not in wanted:
            raise FspiopError(UNKNOWN_URI, f"nothing at {request.path}", status=404)
        body = decode_body(body_type(request.method, resource, error=error), request.body, flavour="sdk")
        if resource == "transfers":
            self._note_transfer(named[0], body)
        if request.method == "PUT" and resource != "participants":
            key = party_key(named) if resource == "parties" else f"{resource}/{named[0]}"
            self._rendezvous.resolve(key, Callback(request.body, request.headers, error))
        return _DONE

    def _note_transfer(self, transfer_id: str, body: bodies.Body) -> None:
        if isinstance(body, bodies.TransfersPut | bodies.TransfersPatch):
            self._transfers.settle(transfer_id, body.transfer_state)
        else:
            self._transfers.settle(transfer_id, "ABORTED")

    def _answer(self, request: Request, path: str, make: Callable[[], bytes]) -> None:
        """Make and send the callback for a request, after the request itself has been answered."""
        self._spawn(self._make_and_send(request, path, make))

    async def _make_and_send(self, request: Request, path: str, make: Callable[[], bytes]) -> None:
        source = request.headers["fspiop-source"]
        try:
            body = make()
        except FspiopError as error:
            await self._sender.call_back_error(path, error, destination=source, trace=request.headers)
        except Exception as error:  # noqa: BLE001  # whatever goes wrong, the requester is told, as the SDK does
            self._log.warn("internal error", repr(error))
            internal = FspiopError(INTERNAL_SERVER, "internal server error")
            await self._sender.call_back_error(path, internal, destination=source, trace=request.headers)
        else:
            await self._sender.call_back(path, body, destination=source, trace=request.headers)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        # The loop keeps only weak references to tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
