"""TPS and latency over time as SVG text: no library, no external resource, right in light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pytest_mojaloop_perf.model import Objective, Second
from pytest_mojaloop_perf.report.axes import (
    Frame,
    Scale,
    condense,
    duration_tick,
    log_ticks,
    nice_ticks,
    time_ticks,
)
from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.report.figures import metric_title, milliseconds
from pytest_mojaloop_perf.report.spread import distribution_chart
from pytest_mojaloop_perf.report.svg import FRAMES, Size, document, path, rule, text_at
from pytest_mojaloop_perf.units import format_number

__all__ = ["CHARTS", "latency_chart", "throughput_chart", "window_in_run_s"]

_LINEAR_MOST = 8
"""How far above a usual second a linear scale may reach before that second is a flat line at its foot."""

_LETTER = 6.4
"""Mean width of a letter at 12 units, for placing what follows a text."""


def throughput_chart(bundle: RunBundle, size: Size = "wide") -> str | None:
    """Return TPS over time: offered, committed, failed, the target and the steady window."""
    measured = bundle.measurement
    if measured is None or not measured.seconds:
        return None
    frame = FRAMES[size]
    seconds, step = condense(measured.seconds, frame.points)
    target = bundle.plan.profile.load.tps
    highest = max(target, *(max(second.arrivals, second.committed, second.failed) for second in seconds))
    x, y = _time_scale(frame, measured.seconds), _rising(frame, highest * 1.08)
    offered = [(x.at(second.at_s), y.at(second.arrivals)) for second in seconds]
    committed = [(x.at(second.at_s), y.at(second.committed)) for second in seconds]
    limit = rule(frame.left, y.at(target), frame.x_end, y.at(target), "limit")
    marks = [path("offered", offered), limit, path("committed", committed)]
    keys = [("line offered", "offered"), ("line committed", "committed")]
    if any(second.failed for second in seconds):
        marks.append(path("failed", [(x.at(second.at_s), y.at(second.failed)) for second in seconds]))
        keys.append(("line failed", "failed"))
    keys.append(("limit", f"target {format_number(target)}"))
    parts = [*_window(bundle, frame, x), *_y_axis(frame, y, 5), *_x_axis(frame, x), *marks]
    title = f"TPS over time: {format_number(measured.tps)} committed per second in the steady window"
    return document(frame, "tps", title, [*_legend(frame, keys, _per_point(step, "TPS")), *parts])


def latency_chart(bundle: RunBundle, size: Size = "wide") -> str | None:
    """Return end-to-end p50 and p95 per second, with the objective where there is one."""
    measured = bundle.measurement
    if measured is None:
        return None
    known = [second.e2e_p95_ms for second in measured.seconds if second.e2e_p95_ms is not None]
    if not known:
        return None
    frame = FRAMES[size]
    seconds, step = condense(measured.seconds, frame.points)
    objective = _latency_objective(bundle)
    limit = objective.limit if objective else 0.0
    x, y = _time_scale(frame, measured.seconds), _latency_scale(frame, seconds, known, limit)
    keys, marks = [("line p50", "p50"), ("line p95", "p95")], []
    if objective:
        marks.append(rule(frame.left, y.at(limit), frame.x_end, y.at(limit), "limit"))
        keys.append(("limit", f"{metric_title(objective.metric)} {objective.op} {format_number(limit)} ms"))
    marks += [
        path("p95", [(x.at(second.at_s), _maybe(y, second.e2e_p95_ms)) for second in seconds]),
        path("p50", [(x.at(second.at_s), _maybe(y, second.e2e_p50_ms)) for second in seconds]),
    ]
    parts = [*_window(bundle, frame, x), *_y_axis(frame, y, 5), *_x_axis(frame, x), *marks]
    unit = _per_point(step, "ms, log scale" if y.kind == "log" else "ms")
    title = f"End-to-end latency over time: p95 {milliseconds(measured.e2e.p95_ms)} ms in the steady window"
    return document(frame, "latency", title, [*_legend(frame, keys, unit), *parts])


def window_in_run_s(bundle: RunBundle) -> tuple[float, float]:
    """Return start and end of the steady window in seconds since the first arrival."""
    shape = bundle.plan.profile.load
    if bundle.measurement is None or bundle.load is None:
        return shape.warmup_s, shape.duration_s - shape.cooldown_s
    zero, window = bundle.load.first_arrival_ms, bundle.measurement.window
    return (window.start_ms - zero) / 1000.0, (window.end_ms - zero) / 1000.0


def _legend(frame: Frame, keys: Sequence[tuple[str, str]], unit: str) -> list[str]:
    parts, x = [], float(frame.left)
    for kind, label in keys:
        parts.append(rule(x, 14, x + 18, 14, kind))
        parts.append(text_at(x + 24, 18, label, "key"))
        x += 24 + len(label) * _LETTER + 16
    return [*parts, text_at(frame.x_end, frame.top - 6, unit, "tick", "end")]


def _per_point(step: int, unit: str) -> str:
    return f"{unit}, per second" if step == 1 else f"{unit}, a point is {step} s"


def _window(bundle: RunBundle, frame: Frame, x: Scale) -> list[str]:
    start_s, end_s = window_in_run_s(bundle)
    left, right = x.at(start_s), x.at(end_s)
    if right <= left:
        return []
    height = frame.y_end - frame.top
    box = (
        f'<rect class="window" x="{left:.1f}" y="{frame.top}" width="{right - left:.1f}" height="{height}"/>'
    )
    edges = [rule(side, frame.top, side, frame.y_end, "window-edge") for side in (left, right)]
    return [box, *edges, text_at(left + 5, frame.top - 6, "steady window", "tick")]


def _time_scale(frame: Frame, seconds: Sequence[Second]) -> Scale:
    end_s = max(second.at_s for second in seconds)
    return Scale(low=0.0, high=max(end_s, 1.0), start=frame.left, end=frame.x_end)


def _rising(frame: Frame, high: float) -> Scale:
    top = nice_ticks(high, 5)[-1]
    return Scale(low=0.0, high=top, start=frame.y_end, end=frame.top)


def _latency_scale(frame: Frame, seconds: Sequence[Second], p95: Sequence[float], limit: float) -> Scale:
    """Return a linear scale, or a logarithmic one where bad seconds or a far limit would flatten the rest."""
    highest, usual = max(*p95, limit), sorted(p95)[len(p95) // 2]
    lows = [second.e2e_p50_ms for second in seconds if second.e2e_p50_ms]
    if not lows or highest <= _LINEAR_MOST * max(usual, 1e-9):
        return _rising(frame, highest * 1.05)
    power = 10.0 ** math.floor(math.log10(min(lows)))
    low = max(step * power for step in (1, 2, 5) if step == 1 or step * power <= min(lows))
    high = 10.0 ** (math.ceil(math.log10(highest) * 4) / 4)
    return Scale(low=low, high=max(high, low * 10), start=frame.y_end, end=frame.top, kind="log")


def _maybe(scale: Scale, value: float | None) -> float | None:
    return None if value is None else scale.at(value)


def _y_axis(frame: Frame, y: Scale, count: int) -> list[str]:
    ticks = log_ticks(y.low, y.high, 8) if y.kind == "log" else nice_ticks(y.high, count)
    parts = []
    for tick in ticks:
        if tick > y.high * 1.0001:
            continue
        at = y.at(tick)
        parts.append(rule(frame.left, at, frame.x_end, at, "grid"))
        parts.append(text_at(frame.left - 8, at + 4, format_number(tick), "tick", "end"))
    return parts


def _x_axis(frame: Frame, x: Scale) -> list[str]:
    ticks = time_ticks(x.high, frame.ticks)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    parts = [rule(frame.left, frame.y_end, frame.x_end, frame.y_end, "axis")]
    for tick in ticks:
        at = x.at(tick)
        anchor = "end" if at > frame.x_end - 14 else "middle"
        parts.append(text_at(at, frame.y_end + 18, duration_tick(tick, step), "tick", anchor))
    return parts


def _latency_objective(bundle: RunBundle) -> Objective | None:
    """Return the first objective on an end-to-end percentile, preferring p95, which the chart shows."""
    wanted = [one for one in bundle.plan.profile.objectives if one.metric.startswith("e2e_p")]
    return min(wanted, key=lambda one: one.metric != "e2e_p95_ms", default=None)


CHARTS: tuple[tuple[str, str, Callable[[RunBundle, Size], str | None]], ...] = (
    ("tps", "TPS over time", throughput_chart),
    ("latency", "Latency over time", latency_chart),
    ("spread", "Latency by leg", distribution_chart),
)
"""Every chart: its name in the page, its title, and what draws it."""
