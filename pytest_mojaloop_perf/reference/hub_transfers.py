"""Transfers: prepare, fulfil, abort, expiry and questions, and who is told what of each.

The ledger decides; nobody is answered or told before its decision is on disk. The payer is told before the
payee. A payee that said COMMITTED has its own message passed on to the payer and gets a confirmation from the
hub; one that said RESERVED leaves the last word to the hub, which tells both.
"""

from __future__ import annotations

import asyncio

from pytest_mojaloop_perf.faults import FaultSwitches, Share
from pytest_mojaloop_perf.fspiop import bodies
from pytest_mojaloop_perf.fspiop.amounts import ten_thousandths
from pytest_mojaloop_perf.fspiop.codes import (
    GENERIC_CLIENT,
    INTERNAL_SERVER,
    TRANSFER_EXPIRED,
    TRANSFER_ID_NOT_FOUND,
    VALIDATION,
    FspiopError,
)
from pytest_mojaloop_perf.fspiop.http import Response
from pytest_mojaloop_perf.fspiop.schema import decode_body, is_correlation_id
from pytest_mojaloop_perf.reference.forwarding import Courier
from pytest_mojaloop_perf.reference.hub_inbound import FspiopRoutes, Inbound
from pytest_mojaloop_perf.reference.hub_metrics import HubMetrics
from pytest_mojaloop_perf.reference.hub_notices import Notices
from pytest_mojaloop_perf.reference.ledger import Ledger, Outcome, Prepare
from pytest_mojaloop_perf.reference.ledger_money import MONEY_MAX, now_ms, parse_instant_ms

__all__ = ["Transfers"]

_COMPLETED_AHEAD_MS = 200
_COMPLETED_BEHIND_MS = 300_000
_NOT_IMPLEMENTED = "2002"
_POSITION = "topic-transfer-position"
_LIMIT_CODES = frozenset(("4001", "4200"))


