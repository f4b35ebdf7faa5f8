"""What onboarding says to a hub besides the participants themselves, and the whole list for a dry run."""

from __future__ import annotations

from decimal import Decimal

from pytest_mojaloop_perf.fspiop.admin import Accepted, Step
from pytest_mojaloop_perf.fspiop.headers import http_date
from pytest_mojaloop_perf.fspiop.participant import (
    callback_endpoints,
    creation_steps,
    endpoint_steps,
    funds_step,
)
from pytest_mojaloop_perf.model import Environment, HubUrls, Plan
from pytest_mojaloop_perf.onboard.parties import MSISDNS_PER_REQUEST, batch_step

__all__ = ["calls", "currencies", "hub_steps"]

CREATED = Accepted(status=201)
_HUB_MAIL = "hub@localhost.example"
_PARTICIPANTS_V1 = "application/vnd.interoperability.participants+json;version=1.0"


def currencies(plan: Plan) -> tuple[str, ...]:
    """Return the currencies of all DFSPs, each once."""
    return tuple(dict.fromkeys(dfsp.currency for dfsp in plan.dfsps))


def hub_steps(hub: HubUrls, currency: str) -> tuple[Step, ...]:
    """Return what must be there before the first participant, in order."""
    return (
        *(
            _hub_account(hub, currency, kind)
            for kind in ("HUB_MULTILATERAL_SETTLEMENT", "HUB_RECONCILIATION")
        ),
        *endpoint_steps(hub.admin_url, "Hub", hub_notices()),
        *_settlement_models(hub, currency),
        _oracle(hub, currency),
    )


def hub_notices() -> tuple[tuple[str, str], ...]:
    """Return the hub's own endpoints: where its notices would be mailed to."""
    return (
        ("SETTLEMENT_TRANSFER_POSITION_CHANGE_EMAIL", _HUB_MAIL),
        ("NET_DEBIT_CAP_ADJUSTMENT_EMAIL", _HUB_MAIL),
        ("NET_DEBIT_CAP_THRESHOLD_BREACH_EMAIL", _HUB_MAIL),
    )


def _hub_account(hub: HubUrls, currency: str, kind: str) -> Step:
    return Step(
        name=f"hub account {kind} {currency}",
        method="POST",
        url=f"{hub.admin_url}/participants/Hub/accounts",
        body={"type": kind, "currency": currency},
        accepted=(CREATED, Accepted(status=400, code="3003")),
    )


def _settlement_models(hub: HubUrls, currency: str) -> tuple[Step, ...]:
    """Return the deferred net models: one for the currency and the default without a currency."""
    model = {
        "settlementGranularity": "NET",
        "settlementInterchange": "MULTILATERAL",
        "settlementDelay": "DEFERRED",
        "requireLiquidityCheck": True,
        "ledgerAccountType": "POSITION",
        "settlementAccountType": "SETTLEMENT",
        "autoPositionReset": True,
    }
    bodies = (
        {"name": f"DEFERREDNET{currency}", **model, "currency": currency},
        {"name": "DEFAULTDEFERREDNET", **model},
    )
    return tuple(
        Step(
            name=f"settlement model {body['name']}",
            method="POST",
            url=f"{hub.admin_url}/settlementModels",
            body=body,
            accepted=(CREATED, Accepted(status=400, code="3000")),
        )
        for body in bodies
    )


def _oracle(hub: HubUrls, currency: str) -> Step:
    """Return the step that registers the MSISDN oracle; releases differ in the status of the repetition."""
    return Step(
        name=f"MSISDN oracle {currency}",
        method="POST",
        url=f"{hub.als_admin_url}/oracles",
        body={
            "oracleIdType": "MSISDN",
            "endpoint": {"value": hub.oracle_url, "endpointType": "URL"},
            "currency": currency,
            "isDefault": True,
        },
        headers=(
            ("content-type", _PARTICIPANTS_V1),
            ("accept", _PARTICIPANTS_V1),
            ("date", http_date()),
        ),
        accepted=(CREATED, Accepted(status=500, code="2001"), Accepted(status=400, code="2001")),
    )


def calls(plan: Plan, environment: Environment) -> list[Step]:
    """Return every writing call of a first onboarding, in order, having sent none: the dry run.

    What only the hub can tell stands in braces. A repeated run leaves out what is there already.
    """
    hub = environment.hub
    steps = [step for currency in currencies(plan) for step in hub_steps(hub, currency)]
    for dfsp in plan.dfsps:
        callback_url = environment.dfsp(dfsp.fsp_id).callback_url
        funds = Decimal(dfsp.funds_in)
        steps += creation_steps(hub.admin_url, dfsp)
        steps += endpoint_steps(hub.admin_url, dfsp.fsp_id, callback_endpoints(callback_url, dfsp.fsp_id))
        steps.append(funds_step(hub.admin_url, dfsp, account="{settlementAccountId}", amount=funds, seen="0"))
        msisdns = dfsp.msisdns()
        steps += (
            batch_step(hub.als_url, dfsp, msisdns[first : first + MSISDNS_PER_REQUEST])
            for first in range(0, len(msisdns), MSISDNS_PER_REQUEST)
        )
    return steps
