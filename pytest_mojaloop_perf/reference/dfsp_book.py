"""What a DFSP remembers: the quotes it gave, for a while, and its own view of every transfer."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from pytest_mojaloop_perf.fspiop.ilp import IlpMaterial

__all__ = ["Quotes", "TransferView", "Transfers"]

Role = Literal["payer", "payee"]
State = Literal["SENT", "FULFILLED", "RECEIVED", "RESERVED", "COMMITTED", "ABORTED", "SETTLED"]

_FINAL = ("COMMITTED", "ABORTED")


class TransferView(msgspec.Struct, rename="camel", gc=False):
    """One transfer as this DFSP sees it.

    `state` is COMMITTED or ABORTED once the hub has said so. Before that it is SENT (payer) or FULFILLED
    (payee); a timeout of the synchronous call changes nothing, as the transfer may still be committed.
    """

    transfer_id: str
    role: Role
    state: State
    amount: str
    currency: str
    counterparty: str


class Quotes:
    """The payee's quotes by transactionId; each is dropped some time after it has expired."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._entries: dict[str, tuple[float, IlpMaterial]] = {}

    def __len__(self) -> int:
        """Return how many quotes are kept."""
        return len(self._entries)

    def put(self, transaction_id: str, material: IlpMaterial) -> None:
        """Keep the material of a quote, and drop what is too old."""
        now = time.monotonic()
        # Insertion order is order of age: a repeated quote is taken out first.
        self._entries.pop(transaction_id, None)
        self._entries[transaction_id] = (now + self._keep_s, material)
        while (oldest := next(iter(self._entries.items())))[1][0] < now:
            del self._entries[oldest[0]]

    def get(self, transaction_id: str) -> IlpMaterial | None:
        """Return the material of a quote, or None when there is none (any more)."""
        entry = self._entries.get(transaction_id)
        return entry[1] if entry is not None and entry[0] >= time.monotonic() else None


class Transfers:
    """Every transfer that this DFSP took part in, for reconciliation: some 200 bytes each."""

    def __init__(self) -> None:
        self._views: dict[str, TransferView] = {}

    def __len__(self) -> int:
        """Return how many transfers there were."""
        return len(self._views)

    def get(self, transfer_id: str) -> TransferView | None:
        """Return one transfer, or None."""
        return self._views.get(transfer_id)

    def begin(self, view: TransferView) -> None:
        """Note a transfer that is being made; a repetition does not undo what is known of it."""
        self._views.setdefault(view.transfer_id, view)

    def settle(self, transfer_id: str, state: State) -> None:
        """Note what the hub says of a transfer; COMMITTED and ABORTED are never taken back."""
        view = self._views.get(transfer_id)
        if view is not None and view.state not in _FINAL:
            view.state = state

    def page(self) -> bytes:
        """Return all views as NDJSON."""
        return msgspec.json.Encoder().encode_lines(self._views.values())
