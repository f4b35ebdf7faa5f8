"""Brings three accounts of the same money side by side: k6's records, the hub's ledger, the DFSPs' views.

All goes into one temporary SQLite file, so that a run of a million transfers needs disk and not memory.
"""

from __future__ import annotations

import http.client
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import msgspec
import polars as pl

from pytest_mojaloop_perf.errors import InvalidRunError
from pytest_mojaloop_perf.fspiop.amounts import ten_thousandths
from pytest_mojaloop_perf.measure.ledger_reader import (
    ABORTED_STATES,
    COMMITTED_STATES,
    OPEN_STATES,
    ledger_uri,
)
from pytest_mojaloop_perf.model import PROBE_FSPS, DfspEndpoints, LedgerSnapshot

__all__ = ["count_behind", "forget_views", "load_hub", "load_k6", "load_view", "merge", "workbench"]

_ROWS_AT_ONCE = 100_000
_CACHE_KIB = 65_536
_VIEW_TIMEOUT_S = 60.0

_TABLES = """
CREATE TABLE opening(accountId INTEGER PRIMARY KEY, value INTEGER, reserved INTEGER);
CREATE TABLE state(name TEXT PRIMARY KEY, kind TEXT);
CREATE TABLE probe(fspId TEXT PRIMARY KEY);
CREATE TABLE viewed(fspId TEXT PRIMARY KEY);
CREATE TABLE hub(
  transferId TEXT PRIMARY KEY, payer TEXT, payee TEXT, amount INTEGER, currency TEXT, state TEXT, kind TEXT)
  WITHOUT ROWID;
CREATE TABLE k6(
  transferId TEXT PRIMARY KEY, payer TEXT, payee TEXT, outcome TEXT, copies INTEGER DEFAULT 1) WITHOUT ROWID;
CREATE TABLE view(
  transferId TEXT, role TEXT, fspId TEXT, state TEXT, amount INTEGER, currency TEXT, counterparty TEXT,
  copies INTEGER DEFAULT 1, PRIMARY KEY (transferId, role)) WITHOUT ROWID;
"""

# A second record of a transferId is counted; the first is the one that is compared.
_INSERT_K6 = """
INSERT INTO k6(transferId, payer, payee, outcome) VALUES (?,?,?,?)
ON CONFLICT(transferId) DO UPDATE SET copies = copies + 1
"""
_INSERT_VIEW = """
INSERT INTO view(transferId, role, fspId, state, amount, currency, counterparty) VALUES (?,?,?,?,?,?,?)
ON CONFLICT(transferId, role) DO UPDATE SET copies = copies + 1
"""

# The bare column next to max() is that of the row with the maximum (SQLite, "bare columns in an aggregate").
_HUB = """
INSERT INTO hub
SELECT t.transferId, t.payerFsp AS payer, t.payeeFsp AS payee, t.amount, t.currencyId AS currency,
  s.transferStateId AS state, coalesce(state.kind, 'unknown') AS kind
FROM (SELECT transferId, transferStateId, max(transferStateChangeId) FROM ledger.transferStateChange
      WHERE transferStateChangeId > :state_change_id GROUP BY transferId) s
JOIN ledger.transfer t USING (transferId) LEFT JOIN state ON state.name = s.transferStateId
"""

# Per transfer: reservations of its amount on the payer, bookings of it on the payee, and any other row.
_BOOKING = """
CREATE TABLE booking AS
SELECT h.transferId,
  sum(reason = 'reserve' AND p.name = h.payer AND pc.ledgerAccountType = 'POSITION'
      AND pc.currencyId = h.currency AND change = h.amount) AS reserves,
  sum(reason = 'commit-payee' AND p.name = h.payee AND pc.ledgerAccountType = 'POSITION'
      AND pc.currencyId = h.currency AND change = -h.amount) AS commits,
  count(*) AS bookings
FROM ledger.participantPositionChange c JOIN hub h USING (transferId)
JOIN ledger.participantCurrency pc USING (participantCurrencyId)
JOIN ledger.participant p USING (participantId)
GROUP BY h.transferId
"""

# Kept per account: a transfer that moves money from one account to another adds up to zero over both.
_UNBALANCED = """
CREATE TABLE unbalanced AS
SELECT transferId, max(residue) AS owed FROM (
  SELECT transferId, sum(change) AS residue
  FROM ledger.participantPositionChange JOIN hub USING (transferId) WHERE hub.kind = 'aborted'
  GROUP BY transferId, participantCurrencyId HAVING sum(change) <> 0)
GROUP BY transferId
"""

