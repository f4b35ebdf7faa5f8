"""Reconciliation against doctored ledgers: each defect is found, by its own check and by no other."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.errors import InvalidRunError
from pytest_mojaloop_perf.measure import ledger_reader
from pytest_mojaloop_perf.measure.reconcile import reconcile, snapshot
from pytest_mojaloop_perf.measure.reconcile_checks import CHECKS
from pytest_mojaloop_perf.model import (
    PROBE_FSPS,
    DfspEndpoints,
    Environment,
    HubUrls,
    LedgerSnapshot,
    LoadRun,
    Reconciliation,
)
from pytest_mojaloop_perf.progress import Silent

SCHEMA = """
CREATE TABLE participant(participantId INTEGER PRIMARY KEY, name TEXT, isActive INTEGER);
CREATE TABLE participantCurrency(participantCurrencyId INTEGER PRIMARY KEY, participantId INTEGER,
  currencyId TEXT, ledgerAccountType TEXT, isActive INTEGER);
CREATE TABLE participantPosition(participantCurrencyId INTEGER PRIMARY KEY, value INTEGER,
  reservedValue INTEGER);
CREATE TABLE participantPositionChange(participantPositionChangeId INTEGER PRIMARY KEY AUTOINCREMENT,
  participantCurrencyId INTEGER, transferId TEXT, change INTEGER, value INTEGER, reason TEXT,
  createdDate TEXT);
CREATE TABLE transfer(transferId TEXT PRIMARY KEY, payerFsp TEXT, payeeFsp TEXT, amount INTEGER,
  currencyId TEXT, ilpCondition TEXT, expirationDate TEXT, createdDate TEXT);
CREATE TABLE transferStateChange(transferStateChangeId INTEGER PRIMARY KEY AUTOINCREMENT, transferId TEXT,
  transferStateId TEXT, reason TEXT, createdDate TEXT);
CREATE TABLE transferFulfilment(transferId TEXT PRIMARY KEY, ilpFulfilment TEXT, completedDate TEXT);
"""
PAYER, PAYEE = "fsp201", "fsp202"
UNIT = 10_000


class World:
    """A small ledger with DFSP views and k6 records that agree, until a test makes them disagree."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.views: dict[str, list[dict[str, str]]] = {PAYER: [], PAYEE: []}
        self.records: list[tuple[str | None, str, str, str]] = []
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.executescript(SCHEMA)
        for number, name in enumerate((PAYER, PAYEE, *PROBE_FSPS), 1):
            self.db.execute("INSERT INTO participant VALUES (?,?,1)", (number, name))
            for kind, account in (("POSITION", 10 * number), ("SETTLEMENT", 10 * number + 1)):
                self.db.execute(
                    "INSERT INTO participantCurrency VALUES (?,?,'XXX',?,1)", (account, number, kind)
                )
                self.db.execute("INSERT INTO participantPosition VALUES (?,0,0)", (account,))
            self.move(10 * number + 1, f"funds-{name}", -1000 * UNIT, "funds-in")

    def account(self, name: str) -> int:
        return 10 * (1 + (PAYER, PAYEE, *PROBE_FSPS).index(name))

    def move(self, account: int, transfer_id: str, change: int, reason: str) -> None:
        self.db.execute(
            "UPDATE participantPosition SET value = value + ? WHERE participantCurrencyId = ?",
            (change, account),
        )
        self.db.execute(
            "INSERT INTO participantPositionChange(participantCurrencyId, transferId, change, value, reason)"
            " SELECT participantCurrencyId, ?, ?, value, ? FROM participantPosition"
            " WHERE participantCurrencyId = ?",
            (transfer_id, change, reason, account),
        )

    def states(self, transfer_id: str, *states: str) -> None:
        self.db.executemany(
            "INSERT INTO transferStateChange(transferId, transferStateId) VALUES (?,?)",
            [(transfer_id, state) for state in states],
        )

    def prepare(self, transfer_id: str, *, payer: str = PAYER, payee: str = PAYEE) -> None:
        self.db.execute(
            "INSERT INTO transfer VALUES (?,?,?,?,'XXX','c','e','d')", (transfer_id, payer, payee, UNIT)
        )
        self.states(transfer_id, "RECEIVED_PREPARE", "RESERVED")
        self.move(self.account(payer), transfer_id, UNIT, "reserve")

    def commit(self, transfer_id: str, *, payer: str = PAYER, payee: str = PAYEE) -> None:
        self.prepare(transfer_id, payer=payer, payee=payee)
        self.states(transfer_id, "RECEIVED_FULFIL", "COMMITTED")
        self.move(self.account(payee), transfer_id, -UNIT, "commit-payee")

    def abort(self, transfer_id: str, *, payer: str = PAYER, payee: str = PAYEE) -> None:
        self.prepare(transfer_id, payer=payer, payee=payee)
        self.states(transfer_id, "RECEIVED_ERROR", "ABORTED_ERROR")
        self.move(self.account(payer), transfer_id, -UNIT, "abort")

    def tell(self, transfer_id: str, *, payer: str | None, payee: str | None, k6: str | None) -> None:
        """Add what payer's DFSP, payee's DFSP and k6 say; None: they say nothing."""
        for fsp, role, state, other in ((PAYER, "payer", payer, PAYEE), (PAYEE, "payee", payee, PAYER)):
            if state is not None:
                self.views[fsp].append(
                    {
                        "transferId": transfer_id,
                        "role": role,
                        "state": state,
                        "amount": "1",
                        "currency": "XXX",
                        "counterparty": other,
                    }
                )
        if k6 is not None:
            self.records.append((transfer_id, PAYER, PAYEE, k6))

    def good(self, transfer_id: str) -> None:
        self.commit(transfer_id)
        self.tell(transfer_id, payer="COMMITTED", payee="COMMITTED", k6="COMMITTED")

    def rejected(self, transfer_id: str) -> None:
        self.abort(transfer_id)
        self.tell(transfer_id, payer="ABORTED", payee="ABORTED", k6="transfer:2001")


