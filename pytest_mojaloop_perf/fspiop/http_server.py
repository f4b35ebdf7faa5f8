"""The HTTP server: one asyncio protocol on httptools, one write for each answer."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from http import HTTPStatus
from typing import Any, Self, cast
from urllib.parse import unquote

import httptools

from pytest_mojaloop_perf.fspiop.http_types import Handler, Request, Response
from pytest_mojaloop_perf.fspiop.tls import ServerTls, server_context

__all__ = ["BODY_MAX_BYTES", "Server"]

BODY_MAX_BYTES = 1_048_576
"""A longer request body is answered with 413 and never handed on."""

_HEADERS_MAX_BYTES = 65_536
_PIPELINE_MAX = 32
_STOP_GRACE_S = 1.0
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}

_log = logging.getLogger(__name__)


class Server:
    """One listening port. Made by `Server.start`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self.host = ""
        self.port = 0

    @classmethod
    async def start(
        cls, handler: Handler, *, host: str = "127.0.0.1", port: int = 0, tls: ServerTls | None = None
    ) -> Self:
        """Listen on `host:port` (0: any free port) and answer every request with `handler`.

        Raises:
            OSError: the port cannot be had.
        """
        made = cls(handler)
        made._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(handler, made._connections),
            host=host,
            port=port,
            ssl=server_context(tls) if tls else None,
            backlog=1024,
        )
        made.host, made.port = made._server.sockets[0].getsockname()[:2]
        return made

    async def stop(self) -> None:
        """Stop listening, let handlers that run end for a moment, close all connections."""
        assert self._server is not None
        self._server.close()
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_GRACE_S)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        ends = [connection.lost for connection in self._connections]
        if ends:
            await asyncio.wait(ends, timeout=_STOP_GRACE_S)
        await self._server.wait_closed()


class _Connection(asyncio.Protocol):
    """One connection: requests are answered one after the other, in the order in which they came."""

    def __init__(self, handler: Handler, connections: set[_Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._peer: str | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request | None, bool]] = deque()
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self.task: asyncio.Task[None] | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def abort(self) -> None:
        """Cut the connection and whatever is being made for it."""
        if self._transport is not None:
            self._transport.abort()
        if self.task is not None:
            self.task.cancel()

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # not every loop's derive from asyncio's
        self._peer = _common_name(self._transport)
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._transport = None
        self._waiting.clear()
        self._connections.discard(self)
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError):
            self._refuse(400)

    # --- httptools ---

    def on_message_begin(self) -> None:
        """Forget the request before."""
        self._url = b""
        self._headers = {}
        self._body = []
        self._size = 0

    def on_url(self, part: bytes) -> None:
        """Collect the target."""
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header; of a repeated one the values are joined, as HTTP allows."""
        self._size += len(name) + len(value)
        if self._size > _HEADERS_MAX_BYTES:
            raise ValueError("headers too long")
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Begin to count the body."""
        self._size = 0
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        """Collect one part of the body, unless it is too long anyway."""
        self._size += len(part)
        if self._size <= BODY_MAX_BYTES:
            self._body.append(part)

    def on_message_complete(self) -> None:
        """Answer the request, or let it wait for the one before."""
        keep_alive = self._parser.should_keep_alive()
        request = None if self._size > BODY_MAX_BYTES else self._request()
        self._waiting.append((request, keep_alive))
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._answer_all())
        elif len(self._waiting) >= _PIPELINE_MAX and self._transport is not None:
            self._transport.pause_reading()

    def _request(self) -> Request:
        target = httptools.parse_url(self._url)
        path = (target.path or b"/").decode("latin-1")
        return Request(
            self._parser.get_method().decode("latin-1"),
            unquote(path) if "%" in path else path,
            (target.query or b"").decode("latin-1"),
            self._headers,
            b"".join(self._body),
            self._peer,
        )

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                request, keep_alive = self._waiting.popleft()
                response = await self._answer(request)
                if self._transport is None:
                    return
                self._transport.write(_message(response, keep_alive=keep_alive))
                if not keep_alive:
                    self._transport.close()
                    return
                self._transport.resume_reading()
        finally:
            self.task = None

    async def _answer(self, request: Request | None) -> Response:
        if request is None:
            return Response(413)
        try:
            return await self._handler(request)
        except Exception:  # noqa: BLE001  # a defect of a handler must not take the connection with it
            _log.exception("%s %s", request.method, request.path)
            return Response(500)

    def _refuse(self, status: int) -> None:
        if self._transport is not None:
            self._transport.write(_message(Response(status), keep_alive=False))
            self._transport.close()


def _message(response: Response, *, keep_alive: bool) -> bytes:
    """Return a whole answer: it is written at once, so that it travels in one segment."""
    lines = [_STATUS_LINES[response.status]]
    lines += [f"{name}: {value}\r\n" for name, value in response.headers]
    if not keep_alive:
        lines.append("connection: close\r\n")
    lines.append(f"content-length: {len(response.body)}\r\n\r\n")
    return "".join(lines).encode("latin-1") + response.body


def _common_name(transport: asyncio.Transport) -> str | None:
    """Return the subject CN of the peer's verified certificate, or None."""
    certificate: dict[str, Any] | None
    tls_object = transport.get_extra_info("ssl_object")
    if isinstance(tls_object, ssl.SSLObject | ssl.SSLSocket):
        certificate = cast("dict[str, Any] | None", tls_object.getpeercert())
    else:
        certificate = transport.get_extra_info("peercert")
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return cast("str", value)
    return None
