"""Start the processes of the embedded environment, watch them, and end them; used by the host only."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from pytest_mojaloop_perf import __version__, command
from pytest_mojaloop_perf.artifacts import RunFolder, redact
from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.fspiop.pki import HUB_NAME, create_security_folder
from pytest_mojaloop_perf.infra.host_state import HostConfig
from pytest_mojaloop_perf.infra.placement import divide_dfsps
from pytest_mojaloop_perf.model import PROBE_FSPS, Environment, HubUrls, ProcessInfo
from pytest_mojaloop_perf.reference_config import DfspsConfig, HubConfig, Ready
from pytest_mojaloop_perf.wait import Pending, wait_for

__all__ = ["Supervisor", "status_words"]

Say = Callable[[int, int, str], None]
"""Receives steps done, steps in all, and what is being done."""

_GRACE_S = 2.0


class Supervisor:
    """Owns the hub process and the DFSP processes of one environment."""

    def __init__(self, config: HostConfig, folder: RunFolder) -> None:
        self._config = config
        self._plan = config.plan
        self._folder = folder
        self._security = config.private / "security"
        self._children: list[command.Process] = []
        self._aborted = threading.Event()

    def start(self, say: Say) -> Environment:
        """Make the security material, start the hub, then the DFSPs, and return when everything listens.

        Raises:
            InfrastructureError: a process ended or did not get ready; the caller stops the others.
        """
        shares = divide_dfsps(self._plan.dfsps, self._plan.matrix, self._config.dfsp_processes)
        steps = 2 + len(shares)
        say(0, steps, "making certificates and keys")
        self._make_security()
        say(1, steps, "starting the hub")
        ledger = self._new_ledger()
        hub = self._ready(self._start("hub", "hub", self._hub_config(ledger)), "hub")
        if hub.hub is None:
            raise self._trouble("the hub process got ready without saying where it answers", "hub")
        say(2, steps, "starting the DFSPs")
        names = [f"dfsps-{number}" for number in range(1, len(shares) + 1)]
        started = [
            self._start(name, "dfsps", self._dfsps_config(name, hub.hub, index))
            for index, name in enumerate(names)
        ]
        answers = []
        for done, (name, process) in enumerate(zip(names, started, strict=True), start=3):
            answers.append(self._ready(process, name))
            say(done, steps, f"{name} listens")
        return self._environment(hub, hub.hub, ledger, dict(zip(names, answers, strict=True)))

    def abort(self) -> None:
        """Make a `start` in another thread give up soon."""
        self._aborted.set()

    def failure(self) -> InfrastructureError | None:
        """Return an error that names a process which has ended, or None when all run."""
        for child in self._children:
            status = child.poll()
            if status is not None:
                words = (
                    f"the process {child.name} (pid {child.pid}) {status_words(status)} while it was needed"
                )
                return self._trouble(words, child.name)
        return None

    def stop(self) -> None:
        """End all processes, those started last first: SIGTERM, and SIGKILL after two seconds."""
        deadline = time.monotonic() + _GRACE_S
        for child in reversed(self._children):
            child.signal(signal.SIGTERM)
        for child in reversed(self._children):
            child.wait(max(0.01, deadline - time.monotonic()))
            status = child.stop(grace_s=0.01)
            self._folder.journal("ended", what="process", name=child.name, pid=child.pid, status=status)
        self._children.clear()

    def _make_security(self) -> None:
        self._folder.journal("create", what="security folder", path=self._security)
        names = [*(dfsp.fsp_id for dfsp in self._plan.dfsps), *PROBE_FSPS, HUB_NAME]
        create_security_folder(self._security, names, self._plan.profile.security.jws)

    def _new_ledger(self) -> Path:
        """Choose a fresh file: an environment made again in the same run must not start with old money."""
        number, path = 1, self._folder.file("ledger.sqlite")
        while path.exists():
            number += 1
            path = self._folder.file(f"ledger-{number}.sqlite")
        return path

    def _hub_config(self, ledger: Path) -> HubConfig:
        return HubConfig(
            run_id=self._plan.run_id,
            ledger=ledger,
            security_folder=self._security,
            security=self._plan.profile.security,
            ready_file=self._config.private / "hub.ready.json",
            faults=self._plan.faults,
        )

    def _dfsps_config(self, name: str, hub: HubUrls, index: int) -> DfspsConfig:
        shares = divide_dfsps(self._plan.dfsps, self._plan.matrix, self._config.dfsp_processes)
        return DfspsConfig(
            run_id=self._plan.run_id,
            dfsps=shares[index],
            hub=hub,
            security_folder=self._security,
            security=self._plan.profile.security,
            ready_file=self._config.private / f"{name}.ready.json",
            faults=self._plan.faults,
            request_timeout_s=min(30.0, self._plan.profile.load.request_timeout_s),
        )

    def _start(self, name: str, role: str, config: HubConfig | DfspsConfig) -> command.Process:
        path = self._config.private / f"{name}.json"
        path.write_bytes(msgspec.json.encode(config, enc_hook=str))
        self._folder.journal("create", what="process", name=name)
        process = command.start(
            [*self._config.child_command, role, path],
            name=name,
            log=self._folder.log(name),
            remedy="check that this Python can run the package: python -m pytest_mojaloop_perf.reference",
        )
        self._children.append(process)
        return process

    def _ready(self, process: command.Process, name: str) -> Ready:
        path = self._config.private / f"{name}.ready.json"

        def look() -> Ready | Pending:
            if self._aborted.is_set():
                raise self._trouble("the start was given up", name)
            failure = self.failure()
            if failure is not None:
                raise failure
            if not path.exists():
                return Pending(f"pid {process.pid} runs, {path.name} is not there yet")
            return _read_ready(path)

        return wait_for(
            f"readiness of the process {name}",
            look,
            timeout_s=self._config.start_timeout_s,
            interval_s=0.02,
            remedy=f"read {process.log}; on a busy machine, end other work first",
            evidence=self._evidence(name),
        )

    def _environment(self, hub: Ready, urls: HubUrls, ledger: Path, dfsps: dict[str, Ready]) -> Environment:
        host = ProcessInfo(name="host", role="host", pid=os.getpid(), version=__version__)
        hub_process = ProcessInfo(name="hub", role="hub", pid=hub.pid, version=hub.version, listen=hub.listen)
        endpoints = (endpoint for ready in dfsps.values() for endpoint in ready.dfsps)
        return Environment(
            run_id=self._plan.run_id,
            target="embedded",
            switch="reference",
            switch_version=hub.version,
            hub=urls,
            dfsps=tuple(sorted(endpoints, key=lambda endpoint: endpoint.fsp_id)),
            processes=(
                host,
                hub_process,
                *(
                    ProcessInfo(
                        name=name, role="dfsp", pid=ready.pid, version=ready.version, listen=ready.listen
                    )
                    for name, ready in dfsps.items()
                ),
            ),
            security_folder=self._security,
            ledger=ledger,
            control=str(self._config.private / "control"),
        )

    def _trouble(self, problem: str, name: str) -> InfrastructureError:
        log = self._folder.log(name)
        return InfrastructureError(
            f"{problem}, expected it to run until the session lets it go",
            remedy=f"read {log} for the cause, then run again",
            evidence=self._evidence(name),
        )

    def _evidence(self, name: str) -> str:
        log = self._folder.log(name)
        try:
            lines = log.read_text(errors="replace").splitlines()[-15:]
        except OSError:
            lines = []
        return redact("\n".join([str(log), *lines]))


def status_words(status: int) -> str:
    """Return how a process ended, in words: `ended with status 3` or `was ended by SIGKILL`."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _read_ready(path: Path) -> Ready:
    return msgspec.json.decode(path.read_bytes(), type=Ready, dec_hook=lambda kind, value: kind(value))
