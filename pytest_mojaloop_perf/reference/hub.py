"""The reference hub: one process that wires ledger, FSPIOP port, admin port and timeouts together."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any

from pytest_mojaloop_perf import __version__
from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.faults import FaultSwitches, read_faults
from pytest_mojaloop_perf.fspiop.http import Client, Server
from pytest_mojaloop_perf.fspiop.jws import Signer, Verifier
from pytest_mojaloop_perf.fspiop.pki import HUB_NAME
from pytest_mojaloop_perf.fspiop.tls import client_tls, server_tls
from pytest_mojaloop_perf.model import HubUrls
from pytest_mojaloop_perf.reference.forwarding import Courier
from pytest_mojaloop_perf.reference.hub_admin import admin_handler
from pytest_mojaloop_perf.reference.hub_admin_lookup import AdminLookup
from pytest_mojaloop_perf.reference.hub_admin_participants import AdminParticipants
from pytest_mojaloop_perf.reference.hub_inbound import FspiopRoutes, fspiop_handler
from pytest_mojaloop_perf.reference.hub_metrics import HubMetrics
from pytest_mojaloop_perf.reference.hub_participants import Participants
from pytest_mojaloop_perf.reference.hub_parties import Parties
from pytest_mojaloop_perf.reference.hub_quotes import Quotes
from pytest_mojaloop_perf.reference.hub_transfers import Transfers
from pytest_mojaloop_perf.reference.ledger import Ledger
from pytest_mojaloop_perf.reference.process import announce
from pytest_mojaloop_perf.reference_config import HubConfig, Ready

__all__ = ["Hub", "serve_hub"]

_CONNECTIONS = 256
_DELIVERY_TIMEOUT_S = 10.0


class Hub:
    """The parts of a hub, without its ports."""

    def __init__(self, ledger: Ledger, client: Client, signer: Signer | None, faults: FaultSwitches) -> None:
        self.ledger = ledger
        self.metrics = HubMetrics()
        store = ledger.store
        self.metrics.counter("reference_ledger_commits_total", lambda: store.commits)
        self.metrics.counter("reference_ledger_submissions_total", lambda: store.submissions)
        book = ledger.book
        self.courier = Courier(book, client, signer, self.metrics, faults)
        self.transfers = Transfers(ledger, self.courier, self.metrics, faults)
        self.fspiop_routes: FspiopRoutes = {
            **Parties(book, self.courier, self.metrics, faults).routes(),
            **Quotes(self.courier, self.metrics, faults).routes(),
            **Participants(book, self.courier).routes(),
            **self.transfers.routes(),
        }
        self.admin_routes = {
            **AdminLookup(book, self.metrics).routes(),
            **AdminParticipants(book, self.courier, self.metrics).routes(),
        }


async def serve_hub(config: HubConfig, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, and then end in order: ports, deliveries, ledger.

    Raises:
        OSError: a port cannot be had.
        InfrastructureError: the ledger cannot be opened, or could not be written any more.
    """
    faults = read_faults(config.faults)
    security = config.security
    signs = security.jws != "off"
    folder = config.security_folder
    signer = Signer.from_file(folder / HUB_NAME / "jws.key.pem") if signs else None
    verifies = signs and not faults.no_jws_check
    verifier = Verifier.from_folder(folder / "jws-public") if verifies else None
    check_peer = security.mtls and not faults.no_client_certificate_check
    async with AsyncExitStack() as ending:
        ledger = Ledger(config.ledger, faults)
        ledger.start()
        ending.callback(ledger.stop)
        client = Client(
            client_tls(folder, HUB_NAME) if security.mtls else None,
            timeout_s=_DELIVERY_TIMEOUT_S,
            connections=_CONNECTIONS,
        )
        ending.push_async_callback(client.close)
        hub = Hub(ledger, client, signer, faults)
        ending.push_async_callback(hub.courier.stop)
        fspiop = await Server.start(
            fspiop_handler(hub.fspiop_routes, verifier=verifier, check_peer=check_peer, metrics=hub.metrics),
            host=config.host,
            port=config.fspiop_port,
            tls=server_tls(folder, HUB_NAME, demand_client_certificate=check_peer) if security.mtls else None,
        )
        ending.push_async_callback(fspiop.stop)
        admin = await Server.start(admin_handler(hub.admin_routes), host=config.host, port=config.admin_port)
        ending.push_async_callback(admin.stop)
        announce(config.ready_file, _ready(config, fspiop=fspiop.port, admin=admin.port))
        await _until_stopped(hub, stop, config.timeout_scan_s)


async def _until_stopped(hub: Hub, stop: asyncio.Event, scan_s: float) -> None:
    """Look for expired transfers until told to stop, or until the ledger cannot be written."""
    failure = hub.ledger.store.failure
    assert failure is not None, "the ledger has started"
    stopped = asyncio.ensure_future(stop.wait())
    ends: set[asyncio.Future[Any]] = {stopped, failure}
    try:
        while not stopped.done():
            await asyncio.wait(ends, timeout=scan_s, return_when=asyncio.FIRST_COMPLETED)
            if failure.done():
                raise InfrastructureError(
                    "the ledger could not be written and the hub has stopped", remedy="free disk space"
                )
            await hub.transfers.expire()
    finally:
        stopped.cancel()


def _ready(config: HubConfig, *, fspiop: int, admin: int) -> Ready:
    scheme = "https" if config.security.mtls else "http"
    fspiop_url = f"{scheme}://{config.host}:{fspiop}"
    admin_url = f"http://{config.host}:{admin}"
    return Ready(
        pid=os.getpid(),
        version=__version__,
        listen=(f"{config.host}:{admin}", f"{config.host}:{fspiop}"),
        hub=HubUrls(
            admin_url=admin_url,
            als_admin_url=admin_url,
            oracle_url=f"{admin_url}/oracle",
            als_url=fspiop_url,
            quotes_url=fspiop_url,
            transfers_url=fspiop_url,
            metrics_url=f"{admin_url}/metrics",
        ),
    )