@contextmanager
def views_served(views: dict[str, list[dict[str, str]]]) -> Iterator[str]:
    """Serve every DFSP's view over loopback HTTP, as `/<fsp>`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            rows = views.get(self.path.strip("/"))
            self.send_response(404 if rows is None else 200)
            self.end_headers()
            self.wfile.write("".join(json.dumps(row) + "\n" for row in rows or ()).encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def environment_of(ledger: Path | None, url: str = "", fsps: tuple[str, ...] = ()) -> Environment:
    hub = "http://127.0.0.1:1"
    return Environment(
        run_id="r",
        target="embedded",
        switch="reference",
        switch_version="0",
        hub=HubUrls(
            admin_url=hub, als_admin_url=hub, oracle_url=hub, als_url=hub, quotes_url=hub, transfers_url=hub
        ),
        dfsps=tuple(
            DfspEndpoints(fsp_id=fsp, outbound_url=hub, callback_url=hub, ledger_url=f"{url}/{fsp}")
            for fsp in fsps
        ),
        ledger=ledger,
    )


def load_run(transactions: Path, *, interrupted: int = 0, records_lost: int = 0) -> LoadRun:
    return LoadRun(
        ended="ok",
        started_ms=0,
        ended_ms=1,
        first_arrival_ms=0,
        offered_tps=1,
        planned_arrivals=1,
        iterations=1,
        dropped=0,
        interrupted=interrupted,
        records_lost=records_lost,
        vus_max=1,
        vus_peak=1,
        transactions=transactions,
        k6_version="",
        k6_path="",
        script_sha256="",
        seed=1,
    )


def write_records(path: Path, rows: list[tuple[str | None, str, str, str]]) -> Path:
    columns = dict.fromkeys(("transfer_id", "payer", "payee", "outcome"), pl.String)
    pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        pl.col("payer", "payee").cast(pl.Categorical)
    ).write_parquet(path)
    return path


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_reader, "_STANDSTILL_S", 0.15)
    monkeypatch.setattr(ledger_reader, "_QUIET_S", 0.0)
    monkeypatch.setattr("pytest_mojaloop_perf.measure.reconcile._LAST_WORD_S", 0.01)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "ledger.sqlite")
    world.commit("before-1", payer=PAYEE, payee=PAYER)
    yield world
    world.db.close()


def judge(world: World, opening: LedgerSnapshot, *, interrupted: int = 0) -> Reconciliation:
    records = write_records(world.path.with_name("transactions.parquet"), world.records)
    with views_served(world.views) as url:
        return reconcile(
            environment_of(world.path, url, (PAYER, PAYEE)),
            load_run(records, interrupted=interrupted),
            opening,
            drain_s=2.0,
            progress=Silent(),
        )


def ordinary(world: World) -> LedgerSnapshot:
    """Return the opening, after which an ordinary run has happened: probes, commits, rejections."""
    opening = snapshot(environment_of(world.path))
    for number in range(10):
        world.good(f"good-{number}")
    for number in range(3):
        world.rejected(f"rejected-{number}")
    world.commit("probe-1", payer=PROBE_FSPS[0], payee=PROBE_FSPS[1])
    world.abort("probe-2", payer=PROBE_FSPS[0], payee=PAYEE)
    world.records.append((None, PAYER, PAYEE, "discovery:timeout"))
    world.records.append(("never-sent", PAYER, PAYEE, "quote:timeout"))
    return opening


def test_an_ordinary_run_has_no_defect(world: World) -> None:
    result = judge(world, ordinary(world))
    assert result.defects == ()
    assert (result.transfers, result.committed, result.aborted, result.in_flight) == (13, 10, 3, 0)
    assert result.committed_but_payer_saw_error == 0
    assert result.sources == ("k6", "hub", PAYER, PAYEE)


def test_the_snapshot_holds_every_account_and_the_ends_of_the_journals(world: World) -> None:
    opening = snapshot(environment_of(world.path))
    positions = {(one.fsp_id, one.account_type): one.value_e4 for one in opening.accounts}
    assert positions[PAYER, "POSITION"] == -UNIT
    assert positions[PAYEE, "POSITION"] == UNIT
    assert positions[PAYER, "SETTLEMENT"] == -1000 * UNIT
    assert (opening.state_change_id, opening.position_change_id) == (4, 6)


def test_money_that_moved_while_the_payer_saw_an_error_is_counted_apart(world: World) -> None:
    opening = ordinary(world)
    world.commit("lost-callback")
    world.tell("lost-callback", payer="TIMEOUT", payee="COMMITTED", k6="transfer:timeout")
    result = judge(world, opening)
    assert result.defects == ()
    assert result.committed_but_payer_saw_error == 1


def booked_twice(world: World) -> None:
    world.good("bad")
    world.move(world.account(PAYER), "bad", UNIT, "reserve")
    world.move(world.account(PAYEE), "bad", -UNIT, "commit-payee")


def not_booked(world: World) -> None:
    world.prepare("bad")
    world.states("bad", "RECEIVED_FULFIL", "COMMITTED")
    world.tell("bad", payer="COMMITTED", payee="COMMITTED", k6="COMMITTED")


def booked_on_a_third_account(world: World) -> None:
    world.good("bad")
    world.move(world.account(PROBE_FSPS[0]), "bad", UNIT, "reserve")


def booked_with_another_amount(world: World) -> None:
    world.prepare("bad")
    world.states("bad", "RECEIVED_FULFIL", "COMMITTED")
    world.move(world.account(PAYEE), "bad", -2 * UNIT, "commit-payee")
    world.tell("bad", payer="COMMITTED", payee="COMMITTED", k6="COMMITTED")


def not_reversed(world: World) -> None:
    world.prepare("bad")
    world.states("bad", "RECEIVED_ERROR", "ABORTED_ERROR")
    world.tell("bad", payer="ABORTED", payee="ABORTED", k6="transfer:2001")


def reversed_on_the_payee(world: World) -> None:
    not_reversed(world)
    world.move(world.account(PAYEE), "bad", -UNIT, "abort")


def credited(world: World) -> None:
    world.rejected("bad")
    world.move(world.account(PAYEE), "bad", -UNIT, "commit-payee")


def position_edited(world: World) -> None:
    world.db.execute("UPDATE participantPosition SET value = value + 1 WHERE participantCurrencyId = 10")


def chain_broken(world: World) -> None:
    world.good("bad")
    world.db.execute(
        "UPDATE participantPositionChange SET value = value + 7"
        " WHERE transferId = 'bad' AND reason = 'reserve'"
    )


def stray_booking(world: World) -> None:
    world.move(world.account(PAYER), "nobody's", UNIT, "reserve")


def stray_funds(world: World) -> None:
    world.move(world.account(PAYER), "funds", -UNIT, "funds-in")


def reserve_left(world: World) -> None:
    world.db.execute("UPDATE participantPosition SET reservedValue = 5 WHERE participantCurrencyId = 10")


def unknown_to_the_hub(world: World) -> None:
    world.tell("bad", payer=None, payee=None, k6="COMMITTED")


def not_committed_at_the_hub(world: World) -> None:
    world.abort("bad")
    world.tell("bad", payer="ABORTED", payee="ABORTED", k6="COMMITTED")


def payee_disagrees(world: World) -> None:
    world.commit("bad")
    world.tell("bad", payer="COMMITTED", payee="RECEIVED", k6="COMMITTED")


def payee_knows_nothing(world: World) -> None:
    world.commit("bad")
    world.tell("bad", payer="COMMITTED", payee=None, k6="COMMITTED")


def payers_dfsp_disagrees(world: World) -> None:
    world.commit("bad")
    world.tell("bad", payer="ERROR", payee="COMMITTED", k6="COMMITTED")


def payee_released_an_aborted_one(world: World) -> None:
    world.abort("bad")
    world.tell("bad", payer="ABORTED", payee="COMMITTED", k6="transfer:3303")


def dfsp_alone_committed(world: World) -> None:
    world.tell("bad", payer=None, payee="COMMITTED", k6=None)


def amounts_differ(world: World) -> None:
    world.good("bad")
    world.views[PAYEE][-1]["amount"] = "1.5"


def currencies_differ(world: World) -> None:
    world.good("bad")
    world.views[PAYER][-1]["currency"] = "XTS"


def parties_differ(world: World) -> None:
    world.good("bad")
    world.records[-1] = ("bad", PAYER, PROBE_FSPS[1], "COMMITTED")


def told_twice(world: World) -> None:
    world.good("bad")
    world.records.append(world.records[-1])


def viewed_twice(world: World) -> None:
    world.good("bad")
    world.views[PAYEE].append(world.views[PAYEE][-1])


def not_recorded(world: World) -> None:
    world.commit("bad")
    world.tell("bad", payer="COMMITTED", payee="COMMITTED", k6=None)


def left_open(world: World) -> None:
    world.prepare("bad")
    world.tell("bad", payer="RESERVED", payee="RECEIVED", k6="transfer:timeout")


def in_no_known_state(world: World) -> None:
    world.good("bad")
    world.states("bad", "LIMBO")
    world.records[-1] = ("bad", PAYER, PAYEE, "transfer:timeout")


DOCTORED: list[tuple[Callable[[World], None], str, str]] = [
    (booked_twice, "booked-once", "committed transfer booked more than once"),
    (not_booked, "booked-once", "committed transfer not booked"),
    (booked_on_a_third_account, "booked-once", "committed transfer with other bookings"),
    (booked_with_another_amount, "booked-once", "committed transfer not booked"),
    (not_reversed, "aborted-net-zero", "aborted transfer not reversed"),
    (reversed_on_the_payee, "aborted-net-zero", "aborted transfer not reversed"),
    (credited, "aborted-net-zero", "aborted transfer credited"),
    (position_edited, "positions-add-up", "position is not its opening plus its journal"),
    (chain_broken, "positions-add-up", "running value of the journal breaks"),
    (stray_booking, "positions-add-up", "position changed without a transfer"),
    (stray_funds, "positions-add-up", "position changed without a transfer"),
    (reserve_left, "positions-add-up", "reserved value left over"),
    (unknown_to_the_hub, "parties-agree", "payer saw COMMITTED, hub knows no such transfer"),
    (not_committed_at_the_hub, "parties-agree", "payer saw COMMITTED, hub did not commit"),
    (payee_disagrees, "parties-agree", "hub committed, payee did not"),
    (payee_knows_nothing, "parties-agree", "hub committed, payee did not"),
    (payers_dfsp_disagrees, "parties-agree", "payer saw COMMITTED, payer's DFSP did not"),
    (payee_released_an_aborted_one, "parties-agree", "hub aborted, a DFSP committed"),
    (dfsp_alone_committed, "parties-agree", "a DFSP committed, hub knows no such transfer"),
    (amounts_differ, "parties-agree", "amounts differ"),
    (currencies_differ, "parties-agree", "amounts differ"),
    (parties_differ, "parties-agree", "payer or payee differ"),
    (told_twice, "parties-agree", "transferId used twice"),
    (viewed_twice, "parties-agree", "transferId used twice"),
    (not_recorded, "parties-agree", "hub has transfers that k6 did not record"),
    (left_open, "in-flight", "open after the drain"),
    (in_no_known_state, "in-flight", "open after the drain"),
]


@pytest.mark.parametrize(
    ("doctor", "check", "name"), DOCTORED, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_defect_is_found_by_its_own_check_only(
    world: World, doctor: Callable[[World], None], check: str, name: str
) -> None:
    opening = ordinary(world)
    doctor(world)
    result = judge(world, opening)
    assert [(defect.check, defect.name) for defect in result.defects] == [(check, name)]
    assert result.defects[0].count >= 1
    assert result.defects[0].sample


def test_every_check_has_a_doctored_ledger() -> None:
    assert {(one.check, one.name) for one in CHECKS} == {(check, name) for _, check, name in DOCTORED}


def test_transfers_without_a_record_are_allowed_as_far_as_k6_was_interrupted(world: World) -> None:
    opening = ordinary(world)
    not_recorded(world)
    assert judge(world, opening, interrupted=1).defects == ()


def test_defects_before_the_opening_are_not_of_this_run(world: World) -> None:
    not_reversed(world)
    world.records.clear()
    for view in world.views.values():
        view.clear()
    assert judge(world, ordinary(world)).defects == ()


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
