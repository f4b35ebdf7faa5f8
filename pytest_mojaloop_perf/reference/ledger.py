"""Transfers: the state machine that moves money, one transfer at a time against the running positions.

Everything is decided in memory, at once, on the event loop's thread; the rows of a decision are submitted to
the store in the same step, and the outcome carries a future that is done when they are on disk. Callers tell
nobody of an outcome before that.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_mojaloop_perf.faults import FaultSwitches
from pytest_mojaloop_perf.fspiop.ilp import fulfils
from pytest_mojaloop_perf.reference.ledger_book import POSITION, SETTLEMENT, Account, Book
from pytest_mojaloop_perf.reference.ledger_money import format_instant, now_ms, parse_instant_ms
from pytest_mojaloop_perf.reference.ledger_store import Row, Sql, Store

__all__ = ["ENUMERATION", "Ledger", "Outcome", "Prepare", "Transfer"]

ENUMERATION = {
    "RECEIVED_PREPARE": "RECEIVED",
    "RESERVED": "RESERVED",
    "RECEIVED_FULFIL": "RESERVED",
    "RECEIVED_ERROR": "RESERVED",
    "RECEIVED_REJECT": "RESERVED",
    "RESERVED_TIMEOUT": "RESERVED",
    "COMMITTED": "COMMITTED",
    "ABORTED_REJECTED": "ABORTED",
    "ABORTED_ERROR": "ABORTED",
    "EXPIRED_RESERVED": "ABORTED",
    "INVALID": "ABORTED",
}
"""What a DFSP is told of each internal state."""

_EXPIRED = "EXPIRED_RESERVED"


@dataclass(slots=True, kw_only=True)
class Prepare:
    """A transfer as its payer asks for it; `amount` in ten-thousandths, None when it cannot be booked."""

    transfer_id: str
    source: str
    payer: str
    payee: str
    amount: int | None
    currency: str
    condition: str
    expiration: str
    expires_ms: int
    digest: bytes


@dataclass(slots=True, kw_only=True)
class Transfer:
    """A transfer in whatever state; `state` is the internal one."""

    transfer_id: str
    payer: str
    payee: str
    amount: int
    currency: str
    condition: str
    expires_ms: int
    state: str
    digest: bytes
    fulfilment: str | None = None
    completed: str | None = None
    fulfil_digest: bytes | None = None
    error_digest: bytes | None = None

    @property
    def told_state(self) -> str:
        """The state as DFSPs are told it."""
        return ENUMERATION[self.state]

    def ended(self) -> str:
        """When it became final, or now while it is not."""
        return self.completed or format_instant(now_ms())


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a message, and the future that is done when that is on disk.

    `did`: reserved, committed, aborted: the transfer is now in that state, by this message. repeated: the
    same message came before and the transfer is final (or, for a prepare, at least reserved): its state is
    told again. ignored: nobody is told anything. refused: `code` and `description` go to the sender and no
    money moved.
    mismatch: the fulfilment is wrong, the transfer is aborted and reversed. late: the fulfil came too late.
    """

    did: Literal["reserved", "committed", "aborted", "repeated", "ignored", "refused", "mismatch", "late"]
    durable: asyncio.Future[None]
    transfer: Transfer | None = None
    code: str = ""
    description: str = ""


