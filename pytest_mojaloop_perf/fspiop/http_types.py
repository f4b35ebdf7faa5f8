"""What both sides of the HTTP seam speak: requests, responses, errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

__all__ = ["ConnectError", "Handler", "HttpError", "Request", "RequestTimeoutError", "Response"]


class HttpError(Exception):
    """A request got no answer."""


class ConnectError(HttpError):
    """No connection: refused, unreachable, or the TLS handshake failed (on either side)."""


class RequestTimeoutError(HttpError):
    """No whole answer within the time allowed."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request as a handler sees it: header names in lower case, `peer` the CN of the client certificate."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    peer: str | None = None


class Response(msgspec.Struct, frozen=True, gc=False):
    """An answer; header names in lower case."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def header(self, name: str) -> str | None:
        """Return the first value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


Handler = Callable[[Request], Awaitable[Response]]
