from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from pytest_mojaloop_perf import command, units, wait
from pytest_mojaloop_perf.artifacts import RunFolder, redact
from pytest_mojaloop_perf.errors import BadInputError, CommandError, MissingToolError, WaitTimeoutError
from pytest_mojaloop_perf.model import Gate, LoadShape, Profile


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1m30s", 90), ("500ms", 0.5), (7, 7), ("2h", 7200)]
)
def test_durations(text: str | float, seconds: float) -> None:
    assert units.parse_duration_s(text, name="--perf-duration") == seconds


@pytest.mark.parametrize("text", ["", "-5s", "0", "5 parsecs", "nan", "1m-3s", True, float("inf")])
def test_a_bad_duration_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(BadInputError, match=r"--perf-duration .* Remedy: "):
        units.parse_duration_s(text, name="--perf-duration")


def test_a_wait_ends_with_the_last_state() -> None:
    with pytest.raises(
        WaitTimeoutError, match=r"the hub did not come about within 20ms; last seen: port closed"
    ):
        wait.wait_for(
            "the hub",
            lambda: wait.Pending("port closed"),
            timeout_s=0.02,
            interval_s=0.01,
            remedy="look at its log",
        )


def test_a_run_folder_gives_back_what_it_was_given(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    profile = Profile(
        name="x", summary="y", load=LoadShape(tps=1, duration_s=10, warmup_s=1, cooldown_s=1), objectives=()
    )
    folder.write(profile)
    assert folder.read(Profile) == profile


def test_a_run_folder_refuses_another_schema(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    path = folder.write(Gate(name="a", wanted="b", observed="c", ok=True))
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))
    with pytest.raises(BadInputError, match="schema 99, expected 1"):
        folder.read(Gate)


def test_redaction() -> None:
    text = 'password: hunter2 "token": "abc" -----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----'
    assert "hunter2" not in redact(text)
    assert "abc" not in redact(text)
    assert "AAAA" not in redact(text)


def test_a_failing_command_names_status_and_output() -> None:
    with pytest.raises(CommandError, match=r"ended with status 3.*Remedy: try again.*Evidence: boom"):
        command.run(
            [sys.executable, "-c", "import sys; sys.stderr.write('boom'); sys.exit(3)"],
            timeout_s=20,
            remedy="try again",
        )


def test_a_missing_program_names_the_remedy() -> None:
    with pytest.raises(MissingToolError, match="Remedy: install it"):
        command.which("no-such-program-here", remedy="install it")


def test_a_guarded_process_is_stopped_with_its_child(tmp_path: Path) -> None:
    script = "import os,time,pathlib;pathlib.Path('pid').write_text(str(os.getpid()));time.sleep(60)"
    process = command.start(
        [sys.executable, "-c", script],
        name="x",
        log=tmp_path / "x.log",
        remedy="r",
        cwd=tmp_path,
        guarded=True,
    )
    child = wait.wait_for(
        "pid file",
        lambda: (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else wait.Pending("no file"),
        timeout_s=20,
        remedy="r",
    )
    process.signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{child}").exists()
    process.stop()