class Transfers:
    """POST /transfers, PUT, PATCH and GET /transfers/{ID}, PUT /transfers/{ID}/error."""

    def __init__(self, ledger: Ledger, courier: Courier, metrics: HubMetrics, faults: FaultSwitches) -> None:
        self._ledger = ledger
        self._courier = courier
        self._notices = Notices(courier, metrics)
        self._messages = metrics.messages
        self._delay_s = faults.delay_s("transfer")
        self._failing = Share(faults.error_callbacks_percent)
        self._not_reversed_every_n = faults.not_reversed_every_n
        self._reserved = 0
        self._prepare_time = metrics.histogram("moja_transfer_prepare", success="true")
        self._fulfil_time = metrics.histogram("moja_transfer_fulfil", success="true")
        self._forwarded_time = metrics.histogram("moja_tx_transfer_prepare", success="true")
        self._told_time = metrics.histogram("moja_tx_transfer_fulfil", success="true")

    def routes(self) -> FspiopRoutes:
        """Return what this part answers."""
        return {
            ("POST", "transfers", 0, False): self.prepare,
            ("PUT", "transfers", 1, False): self.fulfil,
            ("PUT", "transfers", 1, True): self.abort,
            ("GET", "transfers", 1, False): self.get,
            ("PATCH", "transfers", 1, False): self.patch,
        }

    # --- prepare ---

    async def prepare(self, inbound: Inbound) -> Response:
        """Reserve a transfer and ask the payee; a refusal goes to the payer by callback."""
        body = decode_body(bodies.TransfersPost, inbound.body)
        expires_ms = parse_instant_ms(body.expiration)
        if expires_ms is None:
            raise FspiopError(VALIDATION, "expiration is not a date")
        self._messages["topic-transfer-prepare"] += 1
        outcome = self._ledger.prepare(_wanted(inbound, body, expires_ms))
        await outcome.durable
        self._prepare_time.since(inbound.started_s)
        self._courier.spawn(self._prepared(inbound, outcome))
        return Response(202)

    async def _prepared(self, inbound: Inbound, outcome: Outcome) -> None:
        if outcome.did == "reserved":
            self._messages[_POSITION] += 1
            await self._ask_payee(inbound, outcome)
        elif outcome.did == "repeated":
            assert outcome.transfer is not None
            await self._notices.state(outcome.transfer, inbound.source, payer_waits=True)
        elif outcome.did == "refused":
            if outcome.code in _LIMIT_CODES:
                self._messages[_POSITION] += 1
            transfer_id = outcome.transfer.transfer_id if outcome.transfer else _transfer_id(inbound)
            await self._notices.error(
                transfer_id, outcome.code, outcome.description, inbound.source, payer_waits=True
            )

    async def _ask_payee(self, inbound: Inbound, outcome: Outcome) -> None:
        transfer = outcome.transfer
        assert transfer is not None
        self._reserved += 1
        every_n = self._not_reversed_every_n
        keeps = bool(every_n) and self._reserved % every_n == 0
        if keeps or self._failing.hit():
            aborted = self._ledger.abort_by_hub(transfer, INTERNAL_SERVER, reverse=not keeps)
            await aborted.durable
            self._messages[_POSITION] += 1
            await self._notices.error(
                transfer.transfer_id, INTERNAL_SERVER, "Fault of the hub", transfer.payer, payer_waits=True
            )
            return
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        # A payee that cannot be reached is not an error here: the transfer expires, as in Mojaloop.
        await self._notices.passed_on(inbound, transfer.payee, "TRANSFER_POST")
        self._forwarded_time.since(inbound.started_s)

    # --- fulfil and abort ---

    async def fulfil(self, inbound: Inbound) -> Response:
        """Commit a transfer at the payee's word, then tell the payer and the payee."""
        transfer_id = _transfer_id_of_path(inbound)
        body = decode_body(bodies.TransfersPut, inbound.body)
        _check_completed(body.completed_timestamp)
        self._messages["topic-transfer-fulfil"] += 1
        if body.transfer_state == "RESERVED" and inbound.version == "1.0":
            # Version 1.0 knows no RESERVED: Mojaloop's ledger drops the message, and the transfer expires.
            return Response(200)
        outcome = self._ledger.fulfil(
            transfer_id, inbound.source, body.transfer_state, body.fulfilment, inbound.digest()
        )
        await outcome.durable
        self._fulfil_time.since(inbound.started_s)
        self._courier.spawn(self._fulfilled(inbound, outcome, reserved=body.transfer_state == "RESERVED"))
        return Response(200)

    async def abort(self, inbound: Inbound) -> Response:
        """Abort a transfer at the payee's word, then tell the payer (its code kept) and the payee."""
        transfer_id = _transfer_id_of_path(inbound)
        body = decode_body(bodies.ErrorInformationObject, inbound.body)
        self._messages["topic-transfer-fulfil"] += 1
        outcome = self._ledger.abort(
            transfer_id, inbound.source, body.error_information.error_code, inbound.digest()
        )
        await outcome.durable
        self._fulfil_time.since(inbound.started_s)
        self._courier.spawn(self._fulfilled(inbound, outcome, reserved=False))
        return Response(200)

    async def _fulfilled(self, inbound: Inbound, outcome: Outcome, *, reserved: bool) -> None:
        transfer = outcome.transfer
        if outcome.did in {"committed", "aborted", "mismatch"}:
            self._messages[_POSITION] += 1
        if outcome.did == "ignored":
            return
        if outcome.did in {"refused", "late"} or transfer is None:
            await self._notices.error(
                inbound.ids[0], outcome.code, outcome.description, inbound.source, payer_waits=False
            )
            if outcome.did == "late" and reserved and transfer is not None:
                await self._notices.last_word(transfer, "ABORTED")
        elif outcome.did == "repeated":
            await self._notices.state(transfer, inbound.source, payer_waits=False)
        elif outcome.did == "mismatch":
            await self._notices.errors_to_both(transfer, outcome.code, outcome.description)
            if reserved:
                await self._notices.last_word(transfer, "ABORTED")
        elif reserved:
            await self._notices.committed_by_hub(transfer)
        else:
            await self._notices.payees_word(inbound, transfer)
        self._told_time.since(inbound.started_s)

    # --- the rest ---

    async def get(self, inbound: Inbound) -> Response:
        """Tell a payer or payee the state of a transfer, by callback."""
        self._messages["topic-transfer-get"] += 1
        flushed = self._ledger.flushed()
        transfer = self._ledger.transfers.get(inbound.ids[0])
        await flushed
        if transfer is None:
            work = self._notices.error(
                inbound.ids[0], TRANSFER_ID_NOT_FOUND, "Transfer not found", inbound.source, payer_waits=False
            )
        elif inbound.source not in {transfer.payer, transfer.payee}:
            work = self._notices.error(
                inbound.ids[0],
                GENERIC_CLIENT,
                "Not a party of this transfer",
                inbound.source,
                payer_waits=False,
            )
        else:
            work = self._notices.state(transfer, inbound.source, payer_waits=False)
        self._courier.spawn(work)
        return Response(202)

    async def patch(self, inbound: Inbound) -> Response:
        """Refuse: only the hub sends PATCH."""
        raise FspiopError(_NOT_IMPLEMENTED, f"PATCH {inbound.resource} is not implemented", status=501)

    async def expire(self) -> None:
        """Reverse what is overdue and tell both sides of it (3303)."""
        expired, durable = self._ledger.expire()
        if durable is None:
            return
        await durable
        for transfer in expired:
            self._messages[_POSITION] += 1
            self._courier.spawn(self._notices.errors_to_both(transfer, TRANSFER_EXPIRED, "Transfer expired"))


def _wanted(inbound: Inbound, body: bodies.TransfersPost, expires_ms: int) -> Prepare:
    amount = ten_thousandths(body.amount.amount)
    return Prepare(
        transfer_id=body.transfer_id,
        source=inbound.source,
        payer=body.payer_fsp,
        payee=body.payee_fsp,
        amount=amount if 0 < amount <= MONEY_MAX else None,
        currency=body.amount.currency,
        condition=body.condition,
        expiration=body.expiration,
        expires_ms=expires_ms,
        digest=inbound.digest(),
    )


def _transfer_id(inbound: Inbound) -> str:
    return decode_body(bodies.TransfersPost, inbound.body).transfer_id


def _transfer_id_of_path(inbound: Inbound) -> str:
    transfer_id = inbound.ids[0]
    if not is_correlation_id(transfer_id):
        raise FspiopError(VALIDATION, "the transfer id of the path is not a CorrelationId")
    return transfer_id


def _check_completed(text: str | None) -> None:
    """Refuse a completedTimestamp that lies ahead, or too far back."""
    if text is None:
        return
    completed_ms = parse_instant_ms(text)
    now = now_ms()
    if completed_ms is None or not now - _COMPLETED_BEHIND_MS <= completed_ms <= now + _COMPLETED_AHEAD_MS:
        raise FspiopError(VALIDATION, "completedTimestamp is not of now")
