"""One participant as a sender of FSPIOP messages: its certificate, its JWS key, its headers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.headers import message_headers
from pytest_mojaloop_perf.fspiop.http import Client, Response
from pytest_mojaloop_perf.fspiop.jws import Signer, signed_uri
from pytest_mojaloop_perf.fspiop.tls import client_tls
from pytest_mojaloop_perf.model import SecurityProfile

__all__ = ["Sender"]


class Sender:
    """Sends as one participant. Without a security folder it shows no certificate and signs nothing."""

    def __init__(self, fsp_id: str, client: Client, signer: Signer | None) -> None:
        self.fsp_id = fsp_id
        self.client = client
        self.signer = signer

    @classmethod
    def of(
        cls, fsp_id: str, folder: Path | None, security: SecurityProfile, *, connections: int = 16
    ) -> Self:
        """Return a sender with the material of `fsp_id` in a security folder."""
        tls = client_tls(folder, fsp_id) if folder is not None and security.mtls else None
        sign = folder is not None and security.jws != "off"
        signer = Signer.from_file(folder / fsp_id / "jws.key.pem") if folder is not None and sign else None
        return cls(fsp_id, Client(tls, connections=connections), signer)

    def headers(
        self, method: str, url: str, body: bytes, *, destination: str | None = None, version: str = "1.0"
    ) -> dict[str, str]:
        """Return all headers of a message, with its signature if this sender signs and there is a body."""
        resource = signed_uri(url).split("/")[1].partition("?")[0]
        accept = method not in {"PUT", "PATCH"}
        headers = message_headers(
            resource, source=self.fsp_id, destination=destination, accept=accept, version=version
        )
        if self.signer is not None and body:
            headers |= self.signer.headers(method, url, headers, body)
        return headers

    async def send(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, *, destination: str | None = None
    ) -> Response:
        """Send one message and return the synchronous answer, whatever its status.

        Raises:
            HttpError: there is none.
        """
        text = b"" if body is None else encode_sorted(body)
        headers = self.headers(method, url, text, destination=destination)
        return await self.client.request(method, url, headers, text or None)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()
