"""The figures of a run as text: every report prints the same number in the same words."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Literal

from pytest_mojaloop_perf import units
from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.metrics import parse_metric
from pytest_mojaloop_perf.model import (
    LEGS,
    Interval,
    Latency,
    Measurement,
    ObjectiveResult,
    PairMeasurement,
    Plan,
    Reconciliation,
    SecurityObserved,
    Value,
)
from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.units import format_duration_s, format_number

__all__ = [
    "REFERENCE_NOTICE",
    "TOO_FEW",
    "ObjectiveRow",
    "apart",
    "brief",
    "bytes_text",
    "clean",
    "created_text",
    "interval_text",
    "latencies",
    "load_text",
    "metric_title",
    "metric_unit",
    "milliseconds",
    "money_text",
    "objective_rows",
    "percent",
    "percent_of",
    "security_text",
    "security_wanted",
    "slowest_leg",
    "slowest_pair",
    "utc_text",
]

TOO_FEW = "too few samples"
"""What stands where a percentile would need more samples than there are."""

REFERENCE_NOTICE = (
    "These are figures of the reference switch that ships with this package, not of Mojaloop. "
    "They show that the benchmark works and what this machine can do; they say nothing about Mojaloop."
)

_WHAT = {
    "e2e": "End-to-end",
    "service": "Service time",
    "discovery": "Discovery",
    "quote": "Quote",
    "transfer": "Transfer",
}


class ObjectiveRow(Value, frozen=True, kw_only=True):
    """One objective in words; `state` says which colour and sign it gets."""

    title: str
    wanted: str
    measured: str
    interval: str
    verdict: str
    state: Literal["met", "missed", "open"]
    explanation: str = ""


def clean(text: str) -> str:
    """Return the text on one line, without control characters, so that it cannot steer a terminal."""
    shown = (character if character.isprintable() else " " * character.isspace() for character in text)
    return " ".join("".join(shown).split())


def metric_title(metric: str) -> str:
    """Return `End-to-end p95` for `e2e_p95_ms`; a metric that is not known any more keeps its name."""
    try:
        label = parse_metric(metric).label
    except BadInputError:
        return metric
    return label[:1].upper() + label[1:]


def metric_unit(metric: str) -> str:
    """Return the unit that follows a figure of the metric, with its space."""
    try:
        return parse_metric(metric).unit
    except BadInputError:
        return ""


def apart(value: float, limit: float) -> str:
    """Return the value with as many digits as it takes to tell it from the limit (`units.apart`)."""
    return units.apart(value, limit) if math.isfinite(value) else TOO_FEW


def brief(text: str) -> str:
    """Return a decimal number without the zeros at its end: `99.5` for `99.50`."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float | None) -> str:
    """Return a share; one that is not quite 100 never reads `100`."""
    return TOO_FEW if value is None else f"{brief(apart(value, 100.0))} %"


def percent_of(part: float, whole: float) -> str:
    """Return the share of `part` in `whole`, or a dash where there is no whole."""
    return percent(100.0 * part / whole) if whole else "-"


def milliseconds(value: float | None) -> str:
    """Return a latency without its unit, or say that there are too few samples."""
    if value is None or not math.isfinite(value):
        return TOO_FEW
    return format_number(value, digits=4 if value < 1000 else 5)


