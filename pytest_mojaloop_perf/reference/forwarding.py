"""Sending: a DFSP's message on to another one as it is, and the hub's own messages with its signature.

A forwarded message keeps the originator's signature, headers and body text, so that the receiver verifies it
with the originator's key. The hub's own ones say 2.0, are sorted compact JSON and are signed by the hub.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any
from urllib.parse import quote

from pytest_mojaloop_perf.faults import FaultSwitches, Share
from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.codes import error_value
from pytest_mojaloop_perf.fspiop.headers import message_headers
from pytest_mojaloop_perf.fspiop.http import Client, HttpError
from pytest_mojaloop_perf.fspiop.jws import Signer
from pytest_mojaloop_perf.fspiop.pki import HUB_NAME
from pytest_mojaloop_perf.reference.hub_inbound import Inbound
from pytest_mojaloop_perf.reference.hub_metrics import Histogram, HubMetrics
from pytest_mojaloop_perf.reference.ledger_book import Book
from pytest_mojaloop_perf.reference.process import SparseLog

__all__ = ["Courier"]

_LOG = logging.getLogger(__name__)
_PLACEHOLDERS: dict[str, tuple[str, ...]] = {
    "parties": ("{{partyIdType}}", "{{partyIdentifier}}", "{{partySubIdOrType}}"),
    "participants": ("{{partyIdType}}", "{{partyIdentifier}}", "{{partySubIdOrType}}"),
    "transfers": ("{{transferId}}",),
}
# Of the connection, or made anew by the client; everything else goes on.
_NOT_FORWARDED = frozenset(
    ("host", "content-length", "connection", "keep-alive", "transfer-encoding", "te", "upgrade", "user-agent")
)


class Courier:
    """Knows every DFSP's addresses and holds the connections to them."""

    def __init__(
        self, book: Book, client: Client, signer: Signer | None, metrics: HubMetrics, faults: FaultSwitches
    ) -> None:
        self._book = book
        self._client = client
        self._signer = signer
        self._metrics = metrics
        self._lost = Share(faults.lost_callbacks_percent)
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = SparseLog(__name__)
        self._delivery: dict[tuple[str, str], Histogram] = {}

    def knows(self, fsp_id: str | None) -> bool:
        """Say whether there is such a participant, and an active one."""
        participant = self._book.participants.get(fsp_id or "")
        return participant is not None and participant.active and fsp_id != HUB_NAME

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on with something after the sender has got its answer."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def forward(
        self, inbound: Inbound, to: str, endpoint: str, *, path: str | None = None, payer_waits: bool = False
    ) -> bool:
        """Send a DFSP's message on and say whether it was accepted.

        Args:
            inbound: the message.
            to: the receiver.
            endpoint: which of its addresses, without `FSPIOP_CALLBACK_URL_`.
            path: appended to the address, where that is only a base.
            payer_waits: this is a callback that a payer waits for (the lost-callbacks fault drops some).
        """
        if payer_waits and self._lost.hit():
            return True
        headers = {name: value for name, value in inbound.headers.items() if name not in _NOT_FORWARDED}
        if inbound.method == "PUT":
            headers.pop("accept", None)
        if inbound.method == "GET":
            headers["fspiop-destination"] = to
        url = self._url(to, endpoint, inbound.resource, inbound.ids, path)
        return await self._send(
            inbound.method, url, headers, inbound.body or None, resource=inbound.resource, to=to
        )

    async def tell(
        self,
        method: str,
        resource: str,
        ids: tuple[str, ...],
        body: dict[str, Any],
        *,
        to: str,
        endpoint: str,
        path: str | None = None,
        payer_waits: bool = False,
    ) -> bool:
        """Send a message of the hub's own and say whether it was accepted; arguments as of `forward`."""
        if payer_waits and self._lost.hit():
            return True
        url = self._url(to, endpoint, resource, ids, path)
        if url is None:
            return False
        text = encode_sorted(body)
        headers = message_headers(resource, source=HUB_NAME, destination=to, accept=False, version="2.0")
        if self._signer is not None:
            headers |= self._signer.headers(method, url, headers, text)
        return await self._send(method, url, headers, text, resource=resource, to=to)

    async def tell_error(
        self,
        resource: str,
        ids: tuple[str, ...],
        code: str,
        description: str,
        *,
        to: str,
        endpoint: str,
        path: str | None = None,
        payer_waits: bool = False,
    ) -> bool:
        """Send an error callback of the hub's own; arguments as of `forward`."""
        self._metrics.error(resource, code)
        body = error_value(code, description)
        return await self.tell(
            "PUT", resource, ids, body, to=to, endpoint=endpoint, path=path, payer_waits=payer_waits
        )

    def _url(
        self, to: str, endpoint: str, resource: str, ids: tuple[str, ...], path: str | None
    ) -> str | None:
        """Return the receiver's address with the double braces filled, or None when it has none."""
        participant = self._book.participants.get(to)
        url = participant.endpoints.get(f"FSPIOP_CALLBACK_URL_{endpoint}") if participant else None
        if url is None:
            self._log.warn("no endpoint", f"{endpoint} of {to}")
            return None
        if path is not None:
            return url.rstrip("/") + path
        placeholders = _PLACEHOLDERS.get(resource, ())
        if len(ids) == 1 and resource == "participants":
            placeholders = ("{{requestId}}",)
        for placeholder, value in zip(placeholders, ids, strict=False):
            url = url.replace(
                placeholder, value if value.isascii() and value.isalnum() else quote(value, safe="")
            )
        return url

    async def _send(
        self,
        method: str,
        url: str | None,
        headers: dict[str, str],
        body: bytes | None,
        *,
        resource: str,
        to: str,
    ) -> bool:
        if url is None:
            return False
        started_s = time.perf_counter()
        try:
            answer = await self._client.request(method, url, headers, body)
        except HttpError as error:
            self._log.warn("not reached", f"{to}: {error}")
            self._metrics.error("delivery", "1001")
            return False
        self._delivery_time(resource, to).since(started_s)
        if answer.status >= 300:
            self._log.warn("refused", f"{to}: {method} {url}: {answer.status} {answer.body[:200]!r}")
            self._metrics.error("delivery", "1001")
            return False
        return True

    def _delivery_time(self, resource: str, to: str) -> Histogram:
        histogram = self._delivery.get((resource, to))
        if histogram is None:
            name = (
                "moja_notification_event_delivery"
                if resource == "transfers"
                else "moja_egress_sendRequestToParticipant"
            )
            histogram = self._metrics.histogram(name, success="true", resource=resource, dest=to)
            self._delivery[resource, to] = histogram
        return histogram

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a message was not dealt with", exc_info=task.exception())
