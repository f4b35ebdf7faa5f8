from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import psutil
import pytest

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import BadInputError, InfrastructureError
from pytest_mojaloop_perf.infra import host_client, host_state
from pytest_mojaloop_perf.infra.control_line import ControlLine
from pytest_mojaloop_perf.infra.embedded import EmbeddedBackend
from pytest_mojaloop_perf.infra.host_client import HostAttachment
from pytest_mojaloop_perf.model import Dfsp, Fault, LoadShape, Matrix, Pair, Plan, Profile, SecurityProfile
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """A run folder with a plan, and a state folder of its own; every host is ended afterwards."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = RunFolder.create(tmp_path / "run-1")
    folder.write(make_plan(folder.path))
    yield folder
    for state in host_state.all_states():
        if host_state.host_lives(state):
            os.kill(state.pid, signal.SIGKILL)
        host_state.forget(state)


@pytest.fixture
def workers(folder: RunFolder) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def start(mode: str = "good", keep_s: float = 0.0) -> Worker:
        worker = Worker(folder, mode, keep_s)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.end()


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


def test_the_state_file_is_private(folder: RunFolder) -> None:
    attachment = attach(folder)
    (path,) = host_state.state_folder().glob("*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
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


def test_a_keep_that_cannot_be_noted_is_an_error(folder: RunFolder) -> None:
    attachment = attach(folder)
    path = host_state.state_folder() / "run-1.partial"
    path.mkdir()
    with pytest.raises(InfrastructureError, match="refused a request: IsADirectoryError"):
        attachment.keep(60)
    path.rmdir()
    attachment.close()
    assert host_state.all_states() == []


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
