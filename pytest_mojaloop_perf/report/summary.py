"""The run as Markdown, for the summary page of a CI job or a comment; nothing is sent anywhere."""

from __future__ import annotations

from pathlib import Path

from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.report.figures import (
    REFERENCE_NOTICE,
    clean,
    latencies,
    load_text,
    milliseconds,
    money_text,
    objective_rows,
    percent_of,
    security_text,
    security_wanted,
    slowest_pair,
)
from pytest_mojaloop_perf.units import format_number

__all__ = ["SUMMARY_FILE", "markdown", "write"]

SUMMARY_FILE = "summary.md"

_SIGNS = {"PASS": "✅", "FAIL": "❌", "INVALID": "⚠️"}
_SPECIAL = str.maketrans({character: f"\\{character}" for character in r"\`*_{}[]()#!|~$@"})


def write(bundle: RunBundle, path: Path | None = None) -> Path:
    """Write the Markdown, by default into the run folder, and return its path."""
    target = path or bundle.run_folder / SUMMARY_FILE
    target.write_text(markdown(bundle), encoding="utf-8")
    return target


def markdown(bundle: RunBundle) -> str:
    """Return verdict, objectives, legs and the lines on failures, money and security."""
    plan = bundle.plan
    lines = [
        f"## {_SIGNS.get(bundle.outcome, '⚠️')} {bundle.outcome}: {_text(load_text(plan))} on {plan.target}",
        "",
        _text(bundle.sentence),
        "",
        *_gates(bundle),
        *_objectives(bundle),
        *_legs(bundle),
        *_facts(bundle),
    ]
    if plan.switch == "reference":
        lines += ["", f"> {_text(REFERENCE_NOTICE)}"]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """Return foreign text so that Markdown and HTML show it and do nothing else with it."""
    plain = clean(value).translate(_SPECIAL)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(_text(cell) for cell in cells)} |"


def _gates(bundle: RunBundle) -> list[str]:
    failed = [gate for gate in bundle.verdict.gates if not gate.ok] if bundle.verdict else []
    if not failed:
        return []
    rows = [_row([gate.name, gate.wanted, gate.observed]) for gate in failed]
    return ["| Gate that failed | Wanted | Observed |", "|---|---|---|", *rows, ""]


def _objectives(bundle: RunBundle) -> list[str]:
    rows = [
        _row([row.title, row.wanted, row.measured, row.interval, row.verdict])
        for row in objective_rows(bundle)
    ]
    head = "| Objective | Wanted | Measured | 95 % interval | Verdict |"
    return [head, "|---|--:|--:|--:|---|", *rows, ""]


def _legs(bundle: RunBundle) -> list[str]:
    if bundle.measurement is None:
        return []
    rows = []
    for name, latency in latencies(bundle.measurement):
        figures = (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms)
        rows.append(_row([name, *(milliseconds(figure) for figure in figures)]))
    return ["| Latency, ms | p50 | p95 | p99 | max |", "|---|--:|--:|--:|--:|", *rows, ""]


def _facts(bundle: RunBundle) -> list[str]:
    lines = []
    measured = bundle.measurement
    if measured:
        found = slowest_pair(measured)
        if found:
            pair, stat, value = found
            who = f"{_text(pair.payer)} → {_text(pair.payee)}"
            lines.append(f"- Slowest pair: {who}, {stat} {milliseconds(value)} ms")
        classes = ", ".join(
            f"{_text(name)} {format_number(count)} ({percent_of(count, measured.scheduled)})"
            for name, count in measured.failures[:5]
        )
        lines.append(f"- Failures: {classes or 'none'}")
    plan = bundle.plan
    return [
        *lines,
        f"- Money: {_text(money_text(bundle.reconciliation))}",
        f"- Security ({_text(security_wanted(plan))}): {_text(security_text(bundle.security))}",
        f"- Run {_text(plan.run_id)}, profile {_text(plan.profile.name)}, switch {plan.switch}",
    ]
