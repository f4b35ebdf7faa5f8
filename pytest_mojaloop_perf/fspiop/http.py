"""HTTP/1.1 with keep-alive and mutual TLS: the seam that all of FSPIOP goes through.

Both sides are small asyncio protocols on httptools, in `http_server` and `http_client`; nothing outside these
modules knows that.
"""

from __future__ import annotations

from pytest_mojaloop_perf.fspiop.http_client import Client
from pytest_mojaloop_perf.fspiop.http_server import BODY_MAX_BYTES, Server
from pytest_mojaloop_perf.fspiop.http_types import (
    ConnectError,
    Handler,
    HttpError,
    Request,
    RequestTimeoutError,
    Response,
)
from pytest_mojaloop_perf.fspiop.tls import ClientTls, ServerTls

__all__ = [
    "BODY_MAX_BYTES",
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
