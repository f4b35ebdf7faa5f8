"""What the hub checks before it looks at the meaning of an FSPIOP message, and how it answers refusals.

In this order: path (404 code 3002), method (405 code 3000), headers (400 code 3102 or 3101, 406 code 3001),
the client certificate (403 code 3100), the signature (400 code 3105); the handler then checks the body. The
certificate's common name must be FSPIOP-Source; the protocol has no code for "this is not you", so it is the
generic validation error with the HTTP status of forbidden. Success is answered with an empty body, as senders
take anything else for an error.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

import msgspec

from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.fspiop.codes import (
    BAD_SIGNATURE,
    GENERIC_CLIENT,
    INTERNAL_SERVER,
    MISSING_ELEMENT,
    UNKNOWN_URI,
    VALIDATION,
    FspiopError,
)
from pytest_mojaloop_perf.fspiop.headers import RESOURCES, check_headers
from pytest_mojaloop_perf.fspiop.http import Handler, Request, Response
from pytest_mojaloop_perf.fspiop.jws import JwsError, Verifier
from pytest_mojaloop_perf.reference.hub_metrics import HubMetrics

__all__ = ["FspiopRoutes", "Inbound", "Route", "fspiop_handler"]

_LOG = logging.getLogger(__name__)
_ERROR_TYPE = (("content-type", "application/json"),)
_SIGNED = frozenset(("POST", "PUT", "PATCH"))


@dataclass(slots=True, kw_only=True)
class Inbound:
    """A message that passed the checks; `ids` are the path's segments after the resource, without `error`."""

    method: str
    resource: str
    ids: tuple[str, ...]
    is_error: bool
    source: str
    destination: str | None
    headers: Mapping[str, str]
    body: bytes
    query: str
    started_s: float

    @property
    def version(self) -> str:
        """Version of the Content-Type, for example `1.0`."""
        return self.headers["content-type"].rpartition("=")[2]

    def digest(self) -> bytes:
        """Return the SHA-256 of the content in member order, white space apart: what makes a duplicate."""
        return hashlib.sha256(msgspec.json.encode(msgspec.json.decode(self.body))).digest()

    def wanted_destination(self) -> str:
        """Return FSPIOP-Destination.

        Raises:
            FspiopError: 3102, it is missing.
        """
        if not self.destination:
            raise FspiopError(MISSING_ELEMENT, "header fspiop-destination is missing")
        return self.destination


Route = Callable[[Inbound], Awaitable[Response]]
FspiopRoutes = dict[tuple[str, str, int, bool], Route]
"""Handlers by method, resource, number of ids and whether the path ends in `/error`."""


def fspiop_handler(
    routes: FspiopRoutes, *, verifier: Verifier | None, check_peer: bool, metrics: HubMetrics
) -> Handler:
    """Return the handler of the FSPIOP port.

    Args:
        routes: what to do with each message.
        verifier: of signatures; None when nothing is verified.
        check_peer: whether the client certificate must be that of FSPIOP-Source.
        metrics: where refusals are counted.
    """

    async def handle(request: Request) -> Response:
        started_s = time.perf_counter()
        try:
            inbound, route = _checked(request, routes, verifier, check_peer=check_peer, started_s=started_s)
            return await route(inbound)
        except FspiopError as error:
            metrics.error("inbound", error.code)
            return Response(error.status, error.body(), _ERROR_TYPE)
        except InfrastructureError:
            _LOG.exception("a message could not be made durable")
            failure = FspiopError(INTERNAL_SERVER, "the ledger cannot be written", status=500)
            return Response(failure.status, failure.body(), _ERROR_TYPE)

    return handle


def _checked(
    request: Request,
    routes: FspiopRoutes,
    verifier: Verifier | None,
    *,
    check_peer: bool,
    started_s: float,
) -> tuple[Inbound, Route]:
    resource, ids, is_error = _path(request)
    route = routes.get((request.method, resource, len(ids), is_error))
    if route is None:
        if any(key[1:] == (resource, len(ids), is_error) for key in routes):
            raise FspiopError(GENERIC_CLIENT, f"Method {request.method} is not allowed here", status=405)
        raise FspiopError(UNKNOWN_URI, f"Unknown URI {request.path}", status=404)
    headers = request.headers
    check_headers(request.method, resource, headers)
    source = headers["fspiop-source"]
    if check_peer and request.peer != source:
        raise FspiopError(VALIDATION, "FSPIOP-Source is not the client certificate's", status=403)
    if verifier is not None and request.method in _SIGNED:
        _check_signature(request, verifier)
    inbound = Inbound(
        method=request.method,
        resource=resource,
        ids=ids,
        is_error=is_error,
        source=source,
        destination=headers.get("fspiop-destination") or None,
        headers=headers,
        body=request.body,
        query=request.query,
        started_s=started_s,
    )
    return inbound, route


def _path(request: Request) -> tuple[str, tuple[str, ...], bool]:
    """Return resource, ids and whether this is an error callback."""
    empty, *segments = request.path.split("/")
    if empty or not segments or segments[0] not in RESOURCES or not all(segments):
        raise FspiopError(UNKNOWN_URI, f"Unknown URI {request.path}", status=404)
    resource, *ids = segments
    is_error = request.method == "PUT" and len(ids) > 1 and ids[-1] == "error"
    return resource, tuple(ids[:-1] if is_error else ids), is_error


def _check_signature(request: Request, verifier: Verifier) -> None:
    """Check the signature and that it was made for this very request line.

    Mojaloop's library leaves the request line alone; comparing it stops a signed message from being sent to
    another transfer's path.
    """
    try:
        verifier.verify(request.headers, request.body)
    except JwsError as error:
        raise FspiopError(BAD_SIGNATURE, f"Invalid signature: {error.reason}") from error
    line = f"{request.path}?{request.query}" if request.query else request.path
    uri = request.headers["fspiop-uri"]
    if uri not in {line, quote(line)} and unquote(uri) != line:
        raise FspiopError(BAD_SIGNATURE, "Invalid signature: FSPIOP-URI is not the request's")
    if request.headers["fspiop-http-method"] != request.method:
        raise FspiopError(BAD_SIGNATURE, "Invalid signature: FSPIOP-HTTP-Method is not the request's")