_ACCOUNT = """
CREATE TABLE account AS
SELECT pc.participantCurrencyId AS accountId,
  p.name || ' ' || pc.ledgerAccountType || ' ' || pc.currencyId AS label,
  pp.value, pp.reservedValue AS reserved, coalesce(j.total, 0) AS journal,
  coalesce(o.value, 0) AS openingValue, coalesce(o.reserved, 0) AS openingReserved
FROM ledger.participantPosition pp JOIN ledger.participantCurrency pc USING (participantCurrencyId)
JOIN ledger.participant p USING (participantId)
LEFT JOIN opening o ON o.accountId = pc.participantCurrencyId
LEFT JOIN (SELECT participantCurrencyId AS accountId, sum(change) AS total
           FROM ledger.participantPositionChange WHERE participantPositionChangeId > :position_change_id
           GROUP BY participantCurrencyId) j ON j.accountId = pc.participantCurrencyId
"""

_CHAIN = """
CREATE TABLE broken AS
SELECT transferId FROM (
  SELECT participantCurrencyId AS accountId, transferId, change, value,
    lag(value) OVER (PARTITION BY participantCurrencyId ORDER BY participantPositionChangeId) AS previous
  FROM ledger.participantPositionChange WHERE participantPositionChangeId > :position_change_id) c
LEFT JOIN opening o USING (accountId)
WHERE c.value <> coalesce(c.previous, o.value, 0) + c.change
"""

_STRAY = """
CREATE TABLE stray AS
SELECT c.transferId FROM ledger.participantPositionChange c
JOIN ledger.participantCurrency pc USING (participantCurrencyId)
WHERE participantPositionChangeId > :position_change_id
  AND NOT EXISTS (SELECT 1 FROM ledger.transfer t WHERE t.transferId = c.transferId)
  AND (reason NOT IN ('funds-in', 'funds-out') OR pc.ledgerAccountType = 'POSITION')
"""

_MERGED = """
CREATE TABLE merged AS
SELECT h.*, coalesce(b.reserves, 0) AS reserves, coalesce(b.commits, 0) AS commits,
  coalesce(b.bookings, 0) AS bookings, u.owed,
  k.outcome, k.payer AS k6Payer, k.payee AS k6Payee,
  r.state AS payerState, r.amount AS payerAmount, r.currency AS payerCurrency,
  r.fspId AS payerView, r.counterparty AS payerCounterparty,
  e.state AS payeeState, e.amount AS payeeAmount, e.currency AS payeeCurrency,
  e.fspId AS payeeView, e.counterparty AS payeeCounterparty,
  h.payer IN (SELECT fspId FROM viewed) AS payerViewed,
  h.payee IN (SELECT fspId FROM viewed) AS payeeViewed,
  h.payer IN (SELECT fspId FROM probe) AS isProbe
FROM hub h LEFT JOIN booking b USING (transferId) LEFT JOIN unbalanced u USING (transferId)
LEFT JOIN k6 k USING (transferId)
LEFT JOIN view r ON r.transferId = h.transferId AND r.role = 'payer'
LEFT JOIN view e ON e.transferId = h.transferId AND e.role = 'payee'
"""

_BEHIND = """
SELECT count(*) FROM view JOIN hub USING (transferId)
WHERE role = 'payee' AND hub.kind IN ('committed', 'aborted')
  AND view.state NOT IN ('COMMITTED', 'ABORTED', 'SETTLED')
"""

_LOST = """
CREATE TABLE lost AS
SELECT transferId, 'k6' AS source FROM k6 WHERE outcome = 'COMMITTED'
  AND NOT EXISTS (SELECT 1 FROM hub WHERE hub.transferId = k6.transferId)
UNION ALL
SELECT transferId, fspId FROM view WHERE state = 'COMMITTED'
  AND NOT EXISTS (SELECT 1 FROM ledger.transfer t WHERE t.transferId = view.transferId)
"""


class _View(msgspec.Struct, frozen=True, gc=False):
    """One line of a DFSP's own view; what else it says is not needed."""

    transferId: str  # noqa: N815  # the wire's name
    role: str
    state: str
    amount: str
    currency: str
    counterparty: str


