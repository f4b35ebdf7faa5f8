"""Reconciliation reads what is there, waits for what is on its way, and refuses what cannot be read."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.errors import InvalidRunError
from pytest_mojaloop_perf.measure import ledger_reader
from pytest_mojaloop_perf.measure.reconcile import reconcile, snapshot
from pytest_mojaloop_perf.progress import Silent
from tests.unit.ledger_world import (
    PAYEE,
    World,
    environment_of,
    hurry,
    judge,
    load_run,
    made_world,
    ordinary,
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with made_world(tmp_path) as made:
        yield made


def test_the_drain_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_reader, "_STANDSTILL_S", 10.0)
    opening = ordinary(world)
    world.prepare("late")
    world.tell("late", payer="COMMITTED", payee="COMMITTED", k6="COMMITTED")

    def finish() -> None:
        with closing(sqlite3.connect(world.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute(
                "UPDATE participantPosition SET value = value - 10000 WHERE participantCurrencyId = 20"
            )
            other.execute(
                "INSERT INTO participantPositionChange(participantCurrencyId, transferId, change, value,"
                " reason) SELECT 20, 'late', -10000, value, 'commit-payee' FROM participantPosition"
                " WHERE participantCurrencyId = 20"
            )
            other.execute(
                "INSERT INTO transferStateChange(transferId, transferStateId) VALUES ('late','COMMITTED')"
            )
            other.execute("COMMIT")

    timer = threading.Timer(0.3, finish)
    timer.start()
    try:
        result = judge(world, opening)
    finally:
        timer.join()
    assert result.defects == ()


def test_a_payee_that_gets_the_last_word_late_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_mojaloop_perf.measure.reconcile._LAST_WORD_S", 5.0)
    opening = ordinary(world)
    world.commit("late")
    world.tell("late", payer="COMMITTED", payee="FULFILLED", k6="COMMITTED")
    timer = threading.Timer(0.2, lambda: world.views[PAYEE][-1].update(state="COMMITTED"))
    timer.start()
    try:
        result = judge(world, opening)
    finally:
        timer.join()
    assert result.defects == ()


KILLED = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("INSERT INTO transferStateChange(transferId, transferStateId) VALUES ('good-0', 'SETTLED')")
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO transferStateChange(transferId, transferStateId) VALUES ('good-1', 'RESERVED')")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_ledger_whose_writer_was_killed_can_be_read(world: World) -> None:
    opening = ordinary(world)
    world.db.close()
    done = command.run([sys.executable, "-c", KILLED, world.path], timeout_s=20, remedy="-", check=False)
    assert done.returncode == -signal.SIGKILL
    assert world.path.with_name("ledger.sqlite-wal").stat().st_size > 0
    result = judge(world, opening)
    assert result.defects == ()
    assert result.committed == 10


def test_the_ledger_is_not_written(world: World) -> None:
    with (
        ledger_reader.readable(environment_of(world.path)) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM transfer")


@pytest.mark.parametrize("content", [None, b"no database at all, but long enough to be looked at" * 20])
def test_an_unreadable_ledger_makes_the_run_invalid(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ledger.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidRunError, match=r"ledger .* cannot be read: .* Remedy: "):
        snapshot(environment_of(path))


def test_a_target_without_a_ledger_makes_the_run_invalid() -> None:
    with pytest.raises(InvalidRunError, match="tells no ledger"):
        snapshot(environment_of(None))


def test_missing_records_make_the_run_invalid(world: World, tmp_path: Path) -> None:
    opening = ordinary(world)
    with pytest.raises(InvalidRunError, match="generator's records cannot be read"):
        reconcile(
            environment_of(world.path),
            load_run(tmp_path / "none.parquet"),
            opening,
            drain_s=1,
            progress=Silent(),
        )


@pytest.mark.parametrize("broken", ["absent", "malformed"])
def test_a_dfsp_that_does_not_tell_its_view_makes_the_run_invalid(world: World, broken: str) -> None:
    opening = ordinary(world)
    if broken == "absent":
        del world.views[PAYEE]
    else:
        world.views[PAYEE][0]["amount"] = "1.00000"
    with pytest.raises(InvalidRunError, match=f"{PAYEE} does not tell its transfers"):
        judge(world, opening)


def test_nothing_of_ours_is_left_in_the_temporary_folder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    judge(world, ordinary(world))
    assert not list(tmp_path.glob("mojaloop-perf-*"))