class Ledger:
    """All transfers, and the book that they move money in."""

    def __init__(self, path: Path, faults: FaultSwitches | None = None) -> None:
        self.store = Store(path)
        self.book = Book(self.store)
        self.transfers: dict[str, Transfer] = {}
        self._faults = faults or FaultSwitches()
        self._commits = 0
        self._expiries: list[tuple[int, str]] = []
        self._load()

    def start(self) -> None:
        """Start writing; call it on the running event loop."""
        self.store.start()
        self.book.start()

    def stop(self) -> None:
        """Write what is waiting and close the file."""
        self.store.stop()

    def flushed(self) -> asyncio.Future[None]:
        """Return a future that is done when everything decided so far is on disk."""
        return self.store.submit([])

    # --- prepare ---

    def prepare(self, wanted: Prepare) -> Outcome:
        """Reserve a transfer on the payer's position, or say why not."""
        if wanted.source != wanted.payer:
            return self._refused("3100", "FSPIOP-Source header should match Payer")
        known = self.transfers.get(wanted.transfer_id)
        if known is not None:
            if known.digest != wanted.digest:
                return self._refused("3106", "Transfer ID was used with other content")
            return Outcome(did="repeated", durable=self.flushed(), transfer=known)
        amount = wanted.amount
        if amount is None:
            return self._refused("3100", "Amount exceeds what the ledger can book")
        problem = self._invalid(wanted)
        if problem:
            return self._enter(wanted, amount, "INVALID", "3100", problem)
        code, description = self._uncovered(wanted, amount)
        return self._enter(wanted, amount, "ABORTED_REJECTED" if code else "RESERVED", code, description)

    def _uncovered(self, wanted: Prepare, amount: int) -> tuple[str, str]:
        """Return the code and description of the limit that a transfer would break, or empty texts."""
        account = self._position(wanted.payer, wanted.currency)
        effective = account.value + account.reserved
        if self.book.wants_cover(wanted.currency):
            settlement = self.book.account(wanted.payer, wanted.currency, SETTLEMENT)
            assert settlement is not None, "both accounts are made together"
            if -settlement.value - effective < amount:
                return "4001", "Payer FSP insufficient liquidity"
        if account.limit is None or account.limit - effective < amount:
            return "4200", "Payer limit error"
        return "", ""

    def _invalid(self, wanted: Prepare) -> str | None:
        """Return what is wrong with the parties or the expiry of a transfer, or None."""
        if wanted.payer == wanted.payee:
            return "Payer FSP and Payee FSP should be different"
        for name in (wanted.payer, wanted.payee):
            participant = self.book.participants.get(name)
            if participant is None or not participant.active:
                return f"Participant {name} not found or inactive"
            account = participant.accounts.get((wanted.currency, POSITION))
            if account is None or not account.active:
                return f"Participant {name} {wanted.currency} account not found or inactive"
        past = wanted.expires_ms <= now_ms()
        return f"Expiration date {wanted.expiration} is already in the past" if past else None

    def _enter(self, wanted: Prepare, amount: int, state: str, code: str, description: str) -> Outcome:
        transfer = Transfer(
            transfer_id=wanted.transfer_id,
            payer=wanted.payer,
            payee=wanted.payee,
            amount=amount,
            currency=wanted.currency,
            condition=wanted.condition,
            expires_ms=wanted.expires_ms,
            state=state,
            digest=wanted.digest,
        )
        key = wanted.transfer_id
        at = format_instant(now_ms())
        if state != "RESERVED":
            transfer.completed = at
        self.transfers[key] = transfer
        rows: list[Row] = [
            (
                Sql.TRANSFER,
                (
                    key,
                    wanted.payer,
                    wanted.payee,
                    amount,
                    wanted.currency,
                    wanted.condition,
                    wanted.expiration,
                    at,
                ),
            ),
            (Sql.HASH, (key, "prepare", wanted.digest)),
            (Sql.STATE, (key, "RECEIVED_PREPARE", None, at)),
            (Sql.STATE, (key, state, description or None, at)),
        ]
        if state == "RESERVED":
            account = self._position(wanted.payer, wanted.currency)
            self.book.move(account, amount, key, "reserve", rows)
            heapq.heappush(self._expiries, (wanted.expires_ms, key))
        return Outcome(
            did="refused" if code else "reserved",
            durable=self.store.submit(rows),
            transfer=transfer,
            code=code,
            description=description,
        )

    # --- fulfil ---

    def fulfil(
        self, transfer_id: str, source: str, state: str, fulfilment: str | None, digest: bytes
    ) -> Outcome:
        """Commit a reserved transfer, or say why not. `state`: what the payee says, COMMITTED or RESERVED."""
        transfer = self.transfers.get(transfer_id)
        problem = self._not_the_payee(transfer, source)
        if problem is not None:
            return problem
        assert transfer is not None
        if transfer.fulfil_digest is not None:
            return self._again(transfer, same=transfer.fulfil_digest == digest)
        transfer.fulfil_digest = digest
        rows: list[Row] = [(Sql.HASH, (transfer_id, "fulfil", digest))]
        if transfer.state == _EXPIRED or (transfer.state == "RESERVED" and transfer.expires_ms <= now_ms()):
            outcome = self._refused("3303", "Transfer expired", transfer, rows)
            outcome.did = "late"
            return outcome
        if transfer.state != "RESERVED":
            return self._refused("3100", "Transfer is not in the state RESERVED", transfer, rows)
        return self._decide(transfer, state, fulfilment, rows)

    def _decide(self, transfer: Transfer, state: str, fulfilment: str | None, rows: list[Row]) -> Outcome:
        """Commit or abort a transfer that is reserved and in time."""
        if state == "ABORTED":
            return self._abort(transfer, ("RECEIVED_REJECT", "ABORTED_REJECTED"), "rejected by payee", rows)
        if state not in {"COMMITTED", "RESERVED"} or fulfilment is None:
            return self._refused(
                "3100", "Transfer state or fulfilment is not that of a fulfil", transfer, rows
            )
        if not fulfils(fulfilment, transfer.condition):
            outcome = self._abort(transfer, ("RECEIVED_FULFIL", "ABORTED_ERROR"), "invalid fulfilment", rows)
            outcome.did, outcome.code, outcome.description = "mismatch", "3100", "Invalid fulfilment"
            return outcome
        return self._commit(transfer, fulfilment, rows)

    def _not_the_payee(self, transfer: Transfer | None, source: str) -> Outcome | None:
        if transfer is None:
            return self._refused("2001", "Transfer ID not found")
        if transfer.payee != source:
            return self._refused("3100", "FSPIOP-Source header does not match transfer payee", transfer)
        return None

    def _commit(self, transfer: Transfer, fulfilment: str, rows: list[Row]) -> Outcome:
        transfer.fulfilment = fulfilment
        transfer.completed = at = format_instant(now_ms())
        transfer.state = "COMMITTED"
        key = transfer.transfer_id
        rows.append((Sql.STATE, (key, "RECEIVED_FULFIL", None, at)))
        rows.append((Sql.STATE, (key, "COMMITTED", None, at)))
        rows.append((Sql.FULFILMENT, (key, fulfilment, at)))
        payee = self._position(transfer.payee, transfer.currency)
        self.book.move(payee, -transfer.amount, key, "commit-payee", rows)
        self._commits += 1
        every_n = self._faults.booked_twice_every_n
        if every_n and self._commits % every_n == 0:
            payer = self._position(transfer.payer, transfer.currency)
            self.book.move(payer, transfer.amount, key, "reserve", rows)
            self.book.move(payee, -transfer.amount, key, "commit-payee", rows)
        return Outcome(did="committed", durable=self.store.submit(rows), transfer=transfer)

    # --- abort and expiry ---

    def abort(self, transfer_id: str, source: str, code: str, digest: bytes) -> Outcome:
        """Abort a reserved transfer because its payee says so."""
        transfer = self.transfers.get(transfer_id)
        problem = self._not_the_payee(transfer, source)
        if problem is not None:
            return problem
        assert transfer is not None
        if transfer.error_digest is not None:
            return self._again(transfer, same=transfer.error_digest == digest)
        transfer.error_digest = digest
        rows: list[Row] = [(Sql.HASH, (transfer_id, "error", digest))]
        if transfer.state != "RESERVED":
            return self._refused("3100", "Transfer is not in the state RESERVED", transfer, rows)
        return self._abort(transfer, ("RECEIVED_ERROR", "ABORTED_ERROR"), code, rows)

    def abort_by_hub(self, transfer: Transfer, code: str, *, reverse: bool = True) -> Outcome:
        """Abort a reserved transfer for the hub's own reasons; without `reverse` as a documented defect."""
        assert transfer.state == "RESERVED"
        return self._abort(transfer, ("RECEIVED_ERROR", "ABORTED_ERROR"), code, [], reverse=reverse)

    def expire(self) -> tuple[list[Transfer], asyncio.Future[None] | None]:
        """Reverse every reserved transfer whose time is over, and return them."""
        expired: list[Transfer] = []
        rows: list[Row] = []
        now = now_ms()
        while self._expiries and self._expiries[0][0] <= now:
            transfer = self.transfers[heapq.heappop(self._expiries)[1]]
            if transfer.state == "RESERVED":
                self._reverse(transfer, ("RESERVED_TIMEOUT", _EXPIRED), "3303", "timeout", rows)
                expired.append(transfer)
        return expired, self.store.submit(rows) if expired else None

    def _abort(
        self, transfer: Transfer, states: tuple[str, str], why: str, rows: list[Row], *, reverse: bool = True
    ) -> Outcome:
        self._reverse(transfer, states, why, "abort" if reverse else None, rows)
        return Outcome(did="aborted", durable=self.store.submit(rows), transfer=transfer)

    def _reverse(
        self, transfer: Transfer, states: tuple[str, str], why: str, reason: str | None, rows: list[Row]
    ) -> None:
        at = format_instant(now_ms())
        transfer.state = states[1]
        transfer.completed = at
        rows.extend((Sql.STATE, (transfer.transfer_id, state, why, at)) for state in states)
        if reason is not None:
            payer = self._position(transfer.payer, transfer.currency)
            self.book.move(payer, -transfer.amount, transfer.transfer_id, reason, rows)

    def _again(self, transfer: Transfer, *, same: bool) -> Outcome:
        if not same:
            return self._refused("3106", "Transfer ID was fulfilled with other content", transfer)
        final = transfer.told_state in {"COMMITTED", "ABORTED"}
        return Outcome(did="repeated" if final else "ignored", durable=self.flushed(), transfer=transfer)

    def _refused(
        self, code: str, description: str, transfer: Transfer | None = None, rows: list[Row] | None = None
    ) -> Outcome:
        return Outcome(
            did="refused",
            durable=self.store.submit(rows or []),
            transfer=transfer,
            code=code,
            description=description,
        )

    def _position(self, owner: str, currency: str) -> Account:
        account = self.book.account(owner, currency, POSITION)
        assert account is not None, "checked when the transfer was prepared"
        return account

    # --- recovery ---

    def _load(self) -> None:
        read = self.store.read
        states = dict(
            read(
                "SELECT transferId, transferStateId FROM transferStateChange WHERE transferStateChangeId IN"
                " (SELECT max(transferStateChangeId) FROM transferStateChange GROUP BY transferId)"
            )
        )
        changed = dict(
            read("SELECT transferId, max(createdDate) FROM transferStateChange GROUP BY transferId")
        )
        hashes = {(key, kind): digest for key, kind, digest in read("SELECT * FROM transferDuplicateCheck")}
        fulfilments = dict(read("SELECT transferId, ilpFulfilment FROM transferFulfilment"))
        for key, payer, payee, amount, currency, condition, expiration, _ in read("SELECT * FROM transfer"):
            transfer = Transfer(
                transfer_id=key,
                payer=payer,
                payee=payee,
                amount=amount,
                currency=currency,
                condition=condition,
                expires_ms=_expires_ms(expiration),
                state=states[key],
                digest=hashes[key, "prepare"],
                fulfilment=fulfilments.get(key),
                completed=None if states[key] == "RESERVED" else changed[key],
                fulfil_digest=hashes.get((key, "fulfil")),
                error_digest=hashes.get((key, "error")),
            )
            self.transfers[key] = transfer
            if transfer.state == "RESERVED":
                heapq.heappush(self._expiries, (transfer.expires_ms, key))


def _expires_ms(expiration: str) -> int:
    from_text = parse_instant_ms(expiration)
    assert from_text is not None, "only instants are stored"
    return from_text
