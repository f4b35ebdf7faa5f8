"""Making one participant on a hub: accounts, limit, funds, callback endpoints. Safe to repeat."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from pytest_mojaloop_perf.errors import InfrastructureError, WaitTimeoutError
from pytest_mojaloop_perf.fspiop.admin import Accepted, Admin, Step
from pytest_mojaloop_perf.model import Dfsp, Value

__all__ = [
    "Account",
    "accounts",
    "callback_endpoints",
    "creation_steps",
    "endpoint_steps",
    "ensure_participant",
    "funds_step",
    "limit",
    "limit_step",
    "position",
    "registered_endpoints",
]

CREATED = Accepted(status=201)
_FUNDS_NAMESPACE = uuid.UUID("6f2a4bb8-4d2e-5c0f-9d36-0c4f0f6c9a11")
FUNDS_TIMEOUT_S = 30.0
_FUNDS_INTERVAL_S = 0.02
_ALARM_PERCENT = 10


class Account(Value, frozen=True, kw_only=True):
    """One account of a participant as the hub tells it; amounts are exact decimals."""

    account_id: int
    account_type: str
    currency: str
    is_active: bool
    value: Decimal
    reserved: Decimal
    changed: str


def callback_endpoints(callback_url: str, fsp_id: str) -> tuple[tuple[str, str], ...]:
    """Return (type, value) of every endpoint of a DFSP; the hub fills the double braces."""
    base = callback_url.rstrip("/")
    party = f"{base}/parties/{{{{partyIdType}}}}/{{{{partyIdentifier}}}}"
    participant = f"{base}/participants/{{{{partyIdType}}}}/{{{{partyIdentifier}}}}"
    sub_id = "/{{partySubIdOrType}}"
    batch = f"{base}/participants/{{{{requestId}}}}"
    transfer = f"{base}/transfers/{{{{transferId}}}}"
    fspiop = (
        ("PARTIES_GET", party),
        ("PARTIES_PUT", party),
        ("PARTIES_PUT_ERROR", f"{party}/error"),
        ("PARTIES_SUB_ID_GET", party + sub_id),
        ("PARTIES_SUB_ID_PUT", party + sub_id),
        ("PARTIES_SUB_ID_PUT_ERROR", f"{party}{sub_id}/error"),
        ("PARTICIPANT_PUT", participant),
        ("PARTICIPANT_PUT_ERROR", f"{participant}/error"),
        ("PARTICIPANT_SUB_ID_PUT", participant + sub_id),
        ("PARTICIPANT_SUB_ID_PUT_ERROR", f"{participant}{sub_id}/error"),
        ("PARTICIPANT_SUB_ID_DELETE", participant + sub_id),
        ("PARTICIPANT_BATCH_PUT", batch),
        ("PARTICIPANT_BATCH_PUT_ERROR", f"{batch}/error"),
        ("QUOTES", base),
        ("TRANSFER_POST", f"{base}/transfers"),
        ("TRANSFER_PUT", transfer),
        ("TRANSFER_ERROR", f"{transfer}/error"),
    )
    mail = f"{fsp_id}@localhost.example"
    notices = (
        "NET_DEBIT_CAP_THRESHOLD_BREACH_EMAIL",
        "NET_DEBIT_CAP_ADJUSTMENT_EMAIL",
        "SETTLEMENT_TRANSFER_POSITION_CHANGE_EMAIL",
    )
    return (
        *((f"FSPIOP_CALLBACK_URL_{kind}", url) for kind, url in fspiop),
        *((kind, mail) for kind in notices),
    )


def creation_steps(admin_url: str, dfsp: Dfsp) -> tuple[Step, Step]:
    """Return the steps that make a participant and activate its accounts with position 0 and its NDC."""
    own = f"{admin_url}/participants"
    return (
        Step(
            name=f"participant {dfsp.fsp_id}",
            method="POST",
            url=own,
            body={"name": dfsp.fsp_id, "currency": dfsp.currency},
            accepted=(CREATED, Accepted(status=400, code="3000")),
        ),
        Step(
            name=f"initial position and NDC of {dfsp.fsp_id}",
            method="POST",
            url=f"{own}/{dfsp.fsp_id}/initialPositionAndLimits",
            body={"currency": dfsp.currency, "limit": _cap(dfsp), "initialPosition": 0},
            accepted=(CREATED, Accepted(status=500, code="2001")),
        ),
    )


def limit_step(admin_url: str, dfsp: Dfsp) -> Step:
    """Return the step that changes the NDC of a participant that has one."""
    return Step(
        name=f"NDC of {dfsp.fsp_id}",
        method="PUT",
        url=f"{admin_url}/participants/{dfsp.fsp_id}/limits",
        body={"currency": dfsp.currency, "limit": {**_cap(dfsp), "alarmPercentage": _ALARM_PERCENT}},
        accepted=(Accepted(status=200),),
    )


def funds_step(admin_url: str, dfsp: Dfsp, *, account: str, amount: Decimal, seen: str) -> Step:
    """Return the step that pays funds in.

    The transferId follows from `seen`, the account's state that the amount was worked out from: a repetition
    before the hub has booked it has the same id, and the hub takes it once.
    """
    transfer_id = uuid.uuid5(_FUNDS_NAMESPACE, f"{dfsp.fsp_id} {dfsp.currency} {seen} {amount:f}")
    return Step(
        name=f"funds in of {dfsp.fsp_id}",
        method="POST",
        url=f"{admin_url}/participants/{dfsp.fsp_id}/accounts/{account}",
        body={
            "transferId": str(transfer_id),
            "externalReference": "onboarding",
            "action": "recordFundsIn",
            "reason": "onboarding",
            "amount": {"amount": f"{amount:f}", "currency": dfsp.currency},
        },
        accepted=(Accepted(status=202),),
    )


def endpoint_steps(admin_url: str, fsp_id: str, endpoints: Sequence[tuple[str, str]]) -> tuple[Step, ...]:
    """Return the steps that tell a hub where a participant answers; the hub replaces older values."""
    return tuple(
        Step(
            name=f"endpoint {kind} of {fsp_id}",
            method="POST",
            url=f"{admin_url}/participants/{fsp_id}/endpoints",
            body={"type": kind, "value": value},
            accepted=(CREATED,),
        )
        for kind, value in endpoints
    )


async def ensure_participant(admin: Admin, admin_url: str, dfsp: Dfsp, callback_url: str) -> None:
    """Make a participant complete, whatever of it is there already.

    Raises:
        InfrastructureError: a call was answered in a way it must not be.
        WaitTimeoutError: the funds did not arrive.
    """
    for step in creation_steps(admin_url, dfsp):
        await admin.call(step)
    if await limit(admin, admin_url, dfsp) != Decimal(dfsp.ndc):
        await admin.call(limit_step(admin_url, dfsp))
    wanted = callback_endpoints(callback_url, dfsp.fsp_id)
    there = await registered_endpoints(admin, admin_url, dfsp.fsp_id)
    missing = tuple((kind, value) for kind, value in wanted if there.get(kind) != value)
    admin.already += len(wanted) - len(missing)
    for step in endpoint_steps(admin_url, dfsp.fsp_id, missing):
        await admin.call(step)
    await _ensure_funds(admin, admin_url, dfsp)


async def _ensure_funds(admin: Admin, admin_url: str, dfsp: Dfsp) -> None:
    """Pay in what is missing and wait until the hub has booked it. Funds in lower the SETTLEMENT account."""
    account = await _account(admin, admin_url, dfsp, "SETTLEMENT")
    missing = Decimal(dfsp.funds_in) + account.value
    if missing <= 0:
        admin.already += 1
        return
    seen = f"{account.value.normalize():f} {account.changed}"
    await admin.call(
        funds_step(admin_url, dfsp, account=str(account.account_id), amount=missing.normalize(), seen=seen)
    )
    deadline = time.monotonic() + FUNDS_TIMEOUT_S
    while (account := await _account(admin, admin_url, dfsp, "SETTLEMENT")).value > -Decimal(dfsp.funds_in):
        if time.monotonic() > deadline:
            raise WaitTimeoutError(
                f"funds in of {dfsp.fsp_id} did not arrive within {FUNDS_TIMEOUT_S:g}s; SETTLEMENT is "
                f"{account.value:f}, expected -{dfsp.funds_in}",
                remedy="see the log of the hub's transfer handlers, then run the onboarding again",
            )
        await asyncio.sleep(_FUNDS_INTERVAL_S)


async def accounts(admin: Admin, admin_url: str, fsp_id: str) -> tuple[Account, ...]:
    """Return all accounts of a participant.

    Raises:
        InfrastructureError: no such participant, or an answer of another form.
    """
    url = f"{admin_url}/participants/{fsp_id}/accounts"
    rows = await admin.get(f"accounts of {fsp_id}", url)
    try:
        return tuple(
            Account(
                account_id=int(row["id"]),
                account_type=row["ledgerAccountType"],
                currency=row["currency"],
                is_active=bool(row["isActive"]),
                value=Decimal(str(row["value"])),
                reserved=Decimal(str(row.get("reservedValue") or 0)),
                changed=str(row.get("changedDate") or ""),
            )
            for row in rows
        )
    except (TypeError, KeyError, ArithmeticError) as error:
        raise _malformed(url, rows) from error


async def limit(admin: Admin, admin_url: str, dfsp: Dfsp) -> Decimal | None:
    """Return the NDC of a participant in its currency, or None when it has none.

    Raises:
        InfrastructureError: an answer of another form.
    """
    url = f"{admin_url}/participants/{dfsp.fsp_id}/limits?currency={dfsp.currency}&type=NET_DEBIT_CAP"
    rows = await admin.get(f"limits of {dfsp.fsp_id}", url)
    try:
        for row in rows:
            if row["currency"] == dfsp.currency and row["limit"]["type"] == "NET_DEBIT_CAP":
                return Decimal(str(row["limit"]["value"]))
    except (TypeError, KeyError, ArithmeticError) as error:
        raise _malformed(url, rows) from error
    return None


async def registered_endpoints(admin: Admin, admin_url: str, fsp_id: str) -> dict[str, str]:
    """Return the endpoints of a participant by type.

    Raises:
        InfrastructureError: an answer of another form.
    """
    url = f"{admin_url}/participants/{fsp_id}/endpoints"
    rows = await admin.get(f"endpoints of {fsp_id}", url)
    try:
        return {row["type"]: row["value"] for row in rows}
    except (TypeError, KeyError) as error:
        raise _malformed(url, rows) from error


async def position(admin: Admin, admin_url: str, fsp_id: str, currency: str) -> Decimal:
    """Return the position of a participant.

    Raises:
        InfrastructureError: an answer of another form.
    """
    url = f"{admin_url}/participants/{fsp_id}/positions?currency={currency}"
    row = await admin.get(f"position of {fsp_id}", url)
    try:
        return Decimal(str(row["value"]))
    except (TypeError, KeyError, ArithmeticError) as error:
        raise _malformed(url, row) from error


async def _account(admin: Admin, admin_url: str, dfsp: Dfsp, account_type: str) -> Account:
    for account in await accounts(admin, admin_url, dfsp.fsp_id):
        if account.account_type == account_type and account.currency == dfsp.currency:
            return account
    raise InfrastructureError(
        f"{dfsp.fsp_id} has no {account_type} account in {dfsp.currency}, expected one from its creation",
        remedy=f"add the currency {dfsp.currency} to the participant at the hub, or use a fresh hub",
    )


def _cap(dfsp: Dfsp) -> dict[str, Any]:
    """Return the limit member of a request: the hub wants a JSON number."""
    value = Decimal(dfsp.ndc)
    return {"type": "NET_DEBIT_CAP", "value": int(value) if value == int(value) else float(value)}


def _malformed(url: str, body: Any) -> InfrastructureError:
    return InfrastructureError(
        f"the answer of GET {url} has another form than expected",
        remedy="see that the address is that of a central-ledger admin API",
        evidence=msgspec.json.encode(body)[:300].decode(),
    )
