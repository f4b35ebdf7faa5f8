"""The checks of reconciliation: each a named question to the merged sources whose answer must be empty.

Every kind of defect belongs to one check only. A transfer that is booked wrongly is reported by `booked-once`
or `aborted-net-zero`, an open one by `in-flight`; `positions-add-up` asks only what no transfer explains. If
all are clean, the committed transfers explain the change of every position.
"""

from __future__ import annotations

import sqlite3
from typing import Literal

from pytest_mojaloop_perf.model import ReconciliationDefect, Value

__all__ = ["CHECKS", "Check", "find_defects"]

_SAMPLE = 5


class Check(Value, frozen=True, kw_only=True):
    """A question: `rows` is the body of a SELECT that names what is wrong.

    With `allowed` the answer may have as many rows as the generator could not account for.
    """

    check: Literal["booked-once", "aborted-net-zero", "positions-add-up", "parties-agree", "in-flight"]
    name: str
    rows: str
    detail: str
    allowed: bool = False


CHECKS = (
    Check(
        check="booked-once",
        name="committed transfer booked more than once",
        rows="transferId FROM merged WHERE kind = 'committed' AND (reserves > 1 OR commits > 1)",
        detail="the journal has more than one reservation on the payer or more than one booking on the payee",
    ),
    Check(
        check="booked-once",
        name="committed transfer not booked",
        rows="transferId FROM merged WHERE kind = 'committed' AND reserves <= 1 AND commits <= 1"
        " AND (reserves = 0 OR commits = 0)",
        detail="the journal lacks the reservation of its amount on the payer or its booking on the payee",
    ),
    Check(
        check="booked-once",
        name="committed transfer with other bookings",
        rows="transferId FROM merged WHERE kind = 'committed'"
        " AND reserves = 1 AND commits = 1 AND bookings > 2",
        detail="the journal has rows besides one reservation on the payer and one booking on the payee",
    ),
    Check(
        check="aborted-net-zero",
        name="aborted transfer not reversed",
        rows="transferId FROM merged WHERE kind = 'aborted' AND owed > 0",
        detail="a position keeps the reservation of a transfer that was aborted",
    ),
    Check(
        check="aborted-net-zero",
        name="aborted transfer credited",
        rows="transferId FROM merged WHERE kind = 'aborted' AND owed < 0",
        detail="an aborted transfer lowered a position, as if money had been received",
    ),
    Check(
        check="positions-add-up",
        name="position is not its opening plus its journal",
        rows="label || ': opening ' || openingValue || ' + journal ' || journal || ', position ' || value"
        " FROM account WHERE value <> openingValue + journal",
        detail="amounts in ten-thousandths",
    ),
    Check(
        check="positions-add-up",
        name="running value of the journal breaks",
        rows="transferId FROM broken",
        detail="a row's value is not the one before it on that account plus its change",
    ),
    Check(
        check="positions-add-up",
        name="position changed without a transfer",
        rows="transferId FROM stray",
        detail="the journal names a transfer that the ledger does not have",
    ),
    Check(
        check="positions-add-up",
        name="reserved value left over",
        rows="label || ': opening ' || openingReserved || ', now ' || reserved"
        " FROM account WHERE reserved <> openingReserved",
        detail="amounts in ten-thousandths",
    ),
    Check(
        check="parties-agree",
        name="payer saw COMMITTED, hub knows no such transfer",
        rows="transferId FROM lost WHERE source = 'k6'",
        detail="k6 was told COMMITTED for a transferId that the ledger does not have",
    ),
    Check(
        check="parties-agree",
        name="payer saw COMMITTED, hub did not commit",
        rows="transferId || ' ' || state FROM merged WHERE outcome = 'COMMITTED' AND kind <> 'committed'",
        detail="k6 was told COMMITTED, the ledger's last state is another",
    ),
    Check(
        check="parties-agree",
        name="hub committed, payee did not",
        rows="transferId || ' ' || coalesce(payeeState, 'unknown to ' || payee) FROM merged"
        " WHERE kind = 'committed' AND payeeViewed AND payeeState IS NOT 'COMMITTED'",
        detail="the payee DFSP's own view is not COMMITTED",
    ),
    Check(
        check="parties-agree",
        name="payer saw COMMITTED, payer's DFSP did not",
        rows="transferId || ' ' || coalesce(payerState, 'unknown to ' || payer) FROM merged"
        " WHERE kind = 'committed' AND outcome = 'COMMITTED'"
        " AND payerViewed AND payerState IS NOT 'COMMITTED'",
        detail="k6 was told COMMITTED by a DFSP whose own view is another",
    ),
    Check(
        check="parties-agree",
        name="hub aborted, a DFSP committed",
        rows="transferId FROM merged WHERE kind = 'aborted'"
        " AND (payeeState = 'COMMITTED' OR payerState = 'COMMITTED')",
        detail="a DFSP's own view is COMMITTED for a transfer that the hub aborted",
    ),
    Check(
        check="parties-agree",
        name="a DFSP committed, hub knows no such transfer",
        rows="transferId || ' at ' || source FROM lost WHERE source <> 'k6'",
        detail="a DFSP's own view is COMMITTED for a transferId that the ledger does not have",
    ),
    Check(
        check="parties-agree",
        name="amounts differ",
        rows="transferId FROM merged"
        " WHERE (payeeState IS NOT NULL AND (payeeAmount <> amount OR payeeCurrency <> currency))"
        " OR (payerState IS NOT NULL AND (payerAmount <> amount OR payerCurrency <> currency))",
        detail="a DFSP's own view has another amount or currency than the hub",
    ),
    Check(
        check="parties-agree",
        name="payer or payee differ",
        rows="transferId FROM merged WHERE k6Payer <> payer OR k6Payee <> payee"
        " OR payerView <> payer OR payerCounterparty <> payee"
        " OR payeeView <> payee OR payeeCounterparty <> payer",
        detail="k6, the hub and the DFSPs do not name the same payer and payee",
    ),
    Check(
        check="parties-agree",
        name="transferId used twice",
        rows="transferId || ' at k6' FROM k6 WHERE copies > 1"
        " UNION ALL SELECT transferId || ' at ' || fspId FROM view WHERE copies > 1",
        detail="one source has two records of the same transferId",
    ),
    Check(
        check="parties-agree",
        name="hub has transfers that k6 did not record",
        rows="transferId FROM merged WHERE outcome IS NULL AND NOT isProbe",
        detail="more of them than iterations were interrupted or lost their record",
        allowed=True,
    ),
    Check(
        check="in-flight",
        name="open after the drain",
        rows="transferId || ' ' || state FROM merged WHERE kind IN ('open', 'unknown')",
        detail="neither committed nor aborted when the wait for transfers in flight was over",
    ),
)


def find_defects(connection: sqlite3.Connection, *, unrecorded: int) -> tuple[ReconciliationDefect, ...]:
    """Ask every check and return those whose answer is not empty.

    Args:
        connection: the workbench, merged.
        unrecorded: transactions that the generator started and has no record of.
    """
    defects = []
    for check in CHECKS:
        # The text is one of the constants above, never input.
        count = connection.execute(f"SELECT count(*) FROM (SELECT {check.rows})").fetchone()[0]  # noqa: S608
        if count <= (unrecorded if check.allowed else 0):
            continue
        sample = connection.execute(f"SELECT {check.rows} LIMIT {_SAMPLE}").fetchall()
        defects.append(
            ReconciliationDefect(
                check=check.check,
                name=check.name,
                count=count,
                sample=tuple(str(row[0]) for row in sample),
                detail=check.detail,
            )
        )
    return tuple(defects)
