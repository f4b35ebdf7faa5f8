"""Scales, ticks and paths of the charts: plain arithmetic, no drawing library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pytest_mojaloop_perf.model import Second, Value
from pytest_mojaloop_perf.units import format_number

__all__ = [
    "Frame",
    "Scale",
    "condense",
    "duration_tick",
    "line_path",
    "log_ticks",
    "nice_ticks",
    "time_ticks",
]

_TIME_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


class Scale(Value, frozen=True, kw_only=True):
    """Where a number goes: `low` at pixel `start`, `high` at pixel `end`."""

    low: float
    high: float
    start: float
    end: float
    kind: Literal["linear", "log"] = "linear"

    def at(self, value: float) -> float:
        """Return the pixel, clamped to the scale."""
        if self.kind == "log":
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


class Frame(Value, frozen=True, kw_only=True):
    """The size of a chart and of the area inside its axes, in user units of the SVG."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    points: int
    ticks: int

    @property
    def x_end(self) -> int:
        """Right edge of the area inside the axes."""
        return self.width - self.right

    @property
    def y_end(self) -> int:
        """Lower edge of the area inside the axes."""
        return self.height - self.bottom


def nice_ticks(high: float, count: int) -> list[float]:
    """Return round ticks from 0 to at least `high`, about `count` of them."""
    if not math.isfinite(high) or high <= 0:
        high = 1.0
    raw = high / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    return [round(index * step, 10) for index in range(math.ceil(high / step - 1e-9) + 1)]


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """Return 1-2-5 ticks within a logarithmic scale, or only powers of ten where that is too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    inside = [tick for tick in fine if low <= tick <= high]
    if len(inside) <= count:
        return inside
    return [tick for tick in (10.0**power for power in powers) if low <= tick <= high]


def time_ticks(end_s: float, count: int) -> list[float]:
    """Return round moments from 0 to `end_s`, at most about `count`."""
    step = next((step for step in _TIME_STEPS_S if end_s / step <= count), _TIME_STEPS_S[-1])
    return [float(moment) for moment in range(0, math.floor(end_s) + 1, step)]


def duration_tick(seconds: float, step_s: float) -> str:
    """Return `20 s`, `5 min` or `1.5 h`, in the unit that the distance of the ticks asks for."""
    if step_s < 60:
        return f"{format_number(seconds)} s"
    if step_s < 3600:
        return f"{format_number(seconds / 60)} min"
    return f"{format_number(seconds / 3600, digits=2)} h"


def line_path(points: Sequence[tuple[float, float | None]]) -> str:
    """Return an SVG path through the points; None breaks the line."""
    words: list[str] = []
    pen_up = True
    for x, y in points:
        if y is None:
            pen_up = True
            continue
        words.append(f"{'M' if pen_up else 'L'}{x:.1f} {y:.1f}")
        pen_up = False
    return "".join(words)


def condense(seconds: Sequence[Second], most: int) -> tuple[list[Second], int]:
    """Return at most about `most` points, and how many seconds each stands for.

    Counts become the mean per second. Latencies become the *worst* of the seconds: a spike must not
    vanish because a run was long.
    """
    step = max(1, math.ceil(len(seconds) / most))
    if step == 1:
        return list(seconds), 1
    groups = [seconds[start : start + step] for start in range(0, len(seconds), step)]
    return [_merge(group) for group in groups], step


def _merge(group: Sequence[Second]) -> Second:
    count = len(group)
    return Second(
        at_s=group[0].at_s,
        arrivals=round(sum(second.arrivals for second in group) / count),
        committed=round(sum(second.committed for second in group) / count),
        failed=math.ceil(sum(second.failed for second in group) / count),
        e2e_p50_ms=_worst([second.e2e_p50_ms for second in group]),
        e2e_p95_ms=_worst([second.e2e_p95_ms for second in group]),
    )


def _worst(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
