"""Admin calls on participants: accounts, limits, positions, funds, endpoints."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from pytest_mojaloop_perf.fspiop.amounts import ten_thousandths
from pytest_mojaloop_perf.fspiop.http import Response
from pytest_mojaloop_perf.fspiop.pki import HUB_NAME
from pytest_mojaloop_perf.fspiop.schema import decode_body
from pytest_mojaloop_perf.reference import hub_admin_bodies as bodies
from pytest_mojaloop_perf.reference.forwarding import Courier
from pytest_mojaloop_perf.reference.hub_admin import AdminCall, AdminRoutes, json_answer
from pytest_mojaloop_perf.reference.hub_metrics import HubMetrics
from pytest_mojaloop_perf.reference.ledger_book import (
    POSITION,
    SETTLEMENT,
    Account,
    Book,
    Participant,
    RefusedError,
)
from pytest_mojaloop_perf.reference.ledger_money import MONEY_MAX, format_instant, parse_money

__all__ = ["AdminParticipants"]

_SCALE = Decimal(10_000)
_FUNDS_DELAY_S = 0.01
"""How much later than its answer an instruction about funds is booked: callers must wait for the effect."""


class AdminParticipants:
    """Everything under /participants on the admin port."""

    def __init__(self, book: Book, courier: Courier, metrics: HubMetrics) -> None:
        self._book = book
        self._courier = courier
        self._messages = metrics.messages

    def routes(self) -> AdminRoutes:
        """Return what this part answers."""
        own = "/participants/*"
        return {
            ("GET", "/participants"): self.participants,
            ("POST", "/participants"): self.create,
            ("GET", "/participants/limits"): self.all_limits,
            ("GET", own): self.participant,
            ("PUT", own): self.activate,
            ("POST", f"{own}/initialPositionAndLimits"): self.initial,
            ("GET", f"{own}/accounts"): self.accounts,
            ("POST", f"{own}/accounts"): self.hub_account,
            ("PUT", f"{own}/accounts/*"): self.activate_account,
            ("POST", f"{own}/accounts/*"): self.funds,
            ("PUT", f"{own}/accounts/*/transfers/*"): self.funds_end,
            ("GET", f"{own}/limits"): self.limits,
            ("PUT", f"{own}/limits"): self.change_limit,
            ("GET", f"{own}/positions"): self.positions,
            ("GET", f"{own}/endpoints"): self.endpoints,
            ("POST", f"{own}/endpoints"): self.set_endpoint,
        }

    # --- participants ---

    async def participants(self, _: AdminCall) -> Response:
        """List all participants."""
        return json_answer(200, [_shown(participant) for participant in self._book.participants.values()])

    async def participant(self, call: AdminCall) -> Response:
        """Show one participant."""
        return json_answer(200, _shown(self._book.participant(call.parts[0])))

    async def create(self, call: AdminCall) -> Response:
        """Make a participant with inactive accounts."""
        body = decode_body(bodies.NewParticipant, call.body)
        participant, durable = self._book.add_participant(body.name, body.currency, proxy=body.is_proxy)
        await durable
        return json_answer(201, _shown(participant))

    async def activate(self, call: AdminCall) -> Response:
        """Switch a participant on or off."""
        body = decode_body(bodies.Active, call.body)
        await self._book.set_active(call.parts[0], active=body.is_active)
        return json_answer(200, _shown(self._book.participant(call.parts[0])))

    # --- accounts and limits ---

    async def hub_account(self, call: AdminCall) -> Response:
        """Make one of the hub's accounts."""
        if call.parts[0] != HUB_NAME:
            raise RefusedError(400, "3000", "Only the hub's accounts are made this way")
        body = decode_body(bodies.HubAccount, call.body)
        _, durable = self._book.add_hub_account(body.currency, body.type)
        await durable
        return json_answer(201, _shown(self._book.participant(HUB_NAME)))

    async def accounts(self, call: AdminCall) -> Response:
        """List a participant's accounts with their balances."""
        accounts = self._book.participant(call.parts[0]).accounts.values()
        return json_answer(
            200,
            [
                {
                    "id": account.account_id,
                    "ledgerAccountType": account.kind,
                    "currency": account.currency,
                    "isActive": int(account.active),
                    "value": _number(account.value),
                    "reservedValue": _number(account.reserved),
                    "changedDate": format_instant(account.changed_ms),
                }
                for account in accounts
            ],
        )

    async def activate_account(self, call: AdminCall) -> Response:
        """Switch a POSITION account on or off."""
        body = decode_body(bodies.Active, call.body)
        await self._book.set_account_active(call.parts[0], _account_id(call.parts[1]), active=body.is_active)
        return Response(200)

    async def initial(self, call: AdminCall) -> Response:
        """Set the first limit and position, which activates the accounts."""
        body = decode_body(bodies.InitialPosition, call.body)
        limit, position = _money(body.limit.value), _money(body.initial_position)
        await self._book.set_initial(call.parts[0], body.currency, limit=limit, position=position)
        return Response(201)

    async def limits(self, call: AdminCall) -> Response:
        """List a participant's limits."""
        rows = _limits(self._book.participant(call.parts[0]))
        currency = call.wanted("currency")
        return json_answer(200, [row for row in rows if currency in {None, row["currency"]}])

    async def all_limits(self, _: AdminCall) -> Response:
        """List the limits of all participants."""
        return json_answer(
            200,
            [
                {"name": participant.name, **row}
                for participant in self._book.participants.values()
                for row in _limits(participant)
            ],
        )

    async def change_limit(self, call: AdminCall) -> Response:
        """Replace the net debit cap."""
        body = decode_body(bodies.LimitChange, call.body)
        name = call.parts[0]
        limit = _money(body.limit.value)
        await self._book.set_limit(
            name, body.currency, limit=limit, alarm_percent=body.limit.alarm_percentage
        )
        rows = _limits(self._book.participant(name))
        return json_answer(200, next(row for row in rows if row["currency"] == body.currency))

    async def positions(self, call: AdminCall) -> Response:
        """Show the position in one currency, or list all."""
        accounts = [
            account
            for account in self._book.participant(call.parts[0]).accounts.values()
            if account.kind == POSITION
        ]
        currency = call.wanted("currency")
        if currency is None:
            return json_answer(200, [_position(account) for account in accounts])
        for account in accounts:
            if account.currency == currency:
                return json_answer(200, _position(account))
        raise RefusedError(400, "3003", "Participant/currency pair does not exist")

    # --- endpoints ---

    async def endpoints(self, call: AdminCall) -> Response:
        """List a participant's callback addresses."""
        endpoints = self._book.participant(call.parts[0]).endpoints
        wanted = call.wanted("type")
        return json_answer(
            200,
            [{"type": kind, "value": value} for kind, value in endpoints.items() if wanted in {None, kind}],
        )

    async def set_endpoint(self, call: AdminCall) -> Response:
        """Insert or replace a callback address."""
        body = decode_body(bodies.Endpoint, call.body)
        await self._book.set_endpoint(call.parts[0], body.type, body.value)
        return Response(201)

    # --- funds ---

    async def funds(self, call: AdminCall) -> Response:
        """Accept an instruction about funds: it is booked a moment later, once per transferId."""
        body = decode_body(bodies.FundsAction, call.body)
        name, account_id = call.parts[0], _account_id(call.parts[1])
        account = self._book.account_of(name, account_id)
        if account.kind == SETTLEMENT and account.currency != body.amount.currency:
            raise RefusedError(400, "3100", "Currency is not that of the account")
        amount = ten_thousandths(body.amount.amount)
        if not 0 < amount <= MONEY_MAX:
            raise RefusedError(400, "3100", "Amount is zero or too large")
        if self._book.check_funds(name, account_id, body.transfer_id, call.body) is not None:
            self._messages["topic-admin-transfer"] += 1
            self._courier.spawn(self._book_funds(name, account_id, body, amount, call.body))
        return Response(202)

    async def _book_funds(
        self, name: str, account_id: int, body: bodies.FundsAction, amount: int, payload: bytes
    ) -> None:
        await asyncio.sleep(_FUNDS_DELAY_S)
        # Checked again: the same instruction may have come twice before the first was booked.
        account = self._book.check_funds(name, account_id, body.transfer_id, payload)
        if account is None:
            return
        book = self._book.funds_in if body.action == "recordFundsIn" else self._book.funds_out_reserve
        await book(account, body.transfer_id, amount, payload)

    async def funds_end(self, call: AdminCall) -> Response:
        """Commit or abort reserved funds out."""
        body = decode_body(bodies.FundsEnd, call.body)
        name, account_id, transfer_id = call.parts
        self._messages["topic-admin-transfer"] += 1
        await self._book.funds_out_end(name, _account_id(account_id), transfer_id, body.action)
        return Response(202)


