"""The HTTP client: one asyncio protocol on httptools, with a keep-alive pool for each origin.

Libraries were tried first. Those that are fast enough send `Accept: */*` with every request, which the
header rules of FSPIOP refuse on callbacks.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools

from pytest_mojaloop_perf.fspiop.http_types import (
    ConnectError,
    HttpError,
    RequestTimeoutError,
    Response,
)
from pytest_mojaloop_perf.fspiop.tls import ClientTls, client_context

__all__ = ["Client"]

_IDLE_S = 60.0
"""An idle connection is not used again after this time: the other side may be about to close it."""

_GOODBYE_S = 1.0
"""How long a peer may take to answer the end of TLS."""

# These describe the hop, not the message: whoever passes headers on gets ours instead.
_FRAMING = frozenset(("host", "content-length", "connection", "transfer-encoding", "keep-alive"))
_CLOSE_S = 1.0
_BODY_METHODS = frozenset(("POST", "PUT", "PATCH"))


class Client:
    """A client with pools of its own.

    Args:
        tls: for https URLs; without it the system's CAs are trusted and no certificate is shown.
        timeout_s: for a whole request, the wait for a free connection included.
        connections: how many there may be to one origin; further requests wait for a free one.
    """

    def __init__(
        self, tls: ClientTls | None = None, *, timeout_s: float = 30.0, connections: int = 64
    ) -> None:
        self._context = client_context(tls) if tls is not None else None
        self._timeout_s = timeout_s
        self._connections = connections
        self._pools: dict[str, _Pool] = {}

    async def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """Send one request and return the whole answer, whatever its status.

        Raises:
            ConnectError: no connection, or the handshake failed.
            RequestTimeoutError: no whole answer in time.
            HttpError: the connection broke, or a header cannot be sent.
        """
        scheme, _, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        message = _message(method, authority, slash + path, headers or {}, body)
        pool = self._pools.get(scheme + authority)
        if pool is None:
            pool = self._pools[scheme + authority] = self._new_pool(url)
        try:
            return await pool.exchange(message, self._timeout_s)
        except HttpError as error:
            raise type(error)(f"{method} {url}: {error}") from error

    async def close(self) -> None:
        """Close all connections, and return when they are closed; requests under way fail."""
        for pool in self._pools.values():
            pool.close()
        # TLS says goodbye to the peer before the socket closes; a peer that stays silent is cut off.
        open_ones = [connection for pool in self._pools.values() for connection in pool.connections]
        if open_ones:
            await asyncio.wait([connection.lost for connection in open_ones], timeout=_GOODBYE_S)
        for connection in open_ones:
            connection.abort()
        await asyncio.sleep(0)

    def _new_pool(self, url: str) -> _Pool:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise HttpError(f"{url} is not an http or https URL")
        context = None
        if parts.scheme == "https":
            context = self._context = self._context or ssl.create_default_context()
        port = parts.port or (443 if context else 80)
        return _Pool(parts.hostname, port, context, self._connections)


def _message(
    method: str, authority: str, target: str, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    """Return a whole request: it is written at once, so that it travels in one segment."""
    lines = [f"{method} {target or '/'} HTTP/1.1", f"host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() not in _FRAMING]
    if body is not None or method in _BODY_METHODS:
        lines.append(f"content-length: {len(body or b'')}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise HttpError("a line break in a header or URL")
    try:
        return head.encode("latin-1") + b"\r\n\r\n" + (body or b"")
    except UnicodeEncodeError as error:
        raise HttpError(f"a header that is not Latin-1: {error}") from error


class _Pool:
    """The connections to one origin: idle ones are taken last in, first out."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, limit: int) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._free = asyncio.Semaphore(limit)
        self._idle: deque[_Connection] = deque()
        self.connections: set[_Connection] = set()
        """Every connection that is not lost yet, also those that are being closed."""

    async def exchange(self, message: bytes, timeout_s: float) -> Response:
        """Send a message on a connection of this pool and return the answer."""
        try:
            async with asyncio.timeout(timeout_s), self._free:
                connection = self._take_idle() or await self._connect()
                try:
                    return await connection.exchange(message)
                finally:
                    self._give_back(connection)
        except TimeoutError as error:
            raise RequestTimeoutError(f"no answer within {timeout_s:g} s") from error

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            connection.close()

    def _take_idle(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < _IDLE_S:
                return connection
            self._drop(connection)
        return None

    def _give_back(self, connection: _Connection) -> None:
        if connection.usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        connection.close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(tls=self._context is not None),
                self._host,
                self._port,
                ssl=self._context,
                server_hostname=self._host if self._context else None,
            )
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectError(str(error)) from error
        self.connections.add(connection)
        connection.lost.add_done_callback(lambda _: self.connections.discard(connection))
        return connection


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, *, tls: bool) -> None:
        self._tls = tls
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Response] | None = None
        self._answered = 0
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._ends_with_connection = False
        self.idle_since = 0.0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing() and self._answer is None

    async def exchange(self, message: bytes) -> Response:
        """Write a message and return the answer; when it is given up, the connection ends with it."""
        assert self._transport is not None
        self._headers, self._body = [], []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Close at once: TLS would wait up to 30 s for the peer's goodbye."""
        if self._transport is not None:
            self._transport.abort()

    def abort(self) -> None:
        """Close at once, without the end of TLS; nothing when it is closed already."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # not every loop's derive from asyncio's

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(HttpError(f"not an HTTP answer: {error}"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)
        if error is None and self._ends_with_connection:
            self._complete()
            return
        text = str(error) if error else "the connection was closed without an answer"
        if self._tls and not self._answered and not self._headers:
            # With TLS 1.3 a server refuses a client's certificate only after the client's handshake.
            self._fail(ConnectError(text))
        else:
            self._fail(HttpError(text))

    # --- httptools ---

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header."""
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, part: bytes) -> None:
        """Collect one part of the body."""
        self._body.append(part)

    def on_headers_complete(self) -> None:
        """See how the body will end: without a length it ends with the connection."""
        framed = any(name in _FRAMING for name, _ in self._headers if name != "connection")
        self._ends_with_connection = not framed and self._parser.get_status_code() >= 200

    def on_message_complete(self) -> None:
        """Hand the answer over, unless it is an interim one."""
        if self._parser.get_status_code() < 200:
            self._headers = []
        else:
            self._complete()

    def _complete(self) -> None:
        status = self._parser.get_status_code()
        self._ends_with_connection = False
        answer, self._answer = self._answer, None
        self._answered += 1
        if not self._parser.should_keep_alive():
            self.close()
        if answer is not None and not answer.done():
            answer.set_result(Response(status, b"".join(self._body), tuple(self._headers)))

    def _fail(self, error: HttpError) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
