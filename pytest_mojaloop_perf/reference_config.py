"""What a process of the reference switch is told when it starts, and what it answers when it listens."""

from __future__ import annotations

from pathlib import Path

from pytest_mojaloop_perf.model import Dfsp, DfspEndpoints, Fault, HubUrls, SecurityProfile, Value

__all__ = ["DfspsConfig", "HubConfig", "Ready"]


class HubConfig(Value, frozen=True, kw_only=True):
    """Configuration of the hub process. Port 0 means: take a free one and say which in `Ready`.

    `ready_file` is written, whole, as soon as every port listens. `timeout_scan_s` is how often expired
    transfers are looked for.
    """

    run_id: str
    ledger: Path
    security_folder: Path
    security: SecurityProfile
    ready_file: Path
    host: str = "127.0.0.1"
    admin_port: int = 0
    fspiop_port: int = 0
    faults: tuple[Fault, ...] = ()
    timeout_scan_s: float = 0.25


class DfspsConfig(Value, frozen=True, kw_only=True):
    """Configuration of one process that serves one or more DFSPs, each with ports and keys of its own."""

    run_id: str
    dfsps: tuple[Dfsp, ...]
    hub: HubUrls
    security_folder: Path
    security: SecurityProfile
    ready_file: Path
    host: str = "127.0.0.1"
    ports: tuple[tuple[str, int, int], ...] = ()
    faults: tuple[Fault, ...] = ()
    request_timeout_s: float = 30.0
    expiry_s: float = 60.0


class Ready(Value, frozen=True, kw_only=True):
    """A process's answer: it listens. `listen` names every address, for the check that all are loopback."""

    pid: int
    version: str
    listen: tuple[str, ...]
    hub: HubUrls | None = None
    dfsps: tuple[DfspEndpoints, ...] = ()
