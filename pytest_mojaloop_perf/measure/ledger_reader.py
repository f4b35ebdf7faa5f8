"""Reads a hub's SQLite ledger from another process, without writing to it, also after the hub was killed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from pytest_mojaloop_perf.errors import InvalidRunError, WaitTimeoutError
from pytest_mojaloop_perf.model import AccountBalance, Environment, LedgerSnapshot
from pytest_mojaloop_perf.progress import Progress
from pytest_mojaloop_perf.wait import Pending, wait_for

__all__ = [
    "ABORTED_STATES",
    "COMMITTED_STATES",
    "OPEN_STATES",
    "await_drain",
    "ledger_uri",
    "readable",
    "snapshot",
]

OPEN_STATES = (
    "RECEIVED_PREPARE",
    "RESERVED",
    "RESERVED_FORWARDED",
    "RECEIVED_FULFIL",
    "RECEIVED_FULFIL_DEPENDENT",
    "RECEIVED_REJECT",
    "RECEIVED_ERROR",
    "RESERVED_TIMEOUT",
)
COMMITTED_STATES = ("COMMITTED", "SETTLED")
ABORTED_STATES = (
    "ABORTED_REJECTED",
    "ABORTED_ERROR",
    "FAILED",
    "INVALID",
    "EXPIRED_PREPARED",
    "EXPIRED_RESERVED",
)
"""Mojaloop's internal transfer states by what they mean for money (central-ledger, table transferState)."""

_STANDSTILL_S = 5.0
# Nothing open means little while messages may still be on their way into the ledger.
_QUIET_S = 0.5
_BUSY_TIMEOUT_MS = 5000

_ACCOUNTS = """
SELECT pc.participantCurrencyId, p.name, pc.ledgerAccountType, pc.currencyId, pp.value, pp.reservedValue
FROM participantCurrency pc JOIN participant p USING (participantId)
JOIN participantPosition pp USING (participantCurrencyId) ORDER BY 1
"""


def ledger_uri(path: Path) -> str:
    """Return the SQLite URI that opens a ledger for reading only."""
    return f"file:{quote(str(path.resolve()))}?mode=ro"


@contextmanager
def readable(environment: Environment) -> Iterator[sqlite3.Connection]:
    """Open the ledger of an environment; whatever goes wrong while it is read makes the run INVALID.

    Raises:
        InvalidRunError: there is no ledger to read, or it cannot be read.
    """
    path = environment.ledger
    if path is None:
        raise InvalidRunError(
            f"the target {environment.target} tells no ledger, expected one to reconcile money with",
            remedy="name the hub's ledger in the environment file, or leave the reconciliation out",
        )
    try:
        with closing(sqlite3.connect(ledger_uri(path), uri=True, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
            yield connection
    except sqlite3.Error as error:
        raise InvalidRunError(
            f"the ledger {path} cannot be read: {error}",
            remedy="see the hub's log for what became of its ledger and run again",
            evidence=str(path),
        ) from error


def snapshot(environment: Environment) -> LedgerSnapshot:
    """Return every account and the ends of the journals; take it before the load, with nothing in flight.

    Raises:
        InvalidRunError: the ledger cannot be read.
    """
    with readable(environment) as connection:
        # One read transaction: balances and journal ends of the same moment.
        connection.execute("BEGIN")
        state_id = _highest(connection, "transferStateChange")
        position_id = _highest(connection, "participantPositionChange")
        rows = connection.execute(_ACCOUNTS).fetchall()
    accounts = tuple(
        AccountBalance(
            account_id=account_id,
            fsp_id=name,
            account_type=kind,
            currency=currency,
            value_e4=value,
            reserved_e4=reserved,
        )
        for account_id, name, kind, currency, value, reserved in rows
    )
    return LedgerSnapshot(
        taken_ms=time.time() * 1000,
        state_change_id=state_id,
        position_change_id=position_id,
        accounts=accounts,
    )


def await_drain(
    connection: sqlite3.Connection, opening: LedgerSnapshot, *, drain_s: float, progress: Progress
) -> None:
    """Wait until no transfer is open or the ledger stands still, at most `drain_s`; it raises nothing.

    What is open then is for the checks to say. Only the ids of open transfers are held in memory.
    """
    seen = opening.state_change_id
    still_since = time.monotonic()
    open_ids: set[str] = set()

    def look() -> Pending | None:
        nonlocal seen, still_since
        before = seen
        rows = connection.execute(
            "SELECT transferStateChangeId, transferId, transferStateId FROM transferStateChange"
            " WHERE transferStateChangeId > ? ORDER BY transferStateChangeId",
            (seen,),
        )
        for change_id, transfer_id, state in rows:
            seen = change_id
            (open_ids.add if state in OPEN_STATES else open_ids.discard)(transfer_id)
        if seen != before:
            still_since = time.monotonic()
        still_s = time.monotonic() - still_since
        if still_s > (_STANDSTILL_S if open_ids else _QUIET_S):
            return None
        return Pending(f"{len(open_ids)} transfers open")

    try:
        wait_for(
            "the end of the transfers in flight",
            look,
            timeout_s=drain_s,
            remedy="see the hub's log for what its last transfers wait for",
        )
    except WaitTimeoutError as error:
        progress.say(error.problem)


def _highest(connection: sqlite3.Connection, table: str) -> int:
    query = f"SELECT coalesce(max({table}Id), 0) FROM {table}"  # noqa: S608  # two names, both from this module
    return int(connection.execute(query).fetchone()[0])
