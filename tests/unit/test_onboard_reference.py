"""Onboarding against the real reference hub, over mTLS and with signatures."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import msgspec
import pytest

from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.measure.reconcile import snapshot
from pytest_mojaloop_perf.model import Environment, Plan
from pytest_mojaloop_perf.onboard import onboard
from pytest_mojaloop_perf.progress import Silent

Switch = tuple[Plan, Environment]


def balances(environment: Environment) -> dict[tuple[str, str], int]:
    return {(one.fsp_id, one.account_type): one.value_e4 for one in snapshot(environment).accounts}


def test_a_first_onboarding_is_verified(switch: Switch) -> None:
    plan, environment = switch
    roster = onboard(plan, environment, progress=Silent())
    assert [one.fsp_id for one in roster.dfsps] == ["fsp201", "fsp202"]
    assert roster.dfsps[1].looked_up == plan.dfsps[1].msisdn_first
    assert roster.already == 0
    assert balances(environment)["fsp201", "SETTLEMENT"] == -1_000_000_000_000
    assert environment.ledger is not None
    with closing(sqlite3.connect(f"file:{environment.ledger}?mode=ro", uri=True)) as ledger:
        owned = dict(ledger.execute("SELECT partyIdentifier, fspId FROM oracleParty").fetchall())
    assert owned == {msisdn: dfsp.fsp_id for dfsp in plan.dfsps for msisdn in dfsp.msisdns()}


def test_a_repetition_changes_nothing(switch: Switch) -> None:
    plan, environment = switch
    before = balances(environment)
    first = onboard(plan, environment, progress=Silent())
    again = onboard(plan, environment, progress=Silent())
    assert again.dfsps == first.dfsps
    assert balances(environment) == before
    assert again.already == 5 + 2 * 23 + 21


def test_more_funds_and_another_limit_are_put_right(switch: Switch) -> None:
    plan, environment = switch
    dfsps = tuple(msgspec.structs.replace(one, ndc="50000", funds_in="100000001.5") for one in plan.dfsps)
    roster = onboard(msgspec.structs.replace(plan, dfsps=dfsps), environment, progress=Silent())
    assert {one.ndc for one in roster.dfsps} == {"50000"}
    assert {one.settlement for one in roster.dfsps} == {"-100000001.5"}
    assert balances(environment)["fsp202", "SETTLEMENT"] == -1_000_000_015_000


def test_a_name_that_the_hub_refuses_is_told(switch: Switch) -> None:
    plan, environment = switch
    wrong = msgspec.structs.replace(plan.dfsps[0], fsp_id="fsp-201")
    endpoints = msgspec.structs.replace(environment.dfsps[0], fsp_id="fsp-201")
    with pytest.raises(InfrastructureError, match=r"participant fsp-201 was answered 400 code 3100"):
        onboard(
            msgspec.structs.replace(plan, dfsps=(wrong,)),
            msgspec.structs.replace(environment, dfsps=(endpoints,)),
            progress=Silent(),
        )