def bytes_text(count: float) -> str:
    """Return `512 KiB`, `34.5 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{format_number(count, digits=3)} {unit}"
        count /= 1024
    return f"{format_number(count, digits=3)} GiB"


def interval_text(interval: Interval | None, *, unit: str = "") -> str:
    """Return `208.1 to 217.4 ms`, or a dash."""
    if interval is None or not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return "-"
    if unit == " %":
        return f"{brief(apart(interval.low, 100.0))} to {brief(apart(interval.high, 100.0))} %"
    return f"{format_number(interval.low)} to {format_number(interval.high)}{unit}"


def objective_rows(bundle: RunBundle) -> list[ObjectiveRow]:
    """Return one row for each objective; without a verdict, what was wanted is all there is to say."""
    if bundle.verdict is None:
        return [
            ObjectiveRow(
                title=metric_title(wanted.metric),
                wanted=f"{wanted.op} {brief(format_number(wanted.limit))}{metric_unit(wanted.metric)}",
                measured="-",
                interval="-",
                verdict="not judged",
                state="open",
            )
            for wanted in bundle.plan.profile.objectives
        ]
    valid = bundle.verdict.outcome != "INVALID"
    return [_row(result, valid=valid) for result in bundle.verdict.objectives]


def _row(result: ObjectiveResult, *, valid: bool) -> ObjectiveRow:
    wanted, unit = result.objective, metric_unit(result.objective.metric)
    state: Literal["met", "missed", "open"] = "met" if result.met else "missed"
    return ObjectiveRow(
        title=metric_title(wanted.metric),
        wanted=f"{wanted.op} {brief(format_number(wanted.limit))}{unit}",
        measured=_measured(result, unit),
        interval=interval_text(result.interval, unit=unit),
        verdict=state if valid else "not judged",
        state=state if valid else "open",
        explanation=_news(result),
    )


def _news(result: ObjectiveResult) -> str:
    """Return the explanation, unless it is only the row over again in a sentence."""
    label = metric_title(result.objective.metric).lower()
    text = result.explanation
    repeats = text.lower().startswith(f"{label} is ") and ", wanted " in text and ";" not in text
    return "" if repeats and result.measured is not None else text


def _measured(result: ObjectiveResult, unit: str) -> str:
    value = result.measured
    if value is None or not math.isfinite(value):
        # A count needs no samples: where there is none, nobody looked.
        return TOO_FEW if unit == " ms" else "not known"
    text = apart(value, result.objective.limit)
    return f"{brief(text) if unit == ' %' else text}{unit}"


def latencies(measurement: Measurement) -> list[tuple[str, Latency]]:
    """Return the legs in their order, then the end-to-end and service time, each with its printed name."""
    known = dict(measurement.legs)
    legs = [(_WHAT[name], known[name]) for name in LEGS if name in known]
    return [*legs, (_WHAT["e2e"], measurement.e2e), (_WHAT["service"], measurement.service)]


def slowest_leg(measurement: Measurement) -> str | None:
    """Return the name of the leg with the highest p95 (p50 where no leg has one), or None."""
    for stat in ("p95_ms", "p50_ms"):
        known = [(getattr(latency, stat), name) for name, latency in measurement.legs]
        rated = [(value, name) for value, name in known if value is not None]
        if rated:
            return max(rated)[1]
    return None


def slowest_pair(measurement: Measurement) -> tuple[PairMeasurement, str, float] | None:
    """Return the slowest pair, by which percentile, and its value in ms; None without any percentile.

    Pairs are compared by p95, or by p50 where most of them have too few samples for a p95: the only pair
    with a p95 is the busiest one, and not for that the slowest.
    """
    for stat in ("p95", "p50"):
        known = [(getattr(pair.e2e, f"{stat}_ms"), pair) for pair in measurement.pairs]
        rated = [(value, pair) for value, pair in known if value is not None]
        if 2 * len(rated) > len(known):
            value, pair = max(rated, key=lambda rating: rating[0])
            return pair, stat, value
    return None


def security_wanted(plan: Plan) -> str:
    """Return `mTLS, JWS RS256, ILP v1`."""
    wanted = plan.profile.security
    tls = "mTLS" if wanted.mtls else "no mTLS"
    jws = "no JWS" if wanted.jws == "off" else f"JWS {wanted.jws}"
    return f"{tls}, {jws}, ILP v{wanted.ilp}"


def security_text(observed: tuple[SecurityObserved, ...]) -> str:
    """Return how many probes were refused, before and after the load."""
    if not observed:
        return "no probe was made"
    parts = []
    for when in observed:
        refused = sum(probe.ran and probe.refused and not probe.moved_money for probe in when.probes)
        moved = sum(probe.moved_money for probe in when.probes)
        money = f" ({moved} MOVED MONEY)" if moved else ""
        parts.append(f"{refused} of {len(when.probes)} probes refused {when.when} the load{money}")
    return ", ".join(parts)


def money_text(reconciliation: Reconciliation | None) -> str:
    """Return the outcome of the reconciliation in one sentence."""
    if reconciliation is None:
        return "not reconciled"
    counts = (
        f"{format_number(reconciliation.transfers)} transfers, "
        f"{format_number(reconciliation.committed)} committed, "
        f"{format_number(reconciliation.aborted)} aborted, "
        f"{format_number(reconciliation.in_flight)} in flight"
    )
    found = sum(defect.count for defect in reconciliation.defects)
    if found:
        classes = ", ".join(f"{defect.check} {defect.count:,}" for defect in reconciliation.defects)
        return f"NOT conserved: {classes} ({counts})"
    unknown = reconciliation.committed_but_payer_saw_error
    told = f"; {unknown:,} committed though the payer saw an error" if unknown else ""
    return f"conserved: {counts}{told}"


def utc_text(epoch_ms: float) -> str:
    """Return a point in time as `2026-03-01 12:00:00 UTC`."""
    return datetime.fromtimestamp(epoch_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def created_text(plan: Plan) -> str:
    """Return when the plan was made, in the form that people write."""
    return plan.created.replace("T", " ").replace("Z", " UTC").replace("+00:00", " UTC")


def load_text(plan: Plan) -> str:
    """Return `50 TPS for 1m00s`."""
    load = plan.profile.load
    return f"{format_number(load.tps)} TPS for {format_duration_s(load.duration_s)}"
