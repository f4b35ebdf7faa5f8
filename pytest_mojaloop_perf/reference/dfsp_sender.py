"""How a DFSP sends FSPIOP messages to the hub: headers, signature, one request, an empty answer."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_mojaloop_perf.fspiop.codes import FspiopError, error_body
from pytest_mojaloop_perf.fspiop.headers import message_headers
from pytest_mojaloop_perf.fspiop.http import Client, HttpError
from pytest_mojaloop_perf.fspiop.jws import Signer
from pytest_mojaloop_perf.model import HubUrls
from pytest_mojaloop_perf.reference.dfsp_metrics import DfspMetrics
from pytest_mojaloop_perf.reference.process import SparseLog

__all__ = ["RefusedError", "Sender"]

_TRACE_HEADERS = ("traceparent", "tracestate")


class RefusedError(Exception):
    """The hub did not take a message: unreachable, an error status, or a body where none belongs."""


class Sender:
    """Sends in the name of one DFSP.

    Args:
        fsp_id: goes into FSPIOP-Source.
        hub: where each resource is served.
        client: shows this DFSP's certificate.
        signer: holds this DFSP's key; None when messages are not signed.
    """

    def __init__(
        self, fsp_id: str, hub: HubUrls, client: Client, signer: Signer | None, metrics: DfspMetrics
    ) -> None:
        self._fsp_id = fsp_id
        self._client = client
        self._signer = signer
        self._metrics = metrics
        self._log = SparseLog(fsp_id)
        self._bases = {
            "parties": hub.als_url,
            "participants": hub.als_url,
            "quotes": hub.quotes_url,
            "transfers": hub.transfers_url,
        }

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        destination: str | None,
        version: str,
        trace: Mapping[str, str],
    ) -> None:
        """Send one message and return when the hub has taken it.

        Args:
            method: GET, POST or PUT.
            path: from the resource on, percent-encoded.
            body: sorted compact JSON.
            destination: FSPIOP-Destination, if known.
            version: `1.0` or `2.0`.
            trace: headers of the request that caused this one; its trace context is passed on.

        Raises:
            RefusedError: the hub did not take it.
        """
        resource = path.split("/", 2)[1]
        headers = message_headers(
            resource, source=self._fsp_id, destination=destination, accept=method != "PUT", version=version
        )
        if body and self._signer is not None:
            headers |= self._signer.headers(method, path, headers, body)
        for name in _TRACE_HEADERS:
            if name in trace:
                headers[name] = trace[name]
        self._metrics.message("out", method, resource)
        try:
            response = await self._client.request(method, self._bases[resource] + path, headers, body or None)
        except HttpError as error:
            self._metrics.message("failed", method, resource)
            raise RefusedError(str(error)) from error
        # Mojaloop's own client takes a body in the answer for an error, whatever the status says.
        if not 200 <= response.status < 300 or response.body:
            self._metrics.message("failed", method, resource)
            raise RefusedError(f"Request failed with status code {response.status}: {response.body[:200]!r}")

    async def call_back(self, path: str, body: bytes, *, destination: str, trace: Mapping[str, str]) -> None:
        """Send a callback; there is nobody to tell when it fails, so that is only logged."""
        try:
            await self.send("PUT", path, body, destination=destination, version="2.0", trace=trace)
        except RefusedError as error:
            self._log.warn(f"PUT {path.split('/', 2)[1]} not taken", error)

    async def call_back_error(
        self, path: str, error: FspiopError, *, destination: str, trace: Mapping[str, str]
    ) -> None:
        """Send an error callback for the thing at `path`."""
        body = error_body(error.code, error.description, error.extensions)
        await self.call_back(f"{path}/error", body, destination=destination, trace=trace)