@contextmanager
def workbench(ledger: Path) -> Iterator[sqlite3.Connection]:
    """Open a temporary database with the ledger attached as `ledger`, for reading only."""
    with (
        TemporaryDirectory(prefix="mojaloop-perf-reconcile-") as folder,
        closing(sqlite3.connect(f"file:{folder}/work.sqlite", uri=True, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA temp_store=FILE")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        connection.executescript(_TABLES)
        connection.execute("ATTACH ? AS ledger", (ledger_uri(ledger),))
        yield connection


def load_hub(connection: sqlite3.Connection, opening: LedgerSnapshot) -> None:
    """Read what the hub's ledger says since the opening, all of it as of one moment."""
    kinds = (("open", OPEN_STATES), ("committed", COMMITTED_STATES), ("aborted", ABORTED_STATES))
    connection.executemany(
        "INSERT INTO state VALUES (?,?)", [(s, kind) for kind, states in kinds for s in states]
    )
    connection.executemany("INSERT INTO probe VALUES (?)", [(name,) for name in PROBE_FSPS])
    connection.executemany(
        "INSERT INTO opening VALUES (?,?,?)",
        [(one.account_id, one.value_e4, one.reserved_e4) for one in opening.accounts],
    )
    bounds = {"state_change_id": opening.state_change_id, "position_change_id": opening.position_change_id}
    connection.execute("BEGIN")
    connection.execute(_HUB, bounds)
    connection.execute(_BOOKING)
    connection.execute(_UNBALANCED)
    for statement in (_ACCOUNT, _CHAIN, _STRAY):
        connection.execute(statement, bounds)
    connection.execute("COMMIT")


def load_k6(connection: sqlite3.Connection, transactions: Path) -> int:
    """Read the generator's records and return how many have a transferId.

    Raises:
        InvalidRunError: the file cannot be read.
    """
    count = 0
    try:
        rows = pl.scan_parquet(transactions).select(
            pl.col("transfer_id", "payer", "payee", "outcome").cast(pl.String)
        )
        connection.execute("BEGIN")
        for offset in range(0, rows.select(pl.len()).collect().item(), _ROWS_AT_ONCE):
            part = (
                rows.slice(offset, _ROWS_AT_ONCE).collect().filter(pl.col("transfer_id").fill_null("") != "")
            )
            connection.executemany(_INSERT_K6, part.iter_rows())
            count += part.height
        connection.execute("COMMIT")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidRunError(
            f"the generator's records cannot be read: {error}",
            remedy="see the generator's log for why it wrote no records, then run again",
            evidence=str(transactions),
        ) from error
    return count


def load_view(connection: sqlite3.Connection, dfsp: DfspEndpoints) -> int:
    """Read a DFSP's own view of its transfers, line by line, and return how many there are.

    Raises:
        InvalidRunError: the DFSP does not answer, or in another form.
    """
    assert dfsp.ledger_url is not None
    connection.execute("INSERT INTO viewed VALUES (?)", (dfsp.fsp_id,))
    before = connection.total_changes
    try:
        connection.execute("BEGIN")
        connection.executemany(_INSERT_VIEW, _view_rows(dfsp.fsp_id, dfsp.ledger_url))
        connection.execute("COMMIT")
    except (OSError, http.client.HTTPException, msgspec.MsgspecError, ArithmeticError, ValueError) as error:
        raise InvalidRunError(
            f"{dfsp.fsp_id} does not tell its transfers at {dfsp.ledger_url}: {error}",
            remedy=f"see the log of {dfsp.fsp_id} for why it ended or refuses, then run again",
        ) from error
    return connection.total_changes - before


def forget_views(connection: sqlite3.Connection) -> None:
    """Drop what was read of the DFSPs' views."""
    connection.execute("DELETE FROM view")
    connection.execute("DELETE FROM viewed")


def count_behind(connection: sqlite3.Connection) -> int:
    """Return how many transfers are final at the hub and not in their payee's view."""
    return int(connection.execute(_BEHIND).fetchone()[0])


def merge(connection: sqlite3.Connection) -> None:
    """Join the sources, one row per transfer of the hub, and find what the hub does not know."""
    connection.execute("CREATE UNIQUE INDEX booking_id ON booking(transferId)")
    connection.execute("CREATE UNIQUE INDEX unbalanced_id ON unbalanced(transferId)")
    connection.execute(_MERGED)
    connection.execute(_LOST)


def _view_rows(fsp_id: str, url: str) -> Iterator[tuple[str, str, str, str, int, str, str]]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_VIEW_TIMEOUT_S)
    decoder = msgspec.json.Decoder(_View)
    # Nearly all transfers of a run have the same few amounts.
    amount_of = lru_cache(maxsize=1024)(ten_thousandths)
    with closing(connection):
        connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(f"status {response.status}, expected 200")
        for line in response:
            if line.strip():
                row = decoder.decode(line)
                amount = amount_of(row.amount)
                yield row.transferId, row.role, fsp_id, row.state, amount, row.currency, row.counterparty
