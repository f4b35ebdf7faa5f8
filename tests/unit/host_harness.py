"""What the tests of the host share: a plan, stand-ins for its processes, and stand-ins for pytest's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.infra import host_state
from pytest_mojaloop_perf.infra.embedded import EmbeddedBackend
from pytest_mojaloop_perf.infra.host_client import HostAttachment
from pytest_mojaloop_perf.model import Dfsp, LoadShape, Matrix, Pair, Plan, Profile, SecurityProfile
from pytest_mojaloop_perf.progress import Silent
from pytest_mojaloop_perf.wait import Pending, wait_for

HERE = Path(__file__).parent
STANDIN = HERE / "standin_process.py"


def make_plan(run_folder: Path, **changes: Any) -> Plan:
    load = LoadShape(tps=10, duration_s=30, warmup_s=5, cooldown_s=5)
    # ES256, because RSA keys take a second to make and nothing is signed here.
    profile = Profile(
        name="test", summary="test", load=load, objectives=(), security=SecurityProfile(jws="ES256")
    )
    facts: dict[str, Any] = {
        "run_id": run_folder.name,
        "created": "2026-01-01T00:00:00Z",
        "target": "embedded",
        "target_reason": "test",
        "switch": "reference",
        "kind": "perf",
        "profile": profile,
        "matrix": Matrix(name="one", pairs=(Pair(payer="fsp201", payee="fsp202", weight_percent=100),)),
        "dfsps": (
            Dfsp(fsp_id="fsp201", roles=("payer",), msisdn_first="17039811918"),
            Dfsp(fsp_id="fsp202", roles=("payee",), msisdn_first="27039811918"),
        ),
        "seed": 1,
        "run_folder": run_folder,
    }
    return Plan(**{**facts, **changes})


class Worker:
    """A process that attaches, and lets go when told."""

    def __init__(self, folder: RunFolder, mode: str, keep_s: float) -> None:
        words = [sys.executable, str(HERE / "standin_worker.py"), str(folder.path), str(STANDIN), mode]
        self.process = subprocess.Popen(
            [*words, str(keep_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def let_go(self) -> None:
        self.stdin().write("\n")
        self.stdin().flush()
        assert self.process.wait(30) == 0

    def stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def attach(folder: RunFolder, mode: str = "good", **options: Any) -> HostAttachment:
    command = (sys.executable, str(STANDIN), mode)
    backend = EmbeddedBackend("session", child_command=command, **options)
    return backend.attach(folder.read(Plan), folder, Silent())


def pids(attachment: HostAttachment) -> dict[str, int]:
    return {each.name: each.pid for each in attachment.environment.processes}


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(numbers: dict[str, int]) -> None:
    def look() -> bool | Pending:
        left = [name for name, pid in numbers.items() if lives(pid)]
        return Pending(f"still there: {left}") if left else True

    wait_for("the end of all processes", look, timeout_s=5, remedy="see the host")


def wait_until_dead_is_noticed(attachment: HostAttachment) -> InfrastructureError:
    def look() -> InfrastructureError | Pending:
        try:
            attachment.alive()
        except InfrastructureError as error:
            return error
        return Pending("alive")

    return wait_for("the news of a death", look, timeout_s=5, remedy="see the host")


def journal(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.file("journal.jsonl").read_text().splitlines()]


@contextmanager
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """Give a run folder with a plan, and a state folder of its own; end every host afterwards."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = RunFolder.create(tmp_path / "run-1")
    folder.write(make_plan(folder.path))
    yield folder
    for state in host_state.all_states():
        if host_state.host_lives(state):
            os.kill(state.pid, signal.SIGKILL)
        host_state.forget(state)


@contextmanager
def worker_starter(folder: RunFolder) -> Iterator[Callable[..., Worker]]:
    """Give a function that starts workers; end them all afterwards."""
    started: list[Worker] = []

    def start(mode: str = "good", keep_s: float = 0.0) -> Worker:
        worker = Worker(folder, mode, keep_s)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.end()
