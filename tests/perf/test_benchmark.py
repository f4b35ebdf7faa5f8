"""The benchmark as a specification: what a switch must show under load before it may be called fast enough.

Run it with `-m perf`, or with `-m smoke` for one minute at a low rate. Each test is one requirement; all
of them look at the same run (fixture `perf_run`). A run that cannot support a conclusion is an error of
every test.
"""

from __future__ import annotations

import pytest

from pytest_mojaloop_perf.fixtures.conduct import Conducted
from pytest_mojaloop_perf.report import allure
from pytest_mojaloop_perf.verdict import explain


def test_the_run_is_valid(perf_run: Conducted) -> None:
    """The generator delivered what was planned, nothing was lost, and nothing foreign disturbed it."""
    allure.label("valid")
    assert all(gate.ok for gate in perf_run.verdict.gates), explain.gates(perf_run.verdict)


def test_objective(perf_run: Conducted, perf_objective: str) -> None:
    """Each objective of the profile is met over the steady window."""
    allure.label("objective")
    result = explain.objective_result(perf_run.verdict, perf_objective)
    if result is None:
        pytest.skip(f"{perf_objective} is not an objective of the profile {perf_run.plan.profile.name}")
    assert result.met, explain.objective(perf_run.plan, perf_run.measurement, result, perf_run.verdict)


@pytest.mark.parametrize("control", ["mtls", "jws", "ilp"])
def test_security_is_enforced(perf_run: Conducted, control: str) -> None:
    """Bad messages are refused as the protocol says, before and after the load, and move no money."""
    allure.label("security")
    security = perf_run.plan.profile.security
    if (control == "mtls" and not security.mtls) or (control == "jws" and security.jws == "off"):
        pytest.skip(f"the profile {perf_run.plan.profile.name} switches {control} off")
    probes = [probe for seen in perf_run.security for probe in seen.probes if probe.control == control]
    assert probes, f"no {control} probe was sent"
    bad = [probe for probe in probes if probe.moved_money or not (probe.ran and probe.refused)]
    assert not bad, explain.probes(control, bad, perf_run.plan)


@pytest.mark.parametrize(
    "check",
    [
        pytest.param("booked-once", id="every transfer is booked exactly once"),
        pytest.param("aborted-net-zero", id="an aborted transfer leaves no trace on a position"),
        pytest.param("positions-add-up", id="positions are the sum of what was booked"),
        pytest.param("parties-agree", id="payer, payee and hub agree on every transfer"),
        pytest.param("in-flight", id="nothing is in flight after the drain"),
    ],
)
def test_money_is_conserved(perf_run: Conducted, check: str) -> None:
    """k6's outcomes, the hub's ledger and the DFSPs' views tell the same story about every transferId."""
    allure.label("money")
    assert perf_run.reconciliation is not None, "there is no ledger to reconcile with"
    defects = [defect for defect in perf_run.reconciliation.defects if defect.check == check]
    assert not defects, explain.money(defects, perf_run.plan)
