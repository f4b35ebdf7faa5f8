"""Whatever is killed in mid-run: nothing is left running, no PASS is ever written, the ledger adds up."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.chain.live import (
    SHORT,
    command,
    environment,
    environment_pids,
    gone_within,
    processes_of,
    signals_as_by_default,
)

PATIENCE_S = 90


def _started(tmp_path: Path) -> subprocess.Popen[bytes]:
    with (tmp_path / "out.txt").open("wb") as sink:
        return subprocess.Popen(
            command(tmp_path, *SHORT),
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environment(),
            cwd=tmp_path,
            preexec_fn=signals_as_by_default,  # noqa: PLW1509 - we have no other thread here
        )


def _find(tmp_path: Path, *words: str) -> psutil.Process:
    """Wait for the process of the session whose command line has all these words."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for process in processes_of(tmp_path / "runs"):
            try:
                line = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if all(any(word in part for part in line) for word in words) and "guard" not in " ".join(line):
                return process
        time.sleep(0.1)
    raise AssertionError(f"no process with {words}: {(tmp_path / 'out.txt').read_text()}")


def _under_load(tmp_path: Path) -> psutil.Process:
    """Wait until k6 has run for some seconds, and return it."""
    k6 = _find(tmp_path, "k6", "run")
    time.sleep(5)
    return k6


def _check_ledger(tmp_path: Path) -> int:
    """Check that positions are the sum of their journal, and return how many transfers are committed."""
    ledgers = [path for path in tmp_path.rglob("*.sqlite*") if path.suffix in (".sqlite", ".sqlite3")]
    assert len(ledgers) == 1, list(tmp_path.rglob("*ledger*"))
    with sqlite3.connect(f"file:{ledgers[0]}?mode=rw", uri=True) as ledger:
        off = ledger.execute(
            "select p.participantCurrencyId, p.value, coalesce(sum(c.change), 0) from participantPosition p "
            "left join participantPositionChange c using (participantCurrencyId) "
            "group by p.participantCurrencyId having p.value <> coalesce(sum(c.change), 0)"
        ).fetchall()
        assert not off
        (committed,) = ledger.execute(
            "select count(*) from transferStateChange where transferStateId = 'COMMITTED'"
        ).fetchone()
    return int(committed)


@pytest.mark.parametrize("victim", ["pytest", "hub", "dfsp", "k6", "host"])
def test_kill_in_mid_run(tmp_path: Path, victim: str) -> None:
    session = _started(tmp_path)
    try:
        k6 = _under_load(tmp_path)
        listed = environment_pids(tmp_path / "runs")
        pids = {"pytest": [session.pid], "k6": [k6.pid], **listed}
        assert all(pids.values()), pids
        os.kill(pids[victim][0], signal.SIGKILL)
        if victim == "pytest":
            session.wait(5)
        left = gone_within(tmp_path / "runs", 5, but=[session.pid])
        assert not left, left
        status = session.wait(30)
        assert status not in (0, 1)
    finally:
        session.kill()
        session.wait()
    verdicts = [path.read_text() for path in (tmp_path / "runs").rglob("verdict.json")]
    assert not any('"PASS"' in text for text in verdicts)
    assert _check_ledger(tmp_path) > 0


def test_interrupting_pytest_removes_everything(tmp_path: Path) -> None:
    session = _started(tmp_path)
    try:
        _under_load(tmp_path)
        session.send_signal(signal.SIGINT)
        assert session.wait(20) == pytest.ExitCode.INTERRUPTED
        assert not gone_within(tmp_path / "runs", 5)
    finally:
        session.kill()
        session.wait()
