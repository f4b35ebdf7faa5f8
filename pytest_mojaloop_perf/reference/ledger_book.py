"""Participants, accounts, positions, limits, funds, endpoints and parties: what onboarding sets up.

State lives in memory and is read from the file at start; every change returns a future that is done when it
is durable. A change is refused with `RefusedError`, whose codes are those of a Mojaloop hub.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pytest_mojaloop_perf.fspiop.pki import HUB_NAME
from pytest_mojaloop_perf.reference.ledger_money import MONEY_MAX, format_instant, now_ms
from pytest_mojaloop_perf.reference.ledger_store import Row, Sql, Store

__all__ = ["POSITION", "SETTLEMENT", "Account", "Book", "Participant", "RefusedError"]

POSITION = "POSITION"
SETTLEMENT = "SETTLEMENT"
HUB_ACCOUNT_TYPES = ("HUB_MULTILATERAL_SETTLEMENT", "HUB_RECONCILIATION")
NET_DEBIT_CAP = "NET_DEBIT_CAP"


class RefusedError(Exception):
    """A change that the hub refuses, with the HTTP status and the FSPIOP code of the answer."""

    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.code = code
        self.description = description


@dataclass(slots=True, kw_only=True)
class Account:
    """One account; money in ten-thousandths. `limit` is the net debit cap of a POSITION account."""

    account_id: int
    owner: str
    currency: str
    kind: str
    active: bool
    value: int = 0
    reserved: int = 0
    limit: int | None = None
    alarm_percent: float = 10.0
    changed_ms: int = 0


@dataclass(slots=True, kw_only=True)
class Participant:
    """A DFSP, or the hub itself. Accounts by (currency, type), in the order in which they were made."""

    participant_id: int
    name: str
    active: bool
    proxy: bool
    created: str
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    endpoints: dict[str, str] = field(default_factory=dict)


class Book:
    """All participants and their accounts."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.participants: dict[str, Participant] = {}
        self.accounts: dict[int, Account] = {}
        self.settlement_models: dict[str, dict[str, Any]] = {}
        self.oracles: dict[tuple[str, str], str] = {}
        self.oracle_types: set[str] = set()
        self.parties: dict[tuple[str, str, str], tuple[str, str]] = {}
        self.parties_with_sub_id: set[tuple[str, str]] = set()
        self._funds: dict[str, tuple[int, int, str, bytes]] = {}
        self._load()

    def start(self) -> None:
        """Make the hub itself known, once the store accepts changes."""
        if HUB_NAME not in self.participants:
            self.store.submit([self._participant_row(self._new_participant(HUB_NAME, proxy=False))])

    # --- reading ---

    def account(self, owner: str, currency: str, kind: str) -> Account | None:
        """Return an account, or None when there is none."""
        participant = self.participants.get(owner)
        return participant.accounts.get((currency, kind)) if participant else None

    def participant(self, name: str) -> Participant:
        """Return a participant.

        Raises:
            RefusedError: 404, no such participant.
        """
        participant = self.participants.get(name)
        if participant is None:
            raise RefusedError(404, "3000", f"Participant {name} does not exist")
        return participant

    def account_of(self, name: str, account_id: int) -> Account:
        """Return an account of a participant by its id.

        Raises:
            RefusedError: no such participant or account.
        """
        for account in self.participant(name).accounts.values():
            if account.account_id == account_id:
                return account
        raise RefusedError(400, "3003", "Participant/account pair does not match")

    def wants_cover(self, currency: str) -> bool:
        """Say whether transfers in a currency need liquidity cover: the settlement model decides."""
        fallback = True
        for model in self.settlement_models.values():
            if model.get("ledgerAccountType") != POSITION:
                continue
            wanted = bool(model.get("requireLiquidityCheck", True))
            if model.get("currency") == currency:
                return wanted
            if model.get("currency") is None:
                fallback = wanted
        return fallback

    # --- participants and accounts ---

    def add_hub_account(self, currency: str, kind: str) -> tuple[Account, asyncio.Future[None]]:
        """Add one of the hub's two accounts of a currency, active at once."""
        hub = self.participants[HUB_NAME]
        if kind not in HUB_ACCOUNT_TYPES:
            raise RefusedError(400, "3000", f"Ledger account type {kind} is not allowed for the hub")
        if (currency, kind) in hub.accounts:
            raise RefusedError(400, "3003", "Hub account has already been registered")
        rows: list[Row] = []
        account = self._new_account(hub, currency, kind, active=True, rows=rows)
        return account, self.store.submit(rows)

    def add_participant(
        self, name: str, currency: str, *, proxy: bool
    ) -> tuple[Participant, asyncio.Future[None]]:
        """Add a DFSP with an inactive POSITION and SETTLEMENT account."""
        hub = self.participants[HUB_NAME]
        if not all((currency, kind) in hub.accounts for kind in HUB_ACCOUNT_TYPES):
            raise RefusedError(400, "3003", f"Hub accounts for {currency} do not exist")
        if not any(model.get("currency") in {currency, None} for model in self.settlement_models.values()):
            raise RefusedError(
                400, "3000", "Settlement model does not exist for the currency, nor a default one"
            )
        participant = self.participants.get(name)
        if participant is not None and (currency, POSITION) in participant.accounts:
            raise RefusedError(400, "3000", "Participant currency has already been registered")
        if participant is None:
            participant = self._new_participant(name, proxy=proxy)
        rows = [self._participant_row(participant)]
        for kind in (POSITION, SETTLEMENT):
            self._new_account(participant, currency, kind, active=False, rows=rows)
        return participant, self.store.submit(rows)

    def set_initial(self, name: str, currency: str, *, limit: int, position: int) -> asyncio.Future[None]:
        """Set the first limit and position of a DFSP and activate its accounts; possible once."""
        account = self._position_account(name, currency)
        if account.limit is not None:
            raise RefusedError(500, "2001", "Participant Limit or Initial Position already set")
        account.limit = limit
        rows = [self._limit_row(account)]
        for kind in (POSITION, SETTLEMENT):
            sibling = self.account(name, currency, kind)
            assert sibling is not None, "both accounts are made together"
            sibling.active = True
            rows.append(self._account_row(sibling))
        if position:
            self.move(account, position, "initial-position", "initial", rows)
        return self.store.submit(rows)

    def set_limit(
        self, name: str, currency: str, *, limit: int, alarm_percent: float | None
    ) -> asyncio.Future[None]:
        """Replace the net debit cap."""
        account = self._position_account(name, currency)
        if account.limit is None:
            raise RefusedError(400, "3000", "Participant Limit does not exist")
        account.limit = limit
        if alarm_percent is not None:
            account.alarm_percent = alarm_percent
        return self.store.submit([self._limit_row(account)])

    def set_active(self, name: str, *, active: bool) -> asyncio.Future[None]:
        """Switch a participant on or off; transfers to and from an inactive one are refused."""
        participant = self.participant(name)
        participant.active = active
        return self.store.submit([self._participant_row(participant)])

    def set_account_active(self, name: str, account_id: int, *, active: bool) -> asyncio.Future[None]:
        """Switch a POSITION account on or off."""
        account = self.account_of(name, account_id)
        if account.kind != POSITION:
            raise RefusedError(400, "3000", "Only position account update is permitted")
        account.active = active
        return self.store.submit([self._account_row(account)])

    def set_endpoint(self, name: str, kind: str, value: str) -> asyncio.Future[None]:
        """Insert or replace the address of one kind of callback."""
        participant = self.participant(name)
        participant.endpoints[kind] = value
        return self.store.submit([(Sql.ENDPOINT, (participant.participant_id, kind, value))])

    # --- funds ---

    def check_funds(self, name: str, account_id: int, transfer_id: str, payload: bytes) -> Account | None:
        """Return the account that funds of a new transferId go to, or None for a repetition of the same.

        Raises:
            RefusedError: not an active SETTLEMENT account, or the transferId was used for something else.
        """
        account = self.account_of(name, account_id)
        known = self._funds.get(transfer_id)
        if known is not None:
            if known[3] != hashlib.sha256(payload).digest():
                raise RefusedError(400, "3106", "Transfer id was used with other content")
            return None
        if account.kind != SETTLEMENT:
            raise RefusedError(400, "3000", "Account id is not SETTLEMENT type")
        if not account.active:
            raise RefusedError(400, "3000", "Account is currently set inactive")
        return account

    def funds_in(
        self, account: Account, transfer_id: str, amount: int, payload: bytes
    ) -> asyncio.Future[None]:
        """Book funds in: SETTLEMENT falls by the amount, the first hub account rises by it."""
        rows: list[Row] = []
        self._move_both(account, -amount, transfer_id, "funds-in", rows)
        self._record_funds(
            account,
            transfer_id,
            amount=amount,
            action="recordFundsIn",
            digest=hashlib.sha256(payload).digest(),
            rows=rows,
        )
        return self.store.submit(rows)

    def funds_out_reserve(
        self, account: Account, transfer_id: str, amount: int, payload: bytes
    ) -> asyncio.Future[None]:
        """Take funds out for the time being; asking for more than there is moves nothing."""
        digest = hashlib.sha256(payload).digest()
        rows: list[Row] = []
        if account.value + amount > 0:
            self._record_funds(
                account, transfer_id, amount=amount, action="recordFundsOutAbort", digest=digest, rows=rows
            )
        else:
            self._move_both(account, amount, transfer_id, "funds-out", rows)
            self._record_funds(
                account,
                transfer_id,
                amount=amount,
                action="recordFundsOutPrepareReserve",
                digest=digest,
                rows=rows,
            )
        return self.store.submit(rows)

    def funds_out_end(
        self, name: str, account_id: int, transfer_id: str, action: str
    ) -> asyncio.Future[None]:
        """Commit or abort reserved funds out."""
        account = self.account_of(name, account_id)
        known = self._funds.get(transfer_id)
        if known is None or known[0] != account_id or known[2] != "recordFundsOutPrepareReserve":
            raise RefusedError(400, "3100", "Transfer is not in the state RESERVED")
        rows: list[Row] = []
        if action == "recordFundsOutAbort":
            self._move_both(account, -known[1], transfer_id, "funds-out", rows)
        self._record_funds(account, transfer_id, amount=known[1], action=action, digest=known[3], rows=rows)
        return self.store.submit(rows)

    # --- oracle and settlement models ---

    def add_settlement_model(self, name: str, definition: dict[str, Any]) -> asyncio.Future[None]:
        """Add a settlement model."""
        if name in self.settlement_models:
            raise RefusedError(400, "3000", "Settlement Model already exists")
        self.settlement_models[name] = definition
        return self.store.submit([(Sql.SETTLEMENT_MODEL, (name, msgspec.json.encode(definition).decode()))])

    def add_oracle(self, id_type: str, currency: str, value: str) -> asyncio.Future[None]:
        """Register the oracle of an id type."""
        if (id_type, currency) in self.oracles:
            raise RefusedError(
                500, "2001", "Active oracle with matching partyIdTypeId and currency already exists"
            )
        self.oracles[id_type, currency] = value
        self.oracle_types.add(id_type)
        return self.store.submit([(Sql.ORACLE, (id_type, currency, value))])

    def add_parties(self, parties: list[tuple[str, str, str, str, str]]) -> asyncio.Future[None]:
        """Insert or replace (type, identifier, sub-id or empty, fspId, currency) rows of the oracle."""
        for party in parties:
            self._know(*party)
        return self.store.submit([(Sql.PARTY, party) for party in parties])

    def _know(self, id_type: str, identifier: str, sub_id: str, fsp_id: str, currency: str) -> None:
        self.parties[id_type, identifier, sub_id] = (fsp_id, currency)
        if sub_id:
            self.parties_with_sub_id.add((id_type, identifier))

    # --- booking ---

    def move(self, account: Account, change: int, transfer_id: str, reason: str, rows: list[Row]) -> None:
        """Change a balance and append the journal's and the balance's rows: the only way money moves."""
        account.value += change
        account.changed_ms = instant_ms = now_ms()
        at = format_instant(instant_ms)
        rows.append(
            (Sql.POSITION_CHANGE, (account.account_id, transfer_id, change, account.value, reason, at))
        )
        rows.append((Sql.POSITION, (account.account_id, account.value, account.reserved, at)))

    def _move_both(
        self, account: Account, change: int, transfer_id: str, reason: str, rows: list[Row]
    ) -> None:
        hub = self.participants[HUB_NAME]
        counter = next((other for other in hub.accounts.values() if other.currency == account.currency), None)
        if counter is None:
            raise RefusedError(400, "3003", f"Hub accounts for {account.currency} do not exist")
        # Sums stay far inside 64 bits however often funds are recorded.
        if max(abs(account.value + change), abs(counter.value - change)) > 10 * MONEY_MAX:
            raise RefusedError(400, "3100", "Amount is too large")
        self.move(account, change, transfer_id, reason, rows)
        self.move(counter, -change, transfer_id, reason, rows)

    def _record_funds(
        self, account: Account, transfer_id: str, *, amount: int, action: str, digest: bytes, rows: list[Row]
    ) -> None:
        self._funds[transfer_id] = (account.account_id, amount, action, digest)
        at = format_instant(now_ms())
        rows.append((Sql.FUNDS, (transfer_id, account.account_id, amount, action, digest, at)))

    def _position_account(self, name: str, currency: str) -> Account:
        self.participant(name)
        account = self.account(name, currency, POSITION)
        if account is None:
            raise RefusedError(400, "3003", "Participant/currency pair does not exist")
        return account

    def _new_participant(self, name: str, *, proxy: bool) -> Participant:
        participant = Participant(
            participant_id=len(self.participants) + 1,
            name=name,
            active=True,
            proxy=proxy,
            created=format_instant(now_ms()),
        )
        self.participants[name] = participant
        return participant

    def _new_account(
        self, participant: Participant, currency: str, kind: str, *, active: bool, rows: list[Row]
    ) -> Account:
        account = Account(
            account_id=len(self.accounts) + 1,
            owner=participant.name,
            currency=currency,
            kind=kind,
            active=active,
            changed_ms=now_ms(),
        )
        self.accounts[account.account_id] = participant.accounts[currency, kind] = account
        rows.append(self._account_row(account))
        rows.append((Sql.POSITION, (account.account_id, 0, 0, format_instant(account.changed_ms))))
        return account

    def _participant_row(self, participant: Participant) -> Row:
        return Sql.PARTICIPANT, (
            participant.participant_id,
            participant.name,
            int(participant.active),
            int(participant.proxy),
            participant.created,
        )

    def _account_row(self, account: Account) -> Row:
        owner = self.participants[account.owner].participant_id
        return Sql.ACCOUNT, (account.account_id, owner, account.currency, account.kind, int(account.active))

    def _limit_row(self, account: Account) -> Row:
        return Sql.LIMIT, (account.account_id, NET_DEBIT_CAP, account.limit, account.alarm_percent)

    # --- recovery ---

    def _load(self) -> None:
        read = self.store.read
        names: dict[int, str] = {}
        for participant_id, name, active, proxy, created in read(
            "SELECT participantId, name, isActive, isProxy, createdDate FROM participant"
            " ORDER BY participantId"
        ):
            names[participant_id] = name
            self.participants[name] = Participant(
                participant_id=participant_id,
                name=name,
                active=bool(active),
                proxy=bool(proxy),
                created=created,
            )
        for row in read(
            "SELECT a.participantCurrencyId, participantId, currencyId, ledgerAccountType, isActive,"
            " p.value, reservedValue, l.value, thresholdAlarmPercentage FROM participantCurrency a"
            " JOIN participantPosition p USING(participantCurrencyId)"
            " LEFT JOIN participantLimit l USING(participantCurrencyId) ORDER BY a.participantCurrencyId"
        ):
            account = Account(
                account_id=row[0],
                owner=names[row[1]],
                currency=row[2],
                kind=row[3],
                active=bool(row[4]),
                value=row[5],
                reserved=row[6],
                limit=row[7],
                alarm_percent=10.0 if row[8] is None else row[8],
                changed_ms=now_ms(),
            )
            self.accounts[account.account_id] = account
            self.participants[account.owner].accounts[account.currency, account.kind] = account
        for participant_id, kind, value in read("SELECT participantId, type, value FROM participantEndpoint"):
            self.participants[names[participant_id]].endpoints[kind] = value
        for name, definition in read("SELECT name, definition FROM settlementModel"):
            self.settlement_models[name] = msgspec.json.decode(definition, type=dict[str, Any])
        for id_type, currency, value in read("SELECT oracleIdType, currency, value FROM oracleEndpoint"):
            self.oracles[id_type, currency] = value
            self.oracle_types.add(id_type)
        for party in read("SELECT * FROM oracleParty"):
            self._know(*party)
        for transfer_id, account_id, amount, action, digest, _ in read("SELECT * FROM fundsTransfer"):
            self._funds[transfer_id] = (account_id, amount, action, digest)
