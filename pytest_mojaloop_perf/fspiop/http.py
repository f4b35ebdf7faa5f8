"""HTTP/1.1 with keep-alive and mutual TLS: one server and one client behind a seam of four names.

The server is uvicorn's httptools protocol on a plain asyncio server, one per port; the client is pyreqwest.
Everything else in this package knows only `Request`, `Response`, `Server` and `Client`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Self, cast

import msgspec
from pyreqwest import exceptions as reqwest_errors
from pyreqwest.client import ClientBuilder
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from pytest_mojaloop_perf.fspiop.tls import ClientTls, ServerTls, server_context

__all__ = [
    "Client",
    "ClientTls",
    "ConnectError",
    "Handler",
    "HttpError",
    "Request",
    "RequestTimeoutError",
    "Response",
    "Server",
    "ServerTls",
]

BODY_MAX_BYTES = 1_048_576
"""A longer request body is answered with 413 and never handed on."""

_SERVER_IDLE_S = 300
# A client lets go of an idle connection long before the server does: else both meet in a race.
_CLIENT_IDLE_S = 60.0


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


class Server:
    """One listening port. Made by `Server.start`."""

    def __init__(self, server: asyncio.Server, state: ServerState) -> None:
        self._server = server
        self._state = state
        self.host, self.port = server.sockets[0].getsockname()[:2]

    @classmethod
    async def start(
        cls, handler: Handler, *, host: str = "127.0.0.1", port: int = 0, tls: ServerTls | None = None
    ) -> Self:
        """Listen on `host:port` (0: any free port) and answer every request with `handler`.

        Raises:
            OSError: the port cannot be had.
        """
        state = ServerState()
        config = Config(
            _application(handler),
            lifespan="off",
            ws="none",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_SERVER_IDLE_S,
        )
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Protocol(config=config, server_state=state, app_state={}, _loop=loop),
            host=host,
            port=port,
            ssl=server_context(tls) if tls else None,
            backlog=1024,
        )
        return cls(server, state)

    async def stop(self) -> None:
        """Stop listening, let handlers that run end for a moment, close all connections."""
        self._server.close()
        tasks = [task for task in self._state.tasks if task is not asyncio.current_task()]
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._state.connections):
            cast("_Protocol", connection).transport.abort()
        await self._server.wait_closed()


class Client:
    """A client with a keep-alive pool of its own; `connections` is how many requests may be under way."""

    def __init__(
        self, tls: ClientTls | None = None, *, timeout_s: float = 30.0, connections: int = 64
    ) -> None:
        builder = (
            ClientBuilder()
            .http1_only()
            .no_proxy()
            .follow_redirects(enable=False)
            .referer(enable=False)
            .gzip(enable=False)
            .brotli(enable=False)
            .zstd(enable=False)
            .deflate(enable=False)
            .max_connections(connections)
            .pool_max_idle_per_host(connections)
            .pool_idle_timeout(timedelta(seconds=_CLIENT_IDLE_S))
            .timeout(timedelta(seconds=timeout_s))
        )
        if tls is not None:
            builder = builder.add_root_certificate_pem(tls.ca.read_bytes()).min_tls_version("TLSv1.2")
            if tls.certificate is not None and tls.key is not None:
                builder = builder.identity_pem(tls.certificate.read_bytes() + tls.key.read_bytes())
        self._client = builder.build()

    async def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """Send one request and return the whole answer, whatever its status.

        Raises:
            ConnectError: no connection, or the handshake failed.
            RequestTimeoutError: no whole answer in time.
            HttpError: the connection broke, or the request could not be written.
        """
        builder = self._client.request(method, url)
        if headers:
            builder = builder.headers(headers)
        if body is not None:
            builder = builder.body_bytes(body)
        try:
            answer = await builder.build().send()
            content = await answer.bytes()
        except reqwest_errors.PyreqwestError as error:
            raise _typed(error, method, url) from error
        names = tuple((name, value) for name, value in answer.headers.items())
        return Response(answer.status, content.to_bytes(), names)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol with the name on the client certificate put into the ASGI state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        self.app_state = {"peer": _common_name(transport)}


def _common_name(transport: asyncio.Transport) -> str | None:
    """Return the subject CN of the peer's verified certificate, or None."""
    tls_object = transport.get_extra_info("ssl_object")
    certificate: dict[str, Any] | None = None
    if isinstance(tls_object, ssl.SSLObject | ssl.SSLSocket):
        certificate = cast("dict[str, Any] | None", tls_object.getpeercert())
    else:
        certificate = transport.get_extra_info("peercert")
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return cast("str", value)
    return None


def _application(handler: Handler) -> Any:
    """Return `handler` as an ASGI application."""

    async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http"
        body = await _whole_body(receive)
        if body is None:
            response = Response(413)
        else:
            response = await handler(
                Request(
                    scope["method"],
                    scope["path"],
                    scope["query_string"].decode("latin-1"),
                    {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
                    body,
                    scope["state"]["peer"],
                )
            )
        content = response.body
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        headers.append((b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    return application


async def _whole_body(receive: ASGIReceiveCallable) -> bytes | None:
    """Return the request's body, or None when it is too long."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_MAX_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return part if len(parts) == 1 else b"".join(parts)


def _typed(error: Exception, method: str, url: str) -> HttpError:
    """Return our error for one of pyreqwest's, with its innermost cause as text."""
    details = getattr(error, "details", None) or {}
    causes = details.get("causes") or []
    text = "; ".join(str(cause["message"]) for cause in causes[-1:]) or str(error)
    sentence = f"{method} {url}: {text}"
    if isinstance(error, reqwest_errors.ConnectTimeoutError | reqwest_errors.ConnectError):
        return ConnectError(sentence)
    if isinstance(error, reqwest_errors.RequestTimeoutError):
        return RequestTimeoutError(sentence)
    # TLS 1.3: a server refuses a client's certificate only after the client's handshake is done.
    return ConnectError(sentence) if "alert" in text.lower() else HttpError(sentence)
