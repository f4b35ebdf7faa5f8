"""PASS, FAIL or INVALID, and why, in one sentence."""

from __future__ import annotations

from typing import Literal

from pytest_mojaloop_perf.metrics import parse_metric
from pytest_mojaloop_perf.model import (
    Gate,
    LoadRun,
    Measurement,
    ObjectiveResult,
    Plan,
    Reconciliation,
    SecurityObserved,
    Verdict,
)
from pytest_mojaloop_perf.units import apart, format_number
from pytest_mojaloop_perf.verdict.bottleneck import slowest_leg, what_ran_out
from pytest_mojaloop_perf.verdict.gates import validity_gates
from pytest_mojaloop_perf.verdict.objectives import judge_objectives, limit_text, wanted_text

__all__ = ["judge"]

_NAMED_AT_MOST = 3
_COUNTS = ("money_defects", "security_breaches")
_ABOUT_RESOURCES = ("generator-cpu", "start-lateness", "arrivals", "steady-window", "interrupted")
"""Gates that fail when something ran out, which the sentence then names."""


def judge(
    plan: Plan,
    load: LoadRun,
    measurement: Measurement,
    *,
    reconciliation: Reconciliation | None,
    security: tuple[SecurityObserved, ...] = (),
    further_gates: tuple[Gate, ...] = (),
) -> Verdict:
    """Return the verdict on a run.

    INVALID when any gate does not hold, else FAIL when any objective is missed, else PASS. Deterministic,
    and from its arguments alone: a stored run is judged again by calling it again.

    Args:
        plan: names the profile whose objectives and limits apply.
        load: what the generator did.
        measurement: what was measured over the steady window.
        reconciliation: what the ledger says; None when it was not read.
        security: what the probes saw, before and after the load.
        further_gates: gates of others, judged like our own.
    """
    gates = (*validity_gates(plan, load, measurement, reconciliation), *further_gates)
    objectives = judge_objectives(plan.profile, measurement, reconciliation, security)
    failed = [gate for gate in gates if not gate.ok]
    missed = [result for result in objectives if not result.met]
    if not failed and not missed:
        return Verdict(
            outcome="PASS", sentence=_pass_sentence(objectives), gates=gates, objectives=objectives
        )
    if failed:
        clause = _gates_clause(failed)
        about_resources = any(gate.name in _ABOUT_RESOURCES for gate in failed)
        cause = what_ran_out(load, measurement, plan.profile.validity) if about_resources else ""
    else:
        clause = _missed_clause(missed, measurement)
        about_speed = any(result.objective.metric == "tps" or _is_latency(result) for result in missed)
        cause = _cause_of_slowness(plan, load, measurement) if about_speed else ""
    outcome: Literal["FAIL", "INVALID"] = "INVALID" if failed else "FAIL"
    return Verdict(
        outcome=outcome,
        sentence=f"{outcome}: {clause}; {cause}" if cause else f"{outcome}: {clause}",
        gates=gates,
        objectives=objectives,
        bottleneck=cause,
    )


def _cause_of_slowness(plan: Plan, load: LoadRun, measurement: Measurement) -> str:
    ran_out = what_ran_out(load, measurement, plan.profile.validity)
    return ran_out or slowest_leg(measurement)


def _is_latency(result: ObjectiveResult) -> bool:
    return parse_metric(result.objective.metric).kind == "latency"


def _gates_clause(failed: list[Gate]) -> str:
    first = failed[0].explanation or f"{failed[0].name} is {failed[0].observed}, wanted {failed[0].wanted}"
    others = [gate.name for gate in failed[1:]]
    return f"{first} (also: {', '.join(others)})" if others else first


def _missed_clause(missed: list[ObjectiveResult], measurement: Measurement) -> str:
    clauses = [_missed(result, measurement) for result in missed[:_NAMED_AT_MOST]]
    if len(missed) > _NAMED_AT_MOST:
        clauses.append(f"{len(missed) - _NAMED_AT_MOST} more missed")
    return ", ".join(clauses)


def _missed(result: ObjectiveResult, measurement: Measurement) -> str:
    objective, measured = result.objective, result.measured
    metric = parse_metric(objective.metric)
    if measured is None:
        return f"{metric.label} not known"
    figure = apart(measured, objective.limit)
    if metric.name == "tps":
        return f"{figure} of {limit_text(objective.limit)} TPS"
    if metric.name in _COUNTS:
        return f"{figure} {metric.label}"
    text = f"{metric.label} {figure}{metric.unit} (wanted {wanted_text(objective)})"
    if metric.name == "success_percent" and measurement.failures:
        name, count = measurement.failures[0]
        text += f", most often {name} ({format_number(count)})"
    return text


def _pass_sentence(objectives: tuple[ObjectiveResult, ...]) -> str:
    clauses = []
    for result in objectives[:_NAMED_AT_MOST]:
        metric = parse_metric(result.objective.metric)
        assert result.measured is not None, "a figure that is refused meets nothing"
        figure = apart(result.measured, result.objective.limit)
        if metric.name == "tps":
            clauses.append(f"{figure} TPS (wanted {wanted_text(result.objective)})")
        else:
            clauses.append(f"{metric.label} {figure}{metric.unit} (wanted {wanted_text(result.objective)})")
    return f"PASS: {', '.join(clauses)}"
