"""The reference DFSPs: several in one process, with nothing shared between them."""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import Self

from pytest_mojaloop_perf import __version__
from pytest_mojaloop_perf.faults import read_faults
from pytest_mojaloop_perf.fspiop.http import Client, Request, Response, Server
from pytest_mojaloop_perf.fspiop.ilp import Ilp
from pytest_mojaloop_perf.fspiop.jws import Signer, Verifier
from pytest_mojaloop_perf.fspiop.tls import client_tls, server_tls
from pytest_mojaloop_perf.model import Dfsp, DfspEndpoints
from pytest_mojaloop_perf.reference.dfsp_book import Transfers
from pytest_mojaloop_perf.reference.dfsp_exchange import Exchange
from pytest_mojaloop_perf.reference.dfsp_inbound import Inbound
from pytest_mojaloop_perf.reference.dfsp_metrics import DfspMetrics
from pytest_mojaloop_perf.reference.dfsp_outbound import LEDGER_PATH, METRICS_PATH, Outbound
from pytest_mojaloop_perf.reference.dfsp_payee import Payee
from pytest_mojaloop_perf.reference.dfsp_sender import Sender
from pytest_mojaloop_perf.reference.dfsp_steps import Steps
from pytest_mojaloop_perf.reference.process import announce
from pytest_mojaloop_perf.reference.rendezvous import Rendezvous
from pytest_mojaloop_perf.reference_config import DfspsConfig, Ready

__all__ = ["DfspServer", "serve_dfsps"]


_HUB_CONNECTIONS = 16
"""The hub answers at once, so a few connections carry thousands of messages a second. Many would only cost
handshakes (4 ms of CPU each) just when everything is late already."""


class DfspServer:
    """One DFSP: its two ports, client, keys and tables."""

    def __init__(self, dfsp: Dfsp, config: DfspsConfig) -> None:
        security = config.security
        own = config.security_folder / dfsp.fsp_id
        check = security.jws != "off" and not read_faults(config.faults).no_jws_check
        self._dfsp = dfsp
        self._config = config
        self._client = Client(
            client_tls(config.security_folder, dfsp.fsp_id) if security.mtls else None,
            timeout_s=config.request_timeout_s,
            connections=_HUB_CONNECTIONS,
        )
        self._metrics = DfspMetrics(dfsp.fsp_id)
        self._transfers = Transfers()
        self._rendezvous = Rendezvous(config.request_timeout_s)
        self._payee = Payee(
            dfsp,
            # Nobody else ever needs it: the payee makes fulfilments and recomputes none.
            Ilp(secrets.token_hex(16), security.ilp),
            self._transfers,
            expiry_s=config.expiry_s,
        )
        signer = Signer.from_file(own / "jws.key.pem") if security.jws != "off" else None
        sender = Sender(dfsp.fsp_id, config.hub, self._client, signer, self._metrics)
        self._inbound = Inbound(
            self._payee,
            sender,
            self._rendezvous,
            self._transfers,
            self._metrics,
            verifier=Verifier.from_folder(config.security_folder / "jws-public") if check else None,
            hub_only=security.mtls,
        )
        exchange = Exchange(sender, self._rendezvous, self._metrics)
        steps = Steps(dfsp, exchange, self._transfers, expiry_s=config.expiry_s)
        self._outbound = Outbound(exchange, steps, self._transfers, self._metrics)
        self._servers: list[Server] = []

    @classmethod
    async def start(cls, dfsp: Dfsp, config: DfspsConfig) -> Self:
        """Return a DFSP that listens.

        Raises:
            OSError: a port cannot be had.
        """
        server = cls(dfsp, config)
        ports = {fsp_id: (outbound, inbound) for fsp_id, outbound, inbound in config.ports}
        outbound, inbound = ports.get(dfsp.fsp_id, (0, 0))
        tls = server_tls(config.security_folder, dfsp.fsp_id) if config.security.mtls else None
        try:
            for handler, port, own_tls in (
                (server.handle_outbound, outbound, None),
                (server._inbound.handle, inbound, tls),
            ):
                server._servers.append(await Server.start(handler, host=config.host, port=port, tls=own_tls))
        except BaseException:
            await server.stop()
            raise
        return server

    @property
    def endpoints(self) -> DfspEndpoints:
        """Where it answers."""
        outbound, inbound = self._servers
        base = f"http://{outbound.host}:{outbound.port}"
        scheme = "https" if self._config.security.mtls else "http"
        return DfspEndpoints(
            fsp_id=self._dfsp.fsp_id,
            outbound_url=base,
            callback_url=f"{scheme}://{inbound.host}:{inbound.port}",
            ledger_url=base + LEDGER_PATH,
            metrics_url=base + METRICS_PATH,
        )

    async def handle_outbound(self, request: Request) -> Response:
        """Answer the metrics page here, everything else by the synchronous API."""
        if request.path != METRICS_PATH:
            return await self._outbound.handle(request)
        page = self._metrics.page(
            waiting=len(self._rendezvous), quotes=len(self._payee.quotes), transfers=len(self._transfers)
        )
        return Response(200, page, (("content-type", "text/plain; version=0.0.4"),))

    async def stop(self) -> None:
        """Stop listening, then end what is under way."""
        for server in self._servers:
            await server.stop()
        await self._inbound.finish()
        await self._client.close()


async def serve_dfsps(config: DfspsConfig, stop: asyncio.Event) -> None:
    """Serve all DFSPs of one process until `stop` is set.

    Raises:
        OSError: a port or a key file cannot be had.
    """
    servers: list[DfspServer] = []
    try:
        for dfsp in config.dfsps:
            server = await DfspServer.start(dfsp, config)
            servers.append(server)
        endpoints = tuple(server.endpoints for server in servers)
        listen = tuple(
            url.split("://", 1)[1] for each in endpoints for url in (each.outbound_url, each.callback_url)
        )
        announce(
            config.ready_file,
            Ready(pid=os.getpid(), version=__version__, listen=listen, dfsps=endpoints),
        )
        await stop.wait()
    finally:
        for server in servers:
            await server.stop()
