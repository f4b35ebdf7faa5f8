from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.infra import host_client, host_state
from pytest_mojaloop_perf.infra.control_line import ControlLine
from pytest_mojaloop_perf.infra.embedded import EmbeddedBackend
from pytest_mojaloop_perf.model import Plan
from pytest_mojaloop_perf.progress import Silent
from pytest_mojaloop_perf.wait import Pending, wait_for
from tests.unit.host_harness import (
    Worker,
    attach,
    journal,
    lives,
    pids,
    run_folder,
    wait_until_dead_is_noticed,
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


def test_an_environment_is_up_while_attached_and_gone_after(folder: RunFolder) -> None:
    attachment = attach(folder)
    environment = attachment.environment
    numbers = pids(attachment)
    assert set(numbers) == {"host", "hub", "dfsps-1", "dfsps-2"}
    assert all(lives(pid) for pid in numbers.values())
    assert [dfsp.fsp_id for dfsp in environment.dfsps] == ["fsp201", "fsp202"]
    assert environment.security_folder is not None
    assert stat.S_IMODE(environment.security_folder.stat().st_mode) == 0o700
    assert folder.path not in environment.security_folder.parents
    attachment.alive()
    attachment.close()
    assert not any(lives(pid) for pid in numbers.values())
    assert not environment.security_folder.parent.exists()
    assert host_state.all_states() == []
    attachment.close()


def test_everything_is_journalled_before_it_is_made(folder: RunFolder) -> None:
    attach(folder).close()
    events = [(line["event"], line["what"], line.get("name")) for line in journal(folder)]
    assert events[:6] == [
        ("create", "private folder", None),
        ("create", "host process", None),
        ("create", "security folder", None),
        ("create", "process", "hub"),
        ("create", "process", "dfsps-1"),
        ("create", "process", "dfsps-2"),
    ]
    assert events[6:] == [
        ("ended", "process", "dfsps-2"),
        ("ended", "process", "dfsps-1"),
        ("ended", "process", "hub"),
        ("ended", "host", None),
    ]


def test_four_workers_at_once_make_one_host(workers: Callable[..., Worker], folder: RunFolder) -> None:
    four = [workers("slow") for _ in range(4)]
    answers = [worker.answer() for worker in four]
    assert all(answer == answers[0] for answer in answers)
    numbers: dict[str, int] = answers[0]["processes"]
    for worker in four[:3]:
        worker.let_go()
        assert all(lives(pid) for pid in numbers.values())
    four[3].let_go()
    assert not any(lives(pid) for pid in numbers.values())
    assert [line["what"] for line in journal(folder)].count("host process") == 1


def test_the_host_survives_the_worker_that_made_it(workers: Callable[..., Worker], folder: RunFolder) -> None:
    creator = workers()
    numbers = creator.answer()["processes"]
    attachment = attach(folder)
    creator.process.kill()
    creator.process.wait()
    attachment.alive()
    assert pids(attachment) == numbers
    attachment.close()
    assert not any(lives(pid) for pid in numbers.values())


def test_nothing_is_left_when_the_only_worker_is_killed(
    workers: Callable[..., Worker], folder: RunFolder
) -> None:
    worker = workers()
    answer = worker.answer()
    worker.process.kill()
    wait_until_gone(answer["processes"])
    assert not Path(answer["control"]).parent.exists()
    assert host_state.all_states() == []


def test_nothing_is_left_when_the_creator_is_killed_during_the_start(
    workers: Callable[..., Worker], folder: RunFolder
) -> None:
    worker = workers("dfsps-never-ready")

    def look() -> dict[str, int] | Pending:
        # The DFSPs' configurations are written just before their processes start.
        states = host_state.all_states()
        if not states or not (states[0].private / "dfsps-2.json").exists():
            return Pending("not started")
        host = psutil.Process(states[0].pid)
        return {"host": host.pid} | {str(child.pid): child.pid for child in host.children()}

    numbers = wait_for("a start", look, timeout_s=20, remedy="see the host")
    worker.process.kill()
    wait_until_gone(numbers)
    assert host_state.all_states() == []


def test_a_killed_host_takes_its_children_along_and_is_told(folder: RunFolder) -> None:
    attachment = attach(folder)
    numbers = pids(attachment)
    private = attachment.state.private
    os.kill(numbers["host"], signal.SIGKILL)
    error = wait_until_dead_is_noticed(attachment)
    assert f"the host of the environment (pid {numbers['host']}) was killed" in str(error)
    assert str(folder.log("host")) in str(error)
    wait_until_gone(numbers)
    attachment.close()
    assert not private.exists()
    assert host_state.all_states() == []


def test_the_leavings_of_a_killed_host_are_cleared_away_by_the_next_session(
    workers: Callable[..., Worker], folder: RunFolder
) -> None:
    worker = workers()
    answer = worker.answer()
    # A stopped worker cannot clear up after the host.
    worker.process.send_signal(signal.SIGSTOP)
    os.kill(answer["processes"]["host"], signal.SIGKILL)
    worker.process.kill()
    wait_until_gone(answer["processes"])
    assert Path(answer["control"]).parent.exists()
    attachment = attach(folder)
    assert not Path(answer["control"]).parent.exists()
    assert pids(attachment) != answer["processes"]
    attachment.close()


@pytest.mark.parametrize("name", ["hub", "dfsps-1"])
def test_a_killed_child_is_named_to_everybody_and_the_rest_stays(folder: RunFolder, name: str) -> None:
    first, second = attach(folder), attach(folder)
    numbers = pids(first)
    os.kill(numbers[name], signal.SIGKILL)
    role = name.split("-", maxsplit=1)[0]
    for attachment in (first, second):
        error = wait_until_dead_is_noticed(attachment)
        assert f"the process {name} (pid {numbers[name]}) was ended by SIGKILL" in str(error)
        assert f"{role} listens" in str(error)  # the last line of its log
        with pytest.raises(InfrastructureError, match="SIGKILL"):
            attachment.alive()
    others = [pid for other, pid in numbers.items() if other != name]
    assert all(lives(pid) for pid in others)
    first.close()
    second.close()
    assert not any(lives(pid) for pid in numbers.values())


def test_who_attaches_after_a_death_is_told(folder: RunFolder) -> None:
    first = attach(folder)
    os.kill(pids(first)["hub"], signal.SIGKILL)
    wait_until_dead_is_noticed(first)
    with pytest.raises(InfrastructureError, match=r"the process hub .* was ended by SIGKILL"):
        attach(folder)
    first.close()


def test_a_child_that_ignores_sigterm_is_killed(folder: RunFolder) -> None:
    attachment = attach(folder, "deaf")
    numbers = pids(attachment)
    attachment.close()
    assert not any(lives(pid) for pid in numbers.values())
    ends = {
        line["name"]: line["status"]
        for line in journal(folder)
        if line["event"] == "ended" and "name" in line
    }
    assert ends == dict.fromkeys(("hub", "dfsps-1", "dfsps-2"), -signal.SIGKILL)


def test_a_process_that_dies_at_start_is_named_with_its_last_words(folder: RunFolder) -> None:
    with pytest.raises(
        InfrastructureError,
        match=r"(?s)process hub \(pid \d+\) ended with status 3.*Remedy.*hub\.log.*address already in use",
    ):
        attach(folder, "hub-dies")
    assert host_state.all_states() == []


def test_a_process_that_is_never_ready_ends_the_start_and_all_others(folder: RunFolder) -> None:
    with pytest.raises(
        InfrastructureError, match="readiness of the process dfsps-1 did not come about within 500ms"
    ):
        attach(folder, "dfsps-never-ready", start_timeout_s=0.5)
    assert host_state.all_states() == []
    assert [line["name"] for line in journal(folder) if line["event"] == "ended" and "name" in line] == [
        "dfsps-2",
        "dfsps-1",
        "hub",
    ]


def test_the_wrong_token_opens_nothing(folder: RunFolder) -> None:
    attachment = attach(folder)
    line = ControlLine(msgspec.structs.replace(attachment.state, token="guess"))
    line.send({"do": "stop"})
    assert line.receive(10) == {"say": "refused", "why": "wrong token"}
    line.close()
    attachment.alive()
    attachment.close()


def test_rubbish_on_the_control_socket_harms_nobody(folder: RunFolder) -> None:
    attachment = attach(folder)
    for message in ({"do": "keep"}, {"do": "keep", "ttl_s": "x"}, {"do": "dance"}):
        line = ControlLine(attachment.state)
        line.send(message)
        answer = line.receive(10)
        assert answer is not None
        assert answer.get("say") == "refused"
        line.close()
    attachment.alive()
    attachment.close()


def test_the_status_says_how_many_are_attached_and_holds_nothing(folder: RunFolder) -> None:
    first, second = attach(folder), attach(folder)
    line = ControlLine(first.state)
    line.send({"do": "status"})
    assert line.receive(10) == {"say": "status", "attached": 2, "ending": False}
    assert [state.run_id for state in host_client.living_environments()] == ["run-1"]
    assert host_client.kept_environments() == []
    numbers = pids(first)
    first.close()
    second.close()
    line.close()
    assert not any(lives(pid) for pid in numbers.values())


def test_an_environment_made_again_in_the_same_run_starts_with_a_new_ledger(folder: RunFolder) -> None:
    first = attach(folder)
    first.environment.ledger.touch()  # type: ignore[union-attr] # the reference switch always has one
    first.close()
    second = attach(folder)
    assert second.environment.ledger != first.environment.ledger
    second.close()


def test_a_run_folder_that_cannot_be_written_is_refused(folder: RunFolder, tmp_path: Path) -> None:
    plan = folder.read(Plan)
    (tmp_path / "file").touch()
    nowhere = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(InfrastructureError, match=r"could not be made.*Remedy: name a writable folder"):
        EmbeddedBackend("session").attach(plan, nowhere, Silent())


def test_a_log_folder_that_cannot_be_written_is_named(folder: RunFolder, tmp_path: Path) -> None:
    (folder.path / "logs").rmdir()
    (folder.path / "logs").touch()
    with pytest.raises(
        InfrastructureError, match=r"(?s)host of the environment could not be started.*logs/host\.log"
    ):
        attach(folder)
    assert [line["what"] for line in journal(folder)] == ["private folder", "host process"]
    assert not Path(journal(folder)[0]["path"]).exists()
