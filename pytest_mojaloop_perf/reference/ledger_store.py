"""The ledger's file: SQLite in WAL mode, written by one thread that commits many messages at once.

Every submission becomes durable as a whole or not at all, in the order of submission. `synchronous=FULL`
makes SQLite force the log to disk at every commit, so that nothing that was acknowledged is lost when the
process or the machine dies; committing whatever is waiting keeps the number of disk writes small.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_mojaloop_perf.errors import InfrastructureError

__all__ = ["Row", "Sql", "Store"]

Row = tuple[str, tuple[Any, ...]]
"""A statement of `Sql` and its parameters."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS participant(
  participantId INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, isActive INTEGER NOT NULL,
  isProxy INTEGER NOT NULL DEFAULT 0, createdDate TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS participantCurrency(
  participantCurrencyId INTEGER PRIMARY KEY, participantId INTEGER NOT NULL, currencyId TEXT NOT NULL,
  ledgerAccountType TEXT NOT NULL, isActive INTEGER NOT NULL,
  UNIQUE(participantId, currencyId, ledgerAccountType));
CREATE TABLE IF NOT EXISTS participantPosition(
  participantCurrencyId INTEGER PRIMARY KEY, value INTEGER NOT NULL, reservedValue INTEGER NOT NULL,
  changedDate TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS participantPositionChange(
  participantPositionChangeId INTEGER PRIMARY KEY AUTOINCREMENT, participantCurrencyId INTEGER NOT NULL,
  transferId TEXT NOT NULL, change INTEGER NOT NULL, value INTEGER NOT NULL, reason TEXT NOT NULL,
  createdDate TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS participantLimit(
  participantCurrencyId INTEGER PRIMARY KEY, participantLimitType TEXT NOT NULL, value INTEGER NOT NULL,
  thresholdAlarmPercentage REAL NOT NULL);
CREATE TABLE IF NOT EXISTS participantEndpoint(
  participantId INTEGER NOT NULL, type TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(participantId, type));
CREATE TABLE IF NOT EXISTS settlementModel(name TEXT PRIMARY KEY, definition TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS oracleEndpoint(
  oracleIdType TEXT NOT NULL, currency TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY(oracleIdType, currency));
CREATE TABLE IF NOT EXISTS oracleParty(
  partyIdType TEXT NOT NULL, partyIdentifier TEXT NOT NULL, partySubIdOrType TEXT NOT NULL,
  fspId TEXT NOT NULL, currency TEXT NOT NULL,
  PRIMARY KEY(partyIdType, partyIdentifier, partySubIdOrType)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fundsTransfer(
  transferId TEXT PRIMARY KEY, participantCurrencyId INTEGER NOT NULL, amount INTEGER NOT NULL,
  action TEXT NOT NULL, payloadHash BLOB NOT NULL, createdDate TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS transfer(
  transferId TEXT PRIMARY KEY, payerFsp TEXT NOT NULL, payeeFsp TEXT NOT NULL, amount INTEGER NOT NULL,
  currencyId TEXT NOT NULL, ilpCondition TEXT NOT NULL, expirationDate TEXT NOT NULL,
  createdDate TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS transferStateChange(
  transferStateChangeId INTEGER PRIMARY KEY AUTOINCREMENT, transferId TEXT NOT NULL,
  transferStateId TEXT NOT NULL, reason TEXT, createdDate TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS transferFulfilment(
  transferId TEXT PRIMARY KEY, ilpFulfilment TEXT NOT NULL, completedDate TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS transferDuplicateCheck(
  transferId TEXT NOT NULL, kind TEXT NOT NULL, hash BLOB NOT NULL,
  PRIMARY KEY(transferId, kind)) WITHOUT ROWID;
"""


class Sql:
    """The statements that may be submitted."""

    PARTICIPANT = (
        "INSERT INTO participant(participantId, name, isActive, isProxy, createdDate) VALUES (?,?,?,?,?)"
        " ON CONFLICT(participantId) DO UPDATE SET isActive = excluded.isActive"
    )
    ACCOUNT = (
        "INSERT INTO participantCurrency(participantCurrencyId, participantId, currencyId, ledgerAccountType,"
        " isActive) VALUES (?,?,?,?,?)"
        " ON CONFLICT(participantCurrencyId) DO UPDATE SET isActive = excluded.isActive"
    )
    POSITION = "INSERT OR REPLACE INTO participantPosition VALUES (?,?,?,?)"
    POSITION_CHANGE = (
        "INSERT INTO participantPositionChange(participantCurrencyId, transferId, change, value, reason,"
        " createdDate) VALUES (?,?,?,?,?,?)"
    )
    LIMIT = "INSERT OR REPLACE INTO participantLimit VALUES (?,?,?,?)"
    ENDPOINT = "INSERT OR REPLACE INTO participantEndpoint VALUES (?,?,?)"
    SETTLEMENT_MODEL = "INSERT INTO settlementModel VALUES (?,?)"
    ORACLE = "INSERT INTO oracleEndpoint VALUES (?,?,?)"
    PARTY = "INSERT OR REPLACE INTO oracleParty VALUES (?,?,?,?,?)"
    FUNDS = "INSERT OR REPLACE INTO fundsTransfer VALUES (?,?,?,?,?,?)"
    TRANSFER = "INSERT INTO transfer VALUES (?,?,?,?,?,?,?,?)"
    STATE = (
        "INSERT INTO transferStateChange(transferId, transferStateId, reason, createdDate) VALUES (?,?,?,?)"
    )
    FULFILMENT = "INSERT INTO transferFulfilment VALUES (?,?,?)"
    HASH = "INSERT OR IGNORE INTO transferDuplicateCheck VALUES (?,?,?)"


_Item = tuple[list[Row], "asyncio.Future[None]"]


class Store:
    """One ledger file and the thread that writes it.

    Args:
        path: made when it does not exist; what it holds can be read before `start`.
    """

    def __init__(self, path: Path) -> None:
        self.commits = 0
        self.submissions = 0
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broken: Exception | None = None
        self.failure: asyncio.Future[None] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise InfrastructureError(
                f"the ledger {path} cannot be opened: {error}",
                remedy="name a writable folder and an intact file",
            ) from error

    def read(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Return the rows of a query; only before `start`."""
        assert self._thread is None, "the connection belongs to the writer once it has started"
        return iter(self._connection.execute(query).fetchall())

    def start(self) -> None:
        """Start the writer; its answers come to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self.failure = self._loop.create_future()
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    def submit(self, rows: list[Row]) -> asyncio.Future[None]:
        """Queue rows; the future is done when all of them are on disk."""
        assert self._loop is not None, "start() comes first"
        durable = self._loop.create_future()
        self._queue.put((rows, durable))
        return durable

    def stop(self) -> None:
        """Write what is waiting, fold the log into the file and close it."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._connection.close()

    def _write(self) -> None:
        while (item := self._queue.get()) is not None:
            batch = [item]
            last = False
            with suppress(queue.Empty):
                while True:
                    following = self._queue.get_nowait()
                    if following is None:
                        last = True
                        break
                    batch.append(following)
            self._commit(batch)
            if last:
                return

    def _commit(self, batch: list[_Item]) -> None:
        if self._broken is None:
            try:
                self._execute(batch)
                self.commits += 1
                self.submissions += len(batch)
            except (sqlite3.Error, OverflowError) as error:
                # What is in memory is now ahead of the file: nothing may be acknowledged any more.
                self._broken = error
        assert self._loop is not None
        # The loop is closed when it ended without stop(): nobody waits for an answer any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._answer, [durable for _, durable in batch])

    def _execute(self, batch: list[_Item]) -> None:
        by_statement: dict[str, list[tuple[Any, ...]]] = {}
        positions: dict[int, tuple[Any, ...]] = {}
        for rows, _ in batch:
            for statement, parameters in rows:
                if statement is Sql.POSITION:
                    positions[parameters[0]] = parameters
                else:
                    by_statement.setdefault(statement, []).append(parameters)
        if positions:
            by_statement[Sql.POSITION] = list(positions.values())
        if not by_statement:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, parameters_list in by_statement.items():
                self._connection.executemany(statement, parameters_list)
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _answer(self, waiting: list[asyncio.Future[None]]) -> None:
        broken = self._broken
        for durable in waiting:
            if durable.done():
                continue
            if broken is None:
                durable.set_result(None)
            else:
                durable.set_exception(
                    InfrastructureError(f"the ledger cannot be written: {broken}", remedy="free disk space")
                )
        if broken is not None and self.failure is not None and not self.failure.done():
            self.failure.set_result(None)
