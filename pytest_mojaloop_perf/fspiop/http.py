"""HTTP/1.1 with keep-alive and mutual TLS: one server and one client behind a seam of four names.

The server is uvicorn's httptools protocol on a plain asyncio server, one per port; the client is in
`http_client`. Everything else in this package knows only `Request`, `Response`, `Server` and `Client`.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Self, cast

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from pytest_mojaloop_perf.fspiop.http_client import Client
from pytest_mojaloop_perf.fspiop.http_types import (
    ConnectError,
    Handler,
    HttpError,
    Request,
    RequestTimeoutError,
    Response,
)
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
        # First the connections, then the handlers: nobody shall be told that a handler was cut off.
        for connection in list(self._state.connections):
            cast("_Protocol", connection).transport.abort()
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()


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
