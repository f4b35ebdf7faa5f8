"""Was each objective met? Operators mean exactly what they say; a refused figure meets nothing."""

from __future__ import annotations

import operator
from collections.abc import Callable

import msgspec

from pytest_mojaloop_perf.metrics import Metric, parse_metric, samples_needed
from pytest_mojaloop_perf.model import (
    Interval,
    Latency,
    Measurement,
    Objective,
    ObjectiveResult,
    Profile,
    Reconciliation,
    SecurityObserved,
    SecurityProfile,
)
from pytest_mojaloop_perf.units import apart, format_number

__all__ = [
    "judge_objectives",
    "limit_text",
    "money_defects",
    "security_breaches",
    "wanted_text",
]

_HOLDS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


def judge_objectives(
    profile: Profile,
    measurement: Measurement,
    reconciliation: Reconciliation | None,
    security: tuple[SecurityObserved, ...],
) -> tuple[ObjectiveResult, ...]:
    """Return the result of every objective of the profile, and of those that every run has.

    Nobody may write a profile under which money may vanish or a forged message may pass: `money_defects`
    and `security_breaches` must be 0 wherever they were looked for.
    """
    security = _of_wanted_controls(security, profile.security)
    objectives = list(profile.objectives)
    named = {objective.metric for objective in objectives}
    looked_for = {"money_defects": reconciliation is not None, "security_breaches": bool(security)}
    for metric, looked in looked_for.items():
        if looked and metric not in named:
            objectives.append(Objective(metric=metric, op="<=", limit=0))
    return tuple(_judge(one, measurement, reconciliation, security) for one in objectives)


def wanted_text(objective: Objective) -> str:
    """Return what was wanted, for example `< 500 ms`."""
    return f"{objective.op} {limit_text(objective.limit)}{parse_metric(objective.metric).unit}"


def limit_text(limit: float) -> str:
    """Return a limit as somebody would write it: `1,000`, `99.5`, `0.05`."""
    return f"{limit:,.10g}"


def money_defects(reconciliation: Reconciliation | None) -> float | None:
    """Return how many disagreements about money were found; None when nobody looked."""
    return None if reconciliation is None else sum(defect.count for defect in reconciliation.defects)


def security_breaches(security: tuple[SecurityObserved, ...]) -> float | None:
    """Return how many bad messages were let through, moved money, or could not be sent.

    What could not be sent is not proved, and so counts. None when there was no probe.
    """
    probes = [probe for observed in security for probe in observed.probes]
    return sum(not (probe.ran and probe.refused) or probe.moved_money for probe in probes) if probes else None


def _of_wanted_controls(
    security: tuple[SecurityObserved, ...], wanted: SecurityProfile
) -> tuple[SecurityObserved, ...]:
    """Leave out the probes of what the profile switches off."""
    off = (set() if wanted.mtls else {"mtls"}) | ({"jws"} if wanted.jws == "off" else set())
    return tuple(
        msgspec.structs.replace(
            observed, probes=tuple(probe for probe in observed.probes if probe.control not in off)
        )
        for observed in security
    )


def _judge(
    objective: Objective,
    measurement: Measurement,
    reconciliation: Reconciliation | None,
    security: tuple[SecurityObserved, ...],
) -> ObjectiveResult:
    metric = parse_metric(objective.metric)
    measured = {
        "tps": measurement.tps,
        "success_percent": measurement.success_percent,
        "unanswered_percent": measurement.unanswered_percent,
        "money_defects": money_defects(reconciliation),
        "security_breaches": security_breaches(security),
    }.get(metric.name)
    if metric.kind == "latency":
        measured = getattr(_latency(metric, measurement), f"{metric.stat}_ms")
    met = measured is not None and _HOLDS[objective.op](measured, objective.limit)
    explanation = "" if met else _explain_miss(objective, metric, measured, measurement)
    hidden = _unanswered_beyond(metric, measurement)
    if met and hidden:
        met, explanation = False, hidden
    return ObjectiveResult(
        objective=objective,
        measured=measured,
        met=met,
        interval=_interval(metric.name, measurement),
        explanation=explanation,
    )


def _latency(metric: Metric, measurement: Measurement) -> Latency:
    whole = {"e2e": measurement.e2e, "service": measurement.service}
    return whole.get(metric.what) or measurement.leg(metric.what)


def _interval(name: str, measurement: Measurement) -> Interval | None:
    return {
        "e2e_p95_ms": measurement.e2e_p95_interval,
        "success_percent": measurement.success_interval,
    }.get(name)


def _explain_miss(
    objective: Objective, metric: Metric, measured: float | None, measurement: Measurement
) -> str:
    if measured is not None:
        figure = apart(measured, objective.limit)
        return f"{metric.label} is {figure}{metric.unit}, wanted {wanted_text(objective)}"
    if metric.kind == "latency":
        count = _latency(metric, measurement).count
        return (
            f"{metric.label} is refused: {format_number(count)} committed transactions, "
            f"and it takes {format_number(samples_needed(metric.stat))} to tell it"
        )
    return f"{metric.label} was not observed"


def _unanswered_beyond(metric: Metric, measurement: Measurement) -> str:
    """Return why a percentile of the committed does not hold for all, or nothing when it does.

    A transaction without an answer took longer than anybody waited. When more of them are missing from
    the sample than lie beyond the percentile, the percentile of all transactions has no upper bound.
    """
    if metric.kind != "latency" or measurement.scheduled == 0:
        return ""
    if metric.what in ("e2e", "service"):
        without = measurement.unanswered_percent + 100.0 * measurement.not_started / measurement.scheduled
    else:
        timeouts = dict(measurement.failures).get(f"{metric.what}:timeout", 0)
        without = 100.0 * timeouts / measurement.scheduled
    beyond = 0.0 if metric.stat == "max" else 100.0 - float(metric.stat.removeprefix("p"))
    if without <= beyond:
        return ""
    return (
        f"{format_number(without)} % of the transactions have no answer at all, "
        f"so {metric.label} of the others says nothing about all of them"
    )
