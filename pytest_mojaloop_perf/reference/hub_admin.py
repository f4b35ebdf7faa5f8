"""The admin port: central-ledger's and the account look-up service's admin API, the oracle, metrics, health.

Plain HTTP on loopback, JSON bodies, no signatures. First and repeated calls are answered with the statuses
and codes of a Mojaloop hub. The oracle answers under `/oracle`, and takes parties there directly, by the
thousand, as Mojaloop's MSISDN oracle does.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.fspiop.codes import (
    GENERIC_CLIENT,
    INTERNAL_SERVER,
    UNKNOWN_URI,
    FspiopError,
)
from pytest_mojaloop_perf.fspiop.http import Request, Response
from pytest_mojaloop_perf.reference.ledger_book import RefusedError

__all__ = ["AdminCall", "AdminRoute", "AdminRoutes", "admin_handler", "json_answer"]

_JSON = (("content-type", "application/json"),)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class AdminCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call with the variable parts of its path, in order."""

    parts: tuple[str, ...]
    query: dict[str, list[str]]
    body: bytes

    def wanted(self, name: str) -> str | None:
        """Return a query parameter, or None."""
        values = self.query.get(name)
        return values[0] if values else None


AdminRoute = Callable[[AdminCall], Awaitable[Response]]
AdminRoutes = dict[tuple[str, str], AdminRoute]
"""Handlers by method and path pattern; `*` stands for one segment."""


def json_answer(status: int, body: Any) -> Response:
    """Return an answer with a JSON body; decimals become numbers, exactly."""
    return Response(status, _ENCODER.encode(body), _JSON)


def admin_handler(routes: AdminRoutes) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of the admin port."""
    compiled = [(method, _pattern(path), route) for (method, path), route in routes.items()]

    async def handle(request: Request) -> Response:
        try:
            route, parts = _find(request, compiled)
            call = AdminCall(parts=parts, query=parse_qs(request.query), body=request.body)
            return await route(call)
        except RefusedError as error:
            refusal = FspiopError(error.code, error.description, status=error.status)
        except FspiopError as error:
            refusal = error
        except InfrastructureError as error:
            refusal = FspiopError(INTERNAL_SERVER, str(error), status=500)
        return Response(refusal.status, refusal.body(), _JSON)

    return handle


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(path.replace("*", "([^/]+)") + r"\Z")


def _find(
    request: Request, compiled: list[tuple[str, re.Pattern[str], AdminRoute]]
) -> tuple[AdminRoute, tuple[str, ...]]:
    found = False
    for method, pattern, route in compiled:
        match = pattern.match(request.path)
        if match is None:
            continue
        found = True
        if method == request.method:
            return route, tuple(unquote(part) for part in match.groups())
    if found:
        raise FspiopError(GENERIC_CLIENT, f"Method {request.method} is not allowed here", status=405)
    raise FspiopError(UNKNOWN_URI, f"Unknown URI {request.path}", status=404)
