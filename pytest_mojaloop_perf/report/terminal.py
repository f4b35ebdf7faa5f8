"""What a person reads in the terminal before and after a run: header and summary."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from pytest_mojaloop_perf.model import Measurement, Plan
from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.report.figures import (
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
from pytest_mojaloop_perf.report.live import TerminalProgress, progress_for
from pytest_mojaloop_perf.units import format_number

__all__ = ["TerminalProgress", "header_lines", "progress_for", "summary_lines"]

_FAILURES_SHOWN = 5
_COLOURS = {
    "PASS": "32;1",
    "met": "32",
    "FAIL": "31;1",
    "missed": "31",
    "INVALID": "33;1",
    "NO VERDICT": "33;1",
    "open": "33",
    "faint": "2",
    "bold": "1",
}
_REPORTS = ("report.html", "verdict.json", "measurement.json")


def header_lines(plan: Plan) -> list[str]:
    """Return one line that says what will be measured, where and why there; a second one names faults."""
    k6 = f"k6 {plan.k6}" if plan.k6 else "k6 from PATH, cache or install"
    parts = [
        f"mojaloop {plan.kind}: target {plan.target} ({plan.target_reason})",
        f"switch {plan.switch}",
        load_text(plan),
        f"profile {plan.profile.name}",
        security_wanted(plan),
        k6,
    ]
    lines = [clean("; ".join(parts))]
    if plan.faults:
        named = (f"{f.name}={f.parameter}" if f.parameter else f.name for f in plan.faults)
        lines.append(clean(f"mojaloop {plan.kind}: FAULTS switched on: {', '.join(named)}"))
    return lines


def summary_lines(bundle: RunBundle, width: int = 80, *, color: bool = False) -> list[str]:
    """Return verdict, objectives, legs, slowest pair, failures, money and report paths, to fit `width`.

    Paths are never broken, because one that is broken cannot be copied.
    """
    width = max(40, width)
    paint = _Paint(on=color)
    lines = _verdict(bundle, width, paint)
    if bundle.outcome == "INVALID":
        lines += _failed_gates(bundle, width, paint)
    lines += ["", *_objectives(bundle, width, paint)]
    if bundle.measurement:
        lines += ["", *_legs(bundle.measurement, width, paint), *_slowest(bundle.measurement)]
        lines += _failures(bundle.measurement, width)
    lines += ["", *_labelled("money", money_text(bundle.reconciliation), width)]
    lines += _labelled("security", security_text(bundle.security), width)
    if bundle.plan.switch == "reference":
        lines += _labelled("note", "figures of the reference switch, not of Mojaloop", width)
    return [*lines, *_paths(bundle.run_folder)]


class _Paint:
    """Wraps text in ANSI colours, or does not. Width is reckoned before painting."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, kind: str, text: str) -> str:
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if self._on else text


def _verdict(bundle: RunBundle, width: int, paint: _Paint) -> list[str]:
    lead = f"{bundle.outcome}  "
    sentence = clean(bundle.sentence)
    wrapped = textwrap.wrap(lead + sentence, width, subsequent_indent="  ") or [lead]
    wrapped[0] = paint(bundle.outcome, bundle.outcome) + wrapped[0][len(bundle.outcome) :]
    bottleneck = clean(bundle.verdict.bottleneck) if bundle.verdict else ""
    if bottleneck.lower() not in sentence.lower():
        wrapped += textwrap.wrap(f"  what ran out: {bottleneck}", width, subsequent_indent="    ")
    return wrapped


def _failed_gates(bundle: RunBundle, width: int, paint: _Paint) -> list[str]:
    failed = [gate for gate in bundle.verdict.gates if not gate.ok] if bundle.verdict else []
    lines = []
    for gate in failed:
        lines.append(paint("missed", f"  gate {clean(gate.name)}"))
        text = f"wanted {clean(gate.wanted)}, observed {clean(gate.observed)}"
        if gate.explanation:
            text += f": {clean(gate.explanation)}"
        lines += textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ")
    return lines


def _objectives(bundle: RunBundle, width: int, paint: _Paint) -> list[str]:
    rows = objective_rows(bundle)
    head = ["objective", "wanted", "measured", "95 % interval", "verdict"]
    cells = [[row.title, row.wanted, row.measured, row.interval, row.verdict] for row in rows]
    table = _table([head, *cells], width, right=(1, 2, 3))
    lines = [paint("faint", table[0])]
    for row, line in zip(rows, table[1:], strict=True):
        kept = line.removesuffix(row.verdict)
        lines.append(kept + paint(row.state, row.verdict) if kept != line else line)
        if row.state == "missed" and row.explanation:
            text = clean(row.explanation)
            lines += textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ")
    return lines


def _legs(measurement: Measurement, width: int, paint: _Paint) -> list[str]:
    rows = [["latency, ms", "p50", "p95", "p99", "max"]]
    for name, latency in latencies(measurement):
        figures = (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms)
        rows.append([name.lower(), *(milliseconds(figure) for figure in figures)])
    table = _table(rows, width, right=(1, 2, 3, 4))
    return [paint("faint", table[0]), *table[1:]]


def _slowest(measurement: Measurement) -> list[str]:
    found = slowest_pair(measurement)
    if found is None:
        return []
    pair, stat, value = found
    who = f"{clean(pair.payer)} -> {clean(pair.payee)}"
    return [
        f"  slowest pair: {who}, {stat} {milliseconds(value)} ms of {format_number(pair.committed)} committed"
    ]


def _failures(measurement: Measurement, width: int) -> list[str]:
    if not measurement.failures:
        return ["  failures: none"]
    shown = [
        f"{clean(name)} {format_number(count)} ({percent_of(count, measurement.scheduled)})"
        for name, count in measurement.failures[:_FAILURES_SHOWN]
    ]
    rest = measurement.failures[_FAILURES_SHOWN:]
    if rest:
        shown.append(f"{len(rest)} more classes {format_number(sum(count for _, count in rest))}")
    return _labelled("failures", ", ".join(shown), width)


def _labelled(label: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(f"{label}: {clean(text)}", width, initial_indent="  ", subsequent_indent="    ")


def _paths(folder: Path) -> list[str]:
    report = folder / _REPORTS[0]
    lines = [f"  report: {report}"] if report.exists() else []
    return [*lines, f"  run folder: {folder}"]


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _fit(text: str, columns: int) -> str:
    """Return the text cut to so many columns, the cut marked."""
    if _columns(text) <= columns:
        return text
    while text and _columns(text) > columns - 1:
        text = text[:-1]
    return f"{text}~"


def _table(rows: Sequence[Sequence[str]], width: int, *, right: Sequence[int]) -> list[str]:
    """Return aligned lines of at most `width` columns; the first column gives way when there is no room."""
    widths = [max(_columns(row[index]) for row in rows) for index in range(len(rows[0]))]
    gap = 2
    room = width - 2 - sum(widths[1:]) - gap * (len(widths) - 1)
    widths[0] = max(8, min(widths[0], room))
    lines = []
    for row in rows:
        cells = [_fit(row[0], widths[0]), *row[1:]]
        padded = []
        for index, cell in enumerate(cells):
            space = " " * (widths[index] - _columns(cell))
            padded.append(space + cell if index in right else cell + space)
        lines.append(("  " + (" " * gap).join(padded)).rstrip())
    return lines
