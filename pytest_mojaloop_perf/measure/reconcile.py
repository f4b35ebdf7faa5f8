"""Reconciliation: was every transfer booked exactly as all its parties say, and does the money add up?"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pytest_mojaloop_perf.errors import InvalidRunError
from pytest_mojaloop_perf.measure.ledger_reader import await_drain, readable, snapshot
from pytest_mojaloop_perf.measure.reconcile_checks import find_defects
from pytest_mojaloop_perf.measure.reconcile_sources import load_hub, load_k6, load_view, merge, workbench
from pytest_mojaloop_perf.model import Environment, LedgerSnapshot, LoadRun, Reconciliation
from pytest_mojaloop_perf.progress import Progress

__all__ = ["reconcile", "snapshot"]

_COUNTS = """
SELECT count(*), coalesce(sum(kind = 'committed'), 0), coalesce(sum(kind = 'aborted'), 0),
  coalesce(sum(kind IN ('open', 'unknown')), 0),
  coalesce(sum(kind = 'committed' AND outcome <> 'COMMITTED'), 0)
FROM merged WHERE NOT isProbe
"""


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
    with readable(environment) as ledger:
        await_drain(ledger, opening, drain_s=drain_s, progress=progress)
    assert environment.ledger is not None
    sources = ["k6", "hub"]
    try:
        with workbench(environment.ledger) as connection:
            load_hub(connection, opening)
            load_k6(connection, load.transactions)
            for dfsp in environment.dfsps:
                if dfsp.ledger_url is not None:
                    load_view(connection, dfsp)
                    sources.append(dfsp.fsp_id)
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


def _unreadable(ledger: Path, error: sqlite3.Error) -> InvalidRunError:
    return InvalidRunError(
        f"the ledger {ledger} cannot be reconciled: {error}",
        remedy="see that the ledger is of this version and the temporary folder has space, then run again",
        evidence=str(ledger),
    )
