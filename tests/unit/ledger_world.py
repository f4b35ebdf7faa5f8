"""A small ledger with DFSP views and k6 records that agree, for tests to doctor."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from pytest_mojaloop_perf.measure import ledger_reader
from pytest_mojaloop_perf.measure.reconcile import reconcile, snapshot
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


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits of reconciliation."""
    monkeypatch.setattr(ledger_reader, "_STANDSTILL_S", 0.15)
    monkeypatch.setattr(ledger_reader, "_QUIET_S", 0.0)
    monkeypatch.setattr("pytest_mojaloop_perf.measure.reconcile._LAST_WORD_S", 0.01)


@contextmanager
def made_world(folder: Path) -> Iterator[World]:
    """Make a world in which something has happened before the run."""
    world = World(folder / "ledger.sqlite")
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
