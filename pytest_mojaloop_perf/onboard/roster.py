"""Reads back what onboarding made and compares it, field by field, with what was wanted."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import Any

import msgspec

from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.fspiop.admin import Accepted, Admin, Step
from pytest_mojaloop_perf.fspiop.participant import (
    Account,
    accounts,
    callback_endpoints,
    limit,
    registered_endpoints,
)
from pytest_mojaloop_perf.model import Dfsp, Environment, OnboardedDfsp, Plan

__all__ = ["verified"]

# A fresh participant is known to every part of a hub only when their caches have run out.
LOOK_UP_TIMEOUT_S = 30.0
_INTERVAL_S = 0.25


async def verified(admin: Admin, plan: Plan, environment: Environment, dfsp: Dfsp) -> OnboardedDfsp:
    """Return a DFSP as the hub and a payer see it.

    Raises:
        InfrastructureError: something differs; it names the field, what was wanted and what was seen.
    """
    url = environment.hub.admin_url
    endpoints = environment.dfsp(dfsp.fsp_id)
    found = await accounts(admin, url, dfsp.fsp_id)
    position = _active(dfsp, found, "POSITION")
    settlement = _active(dfsp, found, "SETTLEMENT")
    if -settlement.value < Decimal(dfsp.funds_in):
        raise _mismatch(dfsp, "funds", f"at least {dfsp.funds_in}", f"{-settlement.value:f}")
    cap = await limit(admin, url, dfsp)
    if cap is None or cap != Decimal(dfsp.ndc):
        raise _mismatch(dfsp, "NDC", dfsp.ndc, "none" if cap is None else f"{cap:f}")
    registered = await registered_endpoints(admin, url, dfsp.fsp_id)
    wanted = callback_endpoints(endpoints.callback_url, dfsp.fsp_id)
    for kind, value in wanted:
        if registered.get(kind) != value:
            raise _mismatch(dfsp, f"endpoint {kind}", value, registered.get(kind, "none"))
    looked_up = dfsp.msisdn_first if "payee" in dfsp.roles else None
    if looked_up is not None:
        await _look_up(admin, _payer_url(plan, environment, dfsp), dfsp)
    return OnboardedDfsp(
        fsp_id=dfsp.fsp_id,
        currency=dfsp.currency,
        position_account_id=position.account_id,
        settlement_account_id=settlement.account_id,
        position=f"{position.value:f}",
        settlement=f"{settlement.value:f}",
        ndc=f"{cap:f}",
        endpoints=tuple(kind for kind, _ in wanted),
        msisdn_first=dfsp.msisdn_first,
        msisdn_count=dfsp.msisdn_count,
        looked_up=looked_up,
    )


def _active(dfsp: Dfsp, found: tuple[Account, ...], kind: str) -> Account:
    for account in found:
        if account.account_type == kind and account.currency == dfsp.currency:
            if not account.is_active:
                raise _mismatch(dfsp, f"{kind} account", "active", "inactive")
            return account
    raise _mismatch(dfsp, f"{kind} account", f"one in {dfsp.currency}", "none")


def _payer_url(plan: Plan, environment: Environment, payee: Dfsp) -> str:
    """Return the outbound API of the first payer that is not the payee itself."""
    for dfsp in plan.dfsps:
        if "payer" in dfsp.roles and dfsp.fsp_id != payee.fsp_id:
            return environment.dfsp(dfsp.fsp_id).outbound_url
    raise InfrastructureError(
        f"no payer can look up {payee.fsp_id}, expected a DFSP with the role payer",
        remedy="give a DFSP of the dfsps file the role payer",
    )


async def _look_up(admin: Admin, outbound_url: str, payee: Dfsp) -> None:
    """Look the payee's first MSISDN up as k6 will: through a payer DFSP and the hub."""
    step = Step(
        name=f"look-up of {payee.msisdn_first}",
        method="GET",
        url=f"{outbound_url}/parties/MSISDN/{payee.msisdn_first}",
        accepted=(Accepted(status=200),),
    )
    deadline = time.monotonic() + LOOK_UP_TIMEOUT_S
    response = await admin.send(step)
    while response.status != 200 and time.monotonic() < deadline:
        await asyncio.sleep(_INTERVAL_S)
        response = await admin.send(step)
    seen = _fsp_id(admin.judge(step, response).body)
    if seen != payee.fsp_id:
        raise _mismatch(payee, f"look-up of {payee.msisdn_first}", payee.fsp_id, str(seen))


def _fsp_id(body: Any) -> Any:
    try:
        return body["party"]["body"]["partyIdInfo"]["fspId"]
    except (TypeError, KeyError):
        return msgspec.json.encode(body)[:200].decode()


def _mismatch(dfsp: Dfsp, field: str, wanted: str, seen: str) -> InfrastructureError:
    return InfrastructureError(
        f"{field} of {dfsp.fsp_id} is {seen} at the hub, expected {wanted}",
        remedy="run the onboarding again; if it stays so, use a fresh hub or mend it by the hub's admin API",
    )
