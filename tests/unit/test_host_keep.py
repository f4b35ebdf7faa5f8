from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import BadInputError, InfrastructureError
from pytest_mojaloop_perf.infra import host_client, host_state
from pytest_mojaloop_perf.model import Dfsp, Fault
from tests.unit.host_harness import (
    Worker,
    attach,
    lives,
    make_plan,
    pids,
    run_folder,
    wait_until_gone,
    worker_starter,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    with run_folder(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def workers(folder: RunFolder) -> Iterator[Callable[..., Worker]]:
    with worker_starter(folder) as start:
        yield start


def test_the_state_file_is_private(folder: RunFolder) -> None:
    attachment = attach(folder)
    (path,) = host_state.state_folder().glob("*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    attachment.close()


def test_a_kept_environment_is_reused_and_stopped(folder: RunFolder, tmp_path: Path) -> None:
    first = attach(folder)
    numbers = pids(first)
    first.keep(60)
    first.close()
    assert [state.run_id for state in host_client.kept_environments()] == ["run-1"]
    assert all(lives(pid) for pid in numbers.values())

    later = RunFolder.create(tmp_path / "run-2")
    for name in ("run-1", str(folder.path)):
        later.write(make_plan(later.path, reuse=name))
        again = attach(later)
        assert pids(again) == numbers
        again.close()
        assert all(lives(pid) for pid in numbers.values())

    host_client.stop_kept("run-1")
    assert not any(lives(pid) for pid in numbers.values())
    assert host_client.kept_environments() == []


def test_a_kept_environment_ends_with_its_time(workers: Callable[..., Worker], folder: RunFolder) -> None:
    worker = workers("good", keep_s=0.4)
    numbers = worker.answer()["processes"]
    worker.let_go()
    wait_until_gone(numbers)
    assert host_state.all_states() == []


def test_whoever_is_attached_learns_of_a_stop(folder: RunFolder) -> None:
    attachment = attach(folder)
    host_client.stop_kept("run-1")
    with pytest.raises(InfrastructureError, match="was stopped from outside"):
        attachment.alive()
    attachment.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"faults": (Fault(name="no-jws-check"),)}, "other faults"),
        ({"dfsps": (Dfsp(fsp_id="a", roles=("payer",), msisdn_first="1"),)}, "other DFSPs"),
    ],
)
def test_a_kept_environment_that_differs_from_the_plan_is_refused(
    folder: RunFolder, changes: dict[str, Any], words: str
) -> None:
    first = attach(folder)
    folder.write(make_plan(folder.path, reuse="run-1", **changes))
    with pytest.raises(BadInputError, match=words):
        attach(folder)
    first.close()


def test_the_generators_faults_do_not_forbid_reuse(folder: RunFolder) -> None:
    first = attach(folder)
    fault = Fault(name="starved-generator", parameter="25")
    folder.write(make_plan(folder.path, reuse="run-1", faults=(fault,)))
    second = attach(folder)
    second.close()
    first.close()


def test_reuse_of_nothing_names_what_there_is(folder: RunFolder) -> None:
    first = attach(folder)
    with pytest.raises(BadInputError, match="'run-9', expected one of those there are: run-1"):
        host_client.find_kept("run-9")
    first.close()


def test_reuse_of_a_killed_host_is_refused_and_cleared(folder: RunFolder) -> None:
    attachment = attach(folder)
    attachment.keep(60)
    os.kill(attachment.state.pid, signal.SIGKILL)
    wait_until_gone(pids(attachment))
    with pytest.raises(BadInputError, match=r"host \(pid \d+\) was killed"):
        host_client.find_kept("run-1")
    assert not attachment.state.private.exists()
    attachment.close()


def test_a_reused_pid_is_not_taken_for_the_host(folder: RunFolder) -> None:
    attachment = attach(folder)
    ours = msgspec.structs.replace(attachment.state, pid=os.getpid())
    assert not host_state.host_lives(ours)
    attachment.close()


def test_a_keep_that_cannot_be_noted_is_an_error(folder: RunFolder) -> None:
    attachment = attach(folder)
    path = host_state.state_folder() / "run-1.partial"
    path.mkdir()
    with pytest.raises(InfrastructureError, match="refused a request: IsADirectoryError"):
        attachment.keep(60)
    path.rmdir()
    attachment.close()
    assert host_state.all_states() == []


def test_a_session_process_holds_the_environment_between_two_workers(folder: RunFolder) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as session:
        first = attach(folder, session_pid=session.pid)
        numbers = pids(first)
        first.close()
        assert all(lives(pid) for pid in numbers.values())
        second = attach(folder, session_pid=session.pid)
        assert pids(second) == numbers
        second.close()
        session.kill()
        session.wait()
        wait_until_gone(numbers)
    assert host_state.all_states() == []


def test_the_controller_releases_what_is_not_kept(folder: RunFolder) -> None:
    attachment = attach(folder, session_pid=os.getpid())
    numbers = pids(attachment)
    attachment.keep(60)
    attachment.close()
    host_client.release_session("run-1")
    assert all(lives(pid) for pid in numbers.values())
    host_client.stop_kept("run-1")

    attachment = attach(folder, session_pid=os.getpid())
    numbers = pids(attachment)
    attachment.close()
    assert all(lives(pid) for pid in numbers.values())
    host_client.release_session("run-1")
    assert not any(lives(pid) for pid in numbers.values())
    host_client.release_session("run-1")


def test_a_state_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all = tmp_path / "pytest-mojaloop-perf"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    assert host_state.state_folder().parent == tmp_path / "tmp"


def test_a_bad_run_id_names_no_file(folder: RunFolder) -> None:
    with pytest.raises(BadInputError, match="not a run id"):
        host_state.read_state("../../etc/passwd")


def test_a_private_path_is_short_enough_for_a_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 120)))
    assert len(os.fsencode(host_state.new_private_path() / "control")) <= 100


def test_a_foreign_folder_is_never_deleted(folder: RunFolder, tmp_path: Path) -> None:
    attachment = attach(folder)
    precious = tmp_path / "precious"
    precious.mkdir()
    host_state.forget(msgspec.structs.replace(attachment.state, private=precious, token="another"))
    assert precious.exists()
    assert host_state.read_state("run-1") is not None
    attachment.close()
