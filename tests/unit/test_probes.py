"""The security probes against the real reference switch, sound and with its documented faults."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec
import pytest

from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.faults import parse_fault
from pytest_mojaloop_perf.measure.reconcile import snapshot
from pytest_mojaloop_perf.model import (
    PROBE_FSPS,
    Environment,
    Plan,
    SecurityObserved,
    SecurityProfile,
)
from pytest_mojaloop_perf.onboard import onboard
from pytest_mojaloop_perf.progress import Silent
from pytest_mojaloop_perf.switch import probe_attempts, probe_parties
from pytest_mojaloop_perf.switch.probe_attempts import PROBES
from pytest_mojaloop_perf.switch.probes import probe

Switch = tuple[Plan, Environment]
StartSwitch = Callable[..., AbstractContextManager[Switch]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_attempts, "_ALERT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(probe_parties, "CALLBACK_TIMEOUT_S", 2.0)


def observe(plan: Plan, environment: Environment) -> SecurityObserved:
    return probe(plan, environment, "before", progress=Silent())


def failed(observed: SecurityObserved) -> set[str]:
    """Return the controls of which a probe was not refused."""
    return {one.control for one in observed.probes if one.ran and not one.refused}


def test_a_sound_switch_refuses_every_probe_and_no_money_moves(switch: Switch) -> None:
    plan, environment = switch
    onboard(plan, environment, progress=Silent())
    for when in ("before", "after"):
        observed = probe(plan, environment, when, progress=Silent())
        assert observed.when == when
        assert [one.name for one in observed.probes] == [one.name for one in PROBES]
        for one in observed.probes:
            assert (one.ran, one.refused, one.moved_money) == (True, True, False), one


def test_what_was_observed_is_told(switch: Switch) -> None:
    told = {one.name: one.observed for one in observe(*switch).probes}
    assert told["altered body"] == "status 400 with error code 3105"
    assert told["wrong condition"].endswith("from fsp202")
    assert "callback error 3100 from Hub" in told["wrong fulfilment"]
    assert "handshake" in told["no client certificate"] or "alert" in told["no client certificate"]


def test_only_the_honest_messages_move_money(switch: Switch) -> None:
    plan, environment = switch

    def positions() -> dict[str, int]:
        return {
            one.fsp_id: one.value_e4
            for one in snapshot(environment).accounts
            if one.account_type == "POSITION"
        }

    before = positions()
    observe(plan, environment)
    moved = {fsp: value - before[fsp] for fsp, value in positions().items() if value != before[fsp]}
    payer, payee = PROBE_FSPS
    # One transfer between the two, and one to the DFSP that quoted it.
    assert moved == {payer: 20_000, payee: -10_000, "fsp202": -10_000}


@pytest.mark.parametrize(
    ("fault", "control"), [("no-jws-check", "jws"), ("no-client-certificate-check", "mtls")]
)
def test_a_switch_without_a_check_fails_exactly_the_probes_of_it(
    start_switch: StartSwitch, fault: str, control: str
) -> None:
    with start_switch(faults=(parse_fault(fault),)) as (plan, environment):
        onboard(plan, environment, progress=Silent())
        observed = observe(plan, environment)
    assert failed(observed) == {control}
    assert all(not one.refused for one in observed.probes if one.control == control)
    assert any(one.moved_money for one in observed.probes if one.control == control)
    assert not any(one.moved_money for one in observed.probes if one.control != control)


@pytest.mark.parametrize(
    "faults", [("error-callbacks=25", "booked-twice=1"), ("not-reversed=3",), ("slow-leg=transfer:600",)]
)
def test_other_faults_do_not_fail_the_probes(start_switch: StartSwitch, faults: tuple[str, ...]) -> None:
    with start_switch(faults=tuple(parse_fault(one) for one in faults)) as (plan, environment):
        onboard(plan, environment, progress=Silent())
        observed = observe(plan, environment)
    assert not failed(observed)
    assert not any(one.moved_money for one in observed.probes)


def test_version_4_packets_and_rs256_are_probed_too(start_switch: StartSwitch) -> None:
    with start_switch(security=SecurityProfile(jws="RS256", ilp="4")) as (plan, environment):
        onboard(plan, environment, progress=Silent())
        assert not failed(observe(plan, environment))


def test_what_the_profile_leaves_out_is_not_probed(start_switch: StartSwitch) -> None:
    with start_switch(security=SecurityProfile(mtls=False, jws="off")) as (plan, environment):
        onboard(plan, environment, progress=Silent())
        observed = observe(plan, environment)
    assert {one.control for one in observed.probes if one.ran} == {"ilp"}
    assert not failed(observed)
    assert all("off in the profile" in one.observed for one in observed.probes if not one.ran)


def test_a_refusal_proves_nothing_when_the_honest_message_is_refused(
    switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_parties, "AMOUNT", "900000000")
    observed = observe(*switch)
    for one in observed.probes:
        if one.name != "missing signature at a DFSP":
            assert not one.refused
            assert "nothing is proved" in one.observed
            assert "4001" in one.observed


def test_without_our_own_material_nothing_is_probed(switch: Switch) -> None:
    plan, environment = switch
    observed = observe(plan, msgspec.structs.replace(environment, security_folder=None))
    assert len(observed.probes) == len(PROBES)
    assert not any(one.ran or one.refused for one in observed.probes)
    assert "not ours" in observed.probes[0].observed


def test_without_material_for_the_probes_participants_nothing_is_probed(switch: Switch) -> None:
    plan, environment = switch
    observed = observe(plan, msgspec.structs.replace(environment, security_folder=plan.run_folder))
    assert not any(one.ran or one.refused for one in observed.probes)
    assert PROBE_FSPS[0] in observed.probes[0].observed


def test_a_hub_that_is_gone_is_an_infrastructure_error(switch: Switch) -> None:
    plan, environment = switch
    nowhere = msgspec.structs.replace(environment.hub, transfers_url="https://127.0.0.1:1")
    with pytest.raises(InfrastructureError, match="security probe got no answer"):
        observe(plan, msgspec.structs.replace(environment, hub=nowhere))
