"""Where the money went: the ledger before the load, and the reconciliation after it."""

from __future__ import annotations

from typing import Literal

from pytest_mojaloop_perf.model.core import Value

__all__ = ["AccountBalance", "LedgerSnapshot", "Reconciliation", "ReconciliationDefect"]


class AccountBalance(Value, frozen=True, kw_only=True):
    """One account of the hub's ledger. Amounts are integer ten-thousandths of `currency`."""

    account_id: int
    fsp_id: str
    account_type: str
    currency: str
    value_e4: int
    reserved_e4: int


class LedgerSnapshot(Value, frozen=True, kw_only=True):
    """The hub's ledger before the load: what reconciliation counts from.

    The two ids are the highest of the journals at that moment; everything above them is of the load.
    """

    taken_ms: float
    state_change_id: int
    position_change_id: int
    accounts: tuple[AccountBalance, ...]


class ReconciliationDefect(Value, frozen=True, kw_only=True):
    """A class of disagreement about money, how often it was seen, and a sample of transferIds."""

    check: Literal["booked-once", "aborted-net-zero", "positions-add-up", "parties-agree", "in-flight"]
    name: str
    count: int
    sample: tuple[str, ...] = ()
    detail: str = ""


class Reconciliation(Value, frozen=True, kw_only=True):
    """k6's outcomes, the hub's ledger and the DFSPs' views compared per transferId.

    `committed_but_payer_saw_error`: money that moved while the payer was told otherwise; counted apart,
    not a defect of conservation.
    """

    transfers: int
    committed: int
    aborted: int
    in_flight: int
    committed_but_payer_saw_error: int
    defects: tuple[ReconciliationDefect, ...]
    sources: tuple[str, ...]
