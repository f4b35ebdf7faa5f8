"""TLS contexts from files: what a server demands and what a client shows."""

from __future__ import annotations

import ssl
from pathlib import Path

from pytest_mojaloop_perf.model import Value

__all__ = ["ClientTls", "ServerTls", "client_context", "client_tls", "server_context", "server_tls"]


class ServerTls(Value, frozen=True, kw_only=True):
    """A server's certificate and the CA of its clients.

    With `demand_client_certificate` a client without a certificate fails in the handshake.
    """

    ca: Path
    certificate: Path
    key: Path
    demand_client_certificate: bool = True


class ClientTls(Value, frozen=True, kw_only=True):
    """The CA of the servers, and the certificate that is shown to them (None: none is shown)."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


def server_tls(security_folder: Path, name: str, *, demand_client_certificate: bool = True) -> ServerTls:
    """Return the server side of `name` (a DFSP id or `Hub`) in a security folder."""
    return ServerTls(
        ca=security_folder / "ca.crt.pem",
        certificate=security_folder / name / "tls.crt.pem",
        key=security_folder / name / "tls.key.pem",
        demand_client_certificate=demand_client_certificate,
    )


def client_tls(security_folder: Path, name: str | None) -> ClientTls:
    """Return the client side of `name` in a security folder; with None a client that shows no certificate."""
    ca = security_folder / "ca.crt.pem"
    if name is None:
        return ClientTls(ca=ca)
    own = security_folder / name
    return ClientTls(ca=ca, certificate=own / "tls.crt.pem", key=own / "tls.key.pem")


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """Return a context of its own for one listening port: TLS 1.2 at least, 1.3 preferred."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.certificate, tls.key)
    context.load_verify_locations(tls.ca)
    # Session tickets would cost a message per connection, and nothing here resumes a session.
    context.num_tickets = 0
    if tls.demand_client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """Return a context that trusts only the given CA and shows the given certificate, if any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(tls.ca)
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
