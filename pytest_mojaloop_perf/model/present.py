"""What there is: the environment, the onboarded DFSPs, security as observed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pytest_mojaloop_perf.model.core import Value

__all__ = [
    "DfspEndpoints",
    "Environment",
    "HubUrls",
    "OnboardedDfsp",
    "ProbeResult",
    "ProcessInfo",
    "Roster",
    "SecurityObserved",
]


class HubUrls(Value, frozen=True, kw_only=True):
    """Where a hub answers, each without a trailing slash. In the reference hub several share a port.

    `admin_url`: central-ledger admin; `als_admin_url`: oracles; `oracle_url`: the MSISDN oracle as the hub
    reaches it; `als_url`, `quotes_url`, `transfers_url`: FSPIOP; `metrics_url`: Prometheus page.
    """

    admin_url: str
    als_admin_url: str
    oracle_url: str
    als_url: str
    quotes_url: str
    transfers_url: str
    metrics_url: str | None = None


class DfspEndpoints(Value, frozen=True, kw_only=True):
    """Where a DFSP answers.

    `outbound_url`: the SDK's synchronous API (plain HTTP, k6 talks to it); `callback_url`: its FSPIOP inbound
    base as the hub reaches it; `ledger_url`: its own view of transfers, for reconciliation, where it has one.
    """

    fsp_id: str
    outbound_url: str
    callback_url: str
    ledger_url: str | None = None
    metrics_url: str | None = None


class ProcessInfo(Value, frozen=True, kw_only=True):
    """A process of the environment, for resource accounting and for naming what ran out."""

    name: str
    role: Literal["hub", "dfsp", "host"]
    pid: int
    version: str
    listen: tuple[str, ...] = ()


class Environment(Value, frozen=True, kw_only=True):
    """What every target produces; nothing after provisioning knows which target it came from.

    `security_folder` holds per-run material in the layout of `fspiop.pki` (None: not ours to know);
    `ledger` is a SQLite file that reconciliation may read, or None.
    """

    run_id: str
    target: str
    switch: str
    switch_version: str
    hub: HubUrls
    dfsps: tuple[DfspEndpoints, ...]
    processes: tuple[ProcessInfo, ...] = ()
    security_folder: Path | None = None
    ledger: Path | None = None
    control: str | None = None

    def dfsp(self, fsp_id: str) -> DfspEndpoints:
        """Return one DFSP's endpoints."""
        return next(endpoints for endpoints in self.dfsps if endpoints.fsp_id == fsp_id)


class OnboardedDfsp(Value, frozen=True, kw_only=True):
    """A DFSP as read back from the hub after onboarding. Amounts are decimal text in `currency`."""

    fsp_id: str
    currency: str
    position_account_id: int
    settlement_account_id: int
    position: str
    settlement: str
    ndc: str
    endpoints: tuple[str, ...]
    msisdn_first: str
    msisdn_count: int
    looked_up: str | None = None


class Roster(Value, frozen=True, kw_only=True):
    """All DFSPs, verified: accounts active, NDC, funds, endpoints, one look-up per payee."""

    dfsps: tuple[OnboardedDfsp, ...]
    calls: int
    already: int
    took_s: float


class ProbeResult(Value, frozen=True, kw_only=True):
    """One negative probe: a message that must be refused, and how it was answered.

    `control` is one of mtls, jws, ilp; `refused` says that it was refused in the way the protocol says;
    `moved_money` says that a position changed because of it. `ran=False`: it was not sent, for the reason
    that `observed` gives; then `refused` proves nothing.
    """

    name: str
    control: Literal["mtls", "jws", "ilp"]
    expected: str
    observed: str
    refused: bool
    moved_money: bool = False
    ran: bool = True


class SecurityObserved(Value, frozen=True, kw_only=True):
    """What the probes saw, before or after the load."""

    when: Literal["before", "after"]
    probes: tuple[ProbeResult, ...]