def _shown(participant: Participant) -> dict[str, Any]:
    return {
        "name": participant.name,
        "id": participant.name,
        "created": participant.created,
        "isActive": int(participant.active),
        "isProxy": int(participant.proxy),
        "accounts": [
            {
                "id": account.account_id,
                "ledgerAccountType": account.kind,
                "currency": account.currency,
                "isActive": int(account.active),
            }
            for account in participant.accounts.values()
        ],
    }


def _limits(participant: Participant) -> list[dict[str, Any]]:
    return [
        {
            "currency": account.currency,
            "limit": {
                "type": "NET_DEBIT_CAP",
                "value": _number(account.limit),
                "alarmPercentage": account.alarm_percent,
            },
        }
        for account in participant.accounts.values()
        if account.limit is not None
    ]


def _position(account: Account) -> dict[str, Any]:
    return {
        "currency": account.currency,
        "value": _number(account.value),
        "changedDate": format_instant(account.changed_ms),
    }


def _number(value: int) -> Decimal | int:
    whole, fraction = divmod(value, 10_000)
    return Decimal(value) / _SCALE if fraction else whole


def _money(number: Decimal) -> int:
    value = parse_money(number)
    if value is None:
        raise RefusedError(400, "3100", "Amount has more than 4 decimals or is too large")
    return value


def _account_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise RefusedError(400, "3101", "Account id is not a number")
    return int(text)
