from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.infra import deployment, deployment_facts
from pytest_mojaloop_perf.infra.embedded import EmbeddedBackend
from pytest_mojaloop_perf.infra.host_client import HostAttachment
from pytest_mojaloop_perf.infra.placement import dfsp_process_count, divide_dfsps
from pytest_mojaloop_perf.model import Dfsp, LoadShape, Matrix, Pair, Plan, Profile, SecurityProfile
from pytest_mojaloop_perf.profiles import load_dfsps, load_matrix
from pytest_mojaloop_perf.progress import Silent
from pytest_mojaloop_perf.wait import Pending, wait_for

DFSPS = load_dfsps("dfsps")
MATRIX = load_matrix("asymmetric")


def signatures(share: tuple[Dfsp, ...]) -> float:
    ids = {dfsp.fsp_id for dfsp in share}
    return sum(
        pair.weight_percent * (2 * (pair.payer in ids) + 3 * (pair.payee in ids)) for pair in MATRIX.pairs
    )


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 8])
def test_every_dfsp_is_in_one_process_and_the_work_is_shared(processes: int) -> None:
    shares = divide_dfsps(DFSPS, MATRIX, processes)
    assert len(shares) == processes
    assert sorted(dfsp.fsp_id for share in shares for dfsp in share) == [dfsp.fsp_id for dfsp in DFSPS]
    assert all(shares)
    # The largest single DFSP is the lower bound of the largest share.
    largest = max(signatures((dfsp,)) for dfsp in DFSPS)
    assert max(map(signatures, shares)) <= max(largest, 1.1 * 500 / processes)


def test_the_large_payer_and_the_large_payee_do_not_share_a_process() -> None:
    first = next(share for share in divide_dfsps(DFSPS, MATRIX, 2) if share[0].fsp_id == "fsp201")
    assert "fsp202" not in {dfsp.fsp_id for dfsp in first}


def test_dfsps_that_nobody_pays_still_get_a_process_each() -> None:
    idle = tuple(Dfsp(fsp_id=f"bank{n}", roles=("payer",), msisdn_first=str(n)) for n in range(3))
    assert [len(share) for share in divide_dfsps(idle, Matrix(name="none", pairs=()), 3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("cores", "dfsps", "processes"), [(1, 8, 2), (2, 8, 2), (4, 8, 2), (8, 8, 4), (64, 8, 8), (2, 1, 1)]
)
def test_the_number_of_processes_follows_the_cores(cores: int, dfsps: int, processes: int) -> None:
    assert dfsp_process_count(cores, dfsps) == processes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return RunFolder.create(tmp_path / "run")


@pytest.fixture
def real(folder: RunFolder) -> Iterator[tuple[Plan, HostAttachment]]:
    """The reference switch as it is shipped, with two DFSPs."""
    plan = Plan(
        run_id="run",
        created="2026-01-01T00:00:00Z",
        target="embedded",
        target_reason="test",
        switch="reference",
        kind="perf",
        profile=Profile(
            name="test",
            summary="test",
            load=LoadShape(tps=10, duration_s=30, warmup_s=5, cooldown_s=5),
            objectives=(),
            security=SecurityProfile(jws="ES256"),
        ),
        matrix=Matrix(name="one", pairs=(Pair(payer="fsp201", payee="fsp202", weight_percent=100),)),
        dfsps=DFSPS[:2],
        seed=1,
        run_folder=folder.path,
    )
    attachment = EmbeddedBackend().attach(plan, folder, Silent())
    yield plan, attachment
    attachment.close()


def wait_until_gone(numbers: list[int]) -> None:
    def look() -> bool | Pending:
        left = [pid for pid in numbers if psutil.pid_exists(pid) and _runs(pid)]
        return Pending(f"still there: {left}") if left else True

    wait_for("the end of all processes", look, timeout_s=5, remedy="see the host")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_everything_answers_when_attach_returns(real: tuple[Plan, HostAttachment]) -> None:
    _plan, attachment = real
    environment = attachment.environment
    health = deployment_facts.ask(f"{environment.hub.admin_url}/health")
    assert not deployment.check_health("the hub", health)
    for dfsp in environment.dfsps:
        assert deployment_facts.ask(dfsp.outbound_url).status == 200
    listening = deployment_facts.listening_ports(environment.processes)
    assert not deployment.check_listening(listening)
    assert not deployment.check_named_ports(listening, deployment_facts.named_ports(environment))
    attachment.alive()


@pytest.mark.parametrize("name", ["host", "hub", "dfsps-1"])
def test_a_kill_of_any_process_is_told_and_leaves_nothing(
    real: tuple[Plan, HostAttachment], name: str
) -> None:
    _plan, attachment = real
    numbers = {each.name: each.pid for each in attachment.environment.processes}
    os.kill(numbers[name], signal.SIGKILL)

    def look() -> InfrastructureError | Pending:
        try:
            attachment.alive()
        except InfrastructureError as error:
            return error
        return Pending("alive")

    error = wait_for("the news of a death", look, timeout_s=5, remedy="see the host")
    assert str(numbers[name]) in str(error)
    if name != "host":
        attachment.close()
    wait_until_gone(list(numbers.values()))
    ledger = attachment.environment.ledger
    assert ledger is not None
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


def test_no_private_key_and_no_token_gets_into_the_run_folder(
    real: tuple[Plan, HostAttachment], folder: RunFolder
) -> None:
    _plan, attachment = real
    attachment.close()
    for path in folder.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"PRIVATE KEY" not in content
            assert attachment.state.token.encode() not in content
