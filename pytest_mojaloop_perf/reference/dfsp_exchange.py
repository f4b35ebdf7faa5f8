"""A request to the hub together with the callback that answers it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pytest_mojaloop_perf.reference.dfsp_metrics import DfspMetrics
from pytest_mojaloop_perf.reference.dfsp_sender import RefusedError, Sender
from pytest_mojaloop_perf.reference.rendezvous import Callback, CallbackTimeoutError, Rendezvous

__all__ = ["Exchange"]


class Exchange:
    """Sends requests of one DFSP and waits for their callbacks; all calls of one key share one request."""

    def __init__(self, sender: Sender, rendezvous: Rendezvous, metrics: DfspMetrics) -> None:
        self._sender = sender
        self._rendezvous = rendezvous
        self._metrics = metrics

    async def call(
        self,
        call: str,
        key: str,
        method: str,
        path: str,
        *,
        version: str,
        trace: Mapping[str, str],
        body: bytes = b"",
        destination: str | None = None,
    ) -> Callback:
        """Send a request and return its callback, an error callback too.

        Args:
            call: the name of the synchronous call, for the metrics.
            key: of the rendezvous.
            method: GET or POST.
            path: from the resource on.
            version: `1.0` or `2.0`.
            trace: headers of the synchronous call.
            body: sorted compact JSON.
            destination: FSPIOP-Destination, if known.

        Raises:
            CallbackTimeoutError: none came in time.
            RefusedError: the hub did not take the request.
        """
        started = time.perf_counter()
        waiter = self._rendezvous.join(key)
        try:
            if waiter.leads:
                try:
                    await self._sender.send(
                        method, path, body, destination=destination, version=version, trace=trace
                    )
                except RefusedError as error:
                    self._rendezvous.fail(key, error)
            callback = await waiter.future
        except CallbackTimeoutError:
            self._metrics.called(call, "timeout")
            raise
        except RefusedError:
            self._metrics.called(call, "refused")
            raise
        finally:
            self._rendezvous.leave(waiter)
        self._metrics.waited(call, time.perf_counter() - started)
        self._metrics.called(call, "error-callback" if callback.error else "ok")
        return callback
