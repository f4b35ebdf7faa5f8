"""Reconciliation: was every transfer booked exactly as all its parties say, and does the money add up?"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from pytest_mojaloop_perf.errors import InvalidRunError, WaitTimeoutError
from pytest_mojaloop_perf.measure.ledger_reader import await_drain, readable, snapshot
from pytest_mojaloop_perf.measure.reconcile_checks import find_defects
from pytest_mojaloop_perf.measure.reconcile_sources import (
    count_behind,
    forget_views,
    load_hub,
    load_k6,
    load_view,
    merge,
    workbench,
)
from pytest_mojaloop_perf.model import Environment, LedgerSnapshot, LoadRun, Reconciliation
from pytest_mojaloop_perf.progress import Progress
from pytest_mojaloop_perf.wait import Pending, wait_for

__all__ = ["drain", "reconcile", "snapshot"]

_LAST_WORD_S = 5.0
_COUNTS = """
SELECT count(*), coalesce(sum(kind = 'committed'), 0), coalesce(sum(kind = 'aborted'), 0),
  coalesce(sum(kind IN ('open', 'unknown')), 0),
  coalesce(sum(kind = 'committed' AND outcome <> 'COMMITTED'), 0)
FROM merged WHERE NOT isProbe
"""


def drain(environment: Environment, opening: LedgerSnapshot, *, drain_s: float, progress: Progress) -> None:
    """Wait until no transfer is open or the ledger stands still, at most `drain_s` seconds.

    Raises:
        InvalidRunError: the ledger cannot be read.
    """
    with readable(environment) as ledger:
        await_drain(ledger, opening, drain_s=drain_s, progress=progress)


def reconcile(
    environment: Environment, load: LoadRun, opening: LedgerSnapshot, *, drain_s: float, progress: Progress
) -> Reconciliation:
    """Wait for the transfers in flight, then compare k6, the hub and the DFSPs per transferId.

    The transfers of the security probes are checked like all others, but not counted.

    Args:
        environment: names the ledger and where the DFSPs tell their own view.
        load: names k6's records, and how many transactions have none.
        opening: the ledger before the load.
        drain_s: the longest wait for transfers in flight, seconds.
        progress: is told what is being compared.

    Raises:
        InvalidRunError: the ledger, the records or a DFSP's view cannot be read: nothing can be concluded.
    """
    drain(environment, opening, drain_s=drain_s, progress=progress)
    assert environment.ledger is not None
    sources = ["k6", "hub"]
    try:
        with workbench(environment.ledger) as connection:
            load_hub(connection, opening)
            load_k6(connection, load.transactions)
            sources += _settled_views(connection, environment)
            merge(connection)
            defects = find_defects(connection, unrecorded=load.interrupted + load.records_lost)
            counts = connection.execute(_COUNTS).fetchone()
    except sqlite3.Error as error:
        raise _unreadable(environment.ledger, error) from error
    progress.say(f"reconciled {counts[0]} transfers of {', '.join(sources)}: {len(defects)} defects")
    return Reconciliation(
        transfers=counts[0],
        committed=counts[1],
        aborted=counts[2],
        in_flight=counts[3],
        committed_but_payer_saw_error=counts[4],
        defects=defects,
        sources=tuple(sources),
    )


def _settled_views(connection: sqlite3.Connection, environment: Environment) -> list[str]:
    """Read the DFSPs' views, again while a payee has not had the hub's last word; return whose they are.

    A hub tells the payee last, so that the ledger may be ahead of the payee by a message.
    """
    telling = [dfsp for dfsp in environment.dfsps if dfsp.ledger_url is not None]

    def read() -> int | Pending:
        forget_views(connection)
        for dfsp in telling:
            load_view(connection, dfsp)
        behind = count_behind(connection)
        return Pending(f"{behind} transfers not final at their payee") if behind else 0

    # A payee that stays behind is a defect, which the checks report with its transferIds.
    with suppress(WaitTimeoutError):
        wait_for(
            "the hub's last word to reach the payees",
            read,
            timeout_s=_LAST_WORD_S,
            interval_s=0.5,
            remedy="see the hub's log for callbacks that failed",
        )
    return [dfsp.fsp_id for dfsp in telling]


def _unreadable(ledger: Path, error: sqlite3.Error) -> InvalidRunError:
    return InvalidRunError(
        f"the ledger {ledger} cannot be reconciled: {error}",
        remedy="see that the ledger is of this version and the temporary folder has space, then run again",
        evidence=str(ledger),
    )
