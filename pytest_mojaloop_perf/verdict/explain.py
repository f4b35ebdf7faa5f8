"""What an assertion says when it does not hold: the number, the objective, the slowest parts, the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_mojaloop_perf.metrics import parse_metric
from pytest_mojaloop_perf.model import (
    Gate,
    Measurement,
    ObjectiveResult,
    PairMeasurement,
    Plan,
    ProbeResult,
    ReconciliationDefect,
    Verdict,
)
from pytest_mojaloop_perf.units import apart, format_number
from pytest_mojaloop_perf.verdict.bottleneck import slowest_leg
from pytest_mojaloop_perf.verdict.objectives import wanted_text

__all__ = ["gates", "money", "objective", "objective_result", "probes", "verdict_lines"]

_FAILURES_SHOWN = 4


def objective_result(verdict: Verdict, metric: str) -> ObjectiveResult | None:
    """Return the result of the objective on that metric, or None when the profile has none."""
    return next((one for one in verdict.objectives if one.objective.metric == metric), None)


def gates(verdict: Verdict) -> str:
    """Return what made the run INVALID: the sentence, then each gate that does not hold."""
    failed = [_gate_line(gate) for gate in verdict.gates if not gate.ok]
    return "\n".join([verdict.sentence, *failed])


def objective(plan: Plan, measurement: Measurement, result: ObjectiveResult, verdict: Verdict) -> str:
    """Return why one objective was missed, with what to look at next."""
    wanted, metric = result.objective, parse_metric(result.objective.metric)
    measured = (
        "refused" if result.measured is None else f"{apart(result.measured, wanted.limit)}{metric.unit}"
    )
    lines = [f"{metric.label}: {measured}, wanted {wanted_text(wanted)} (profile {plan.profile.name})"]
    if result.interval is not None:
        low, high = (format_number(bound) for bound in (result.interval.low, result.interval.high))
        lines.append(f"  {result.interval.confidence_percent:g} % interval: {low} to {high}{metric.unit}")
    if result.explanation:
        lines.append(f"  {result.explanation}")
    leg, pair = slowest_leg(measurement), _slowest_pair(measurement)
    lines += [f"  {text}" for text in (leg, _pair_text(pair), _failures_text(measurement)) if text]
    if verdict.bottleneck and verdict.bottleneck != leg:
        lines.append(f"  what ran out: {verdict.bottleneck}")
    lines.append(f"  open: {_report(plan)}")
    return "\n".join(lines)


def probes(control: str, bad: Sequence[ProbeResult], plan: Plan) -> str:
    """Return which bad messages were not refused, or could not be sent, and how they were answered."""
    lines = [f"{control} is not enforced: {len(bad)} probes"]
    for probe in bad:
        what = "moved money" if probe.moved_money else "was let through" if probe.ran else "was not sent"
        lines.append(f"  {probe.name} {what}: expected {probe.expected}, observed {probe.observed}")
    lines.append(f"  open: {plan.run_folder / 'security-after.json'} and security-before.json beside it")
    return "\n".join(lines)


def money(defects: Sequence[ReconciliationDefect], plan: Plan) -> str:
    """Return which disagreements about money were found, with some transferIds of each."""
    lines = [f"money is not conserved: {format_number(sum(one.count for one in defects))} defects"]
    for defect in defects:
        detail = f": {defect.detail}" if defect.detail else ""
        sample = f"; for example {', '.join(defect.sample)}" if defect.sample else ""
        lines.append(f"  {defect.name}, {format_number(defect.count)} times{detail}{sample}")
    lines.append(f"  open: {plan.run_folder / 'reconciliation.json'}")
    return "\n".join(lines)


def verdict_lines(verdict: Verdict) -> list[str]:
    """Return the verdict as plain lines: the sentence, a table of objectives, and the gates that failed."""
    valid = verdict.outcome != "INVALID"
    rows = [("objective", "wanted", "measured", "95 % interval", "")]
    for result in verdict.objectives:
        metric, unit = parse_metric(result.objective.metric), parse_metric(result.objective.metric).unit
        measured = (
            "too few samples"
            if result.measured is None
            else apart(result.measured, result.objective.limit) + unit
        )
        interval = result.interval
        bounds = f"{format_number(interval.low)} to {format_number(interval.high)}{unit}" if interval else "-"
        judged = ("met" if result.met else "MISSED") if valid else "not judged"
        rows.append((metric.label, wanted_text(result.objective), measured, bounds, judged))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [verdict.sentence, *table, *(_gate_line(gate) for gate in verdict.gates if not gate.ok)]


def _gate_line(gate: Gate) -> str:
    why = f": {gate.explanation}" if gate.explanation else ""
    return f"  gate {gate.name}: {gate.observed}, wanted {gate.wanted}{why}"


def _slowest_pair(measurement: Measurement) -> PairMeasurement | None:
    rated = [pair for pair in measurement.pairs if pair.e2e.p95_ms is not None]
    return max(rated, key=lambda pair: pair.e2e.p95_ms or 0.0, default=None)


def _pair_text(pair: PairMeasurement | None) -> str:
    if pair is None or pair.e2e.p95_ms is None:
        return ""
    p95 = format_number(pair.e2e.p95_ms, digits=3)
    return (
        f"the slowest pair is {pair.payer} -> {pair.payee} (p95 {p95} ms of {format_number(pair.committed)})"
    )


def _failures_text(measurement: Measurement) -> str:
    shown = [f"{name} {format_number(count)}" for name, count in measurement.failures[:_FAILURES_SHOWN]]
    return f"failures: {', '.join(shown)}" if shown else ""


def _report(plan: Plan) -> Path:
    return plan.run_folder / "report.html"
