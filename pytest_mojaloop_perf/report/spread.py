"""How the latencies of each leg are spread: one row of shapes on a common logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pytest_mojaloop_perf.model import Latency, Value
from pytest_mojaloop_perf.report.axes import Frame, Scale, log_ticks
from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.report.figures import milliseconds
from pytest_mojaloop_perf.report.svg import FRAMES, Size, document, rule, text_at
from pytest_mojaloop_perf.units import format_number

__all__ = ["distribution_chart"]

_ROW_HEIGHT = 76
_STATS = ("p50", "p95", "p99")
_TITLES = {"discovery": "Discovery", "quote": "Quote", "transfer": "Transfer", "e2e": "End-to-end"}

Bins = tuple[tuple[float, int], ...]
"""Upper bound in ms and count, ascending."""


def distribution_chart(bundle: RunBundle, size: Size = "wide") -> str | None:
    """Return how the latencies of each leg and end to end are spread, on one logarithmic axis."""
    measured = bundle.measurement
    if measured is None:
        return None
    histograms = {
        name: bins for name, bins in measured.histograms if any(count for edge, count in bins if edge > 0)
    }
    names = [name for name in _TITLES if name in histograms]
    if not names:
        return None
    base = FRAMES[size]
    frame = Frame(
        width=base.width,
        height=12 + _ROW_HEIGHT * len(names) + base.bottom,
        left=10,
        right=14,
        top=12,
        bottom=base.bottom,
        points=base.points,
        ticks=base.ticks,
    )
    x = _spread_scale(frame, [histograms[name] for name in names])
    figures = {"e2e": measured.e2e, **dict(measured.legs)}
    parts = _log_axis(frame, x)
    for index, name in enumerate(names):
        floor = frame.top + _ROW_HEIGHT * (index + 1) - 6
        row = _Row(name=name, bins=histograms[name], figures=figures.get(name), floor=floor)
        parts += _draw_row(frame, x, row, size)
    return document(frame, "spread", "Latency distribution per leg and end to end, in ms, log scale", parts)


def _spread_scale(frame: Frame, histograms: Sequence[Bins]) -> Scale:
    edges = [edge for bins in histograms for edge, count in bins if count and edge > 0] or [1.0]
    low, high = min(edges) / 1.3, max(edges) * 1.3
    return Scale(low=low, high=max(high, low * 10), start=frame.left, end=frame.x_end, kind="log")


def _log_axis(frame: Frame, x: Scale) -> list[str]:
    parts = []
    for tick in log_ticks(x.low, x.high, frame.ticks + 3):
        at = x.at(tick)
        anchor = "end" if at > frame.x_end - 24 else "start" if at < frame.left + 20 else "middle"
        parts.append(rule(at, frame.top, at, frame.y_end, "grid"))
        parts.append(text_at(at, frame.y_end + 18, f"{format_number(tick)} ms", "tick", anchor))
    return parts


class _Row(Value, frozen=True, kw_only=True):
    """What one row shows; `floor` is the line on which its shape stands."""

    name: str
    bins: Bins
    figures: Latency | None
    floor: float


def _draw_row(frame: Frame, x: Scale, row: _Row, size: Size) -> list[str]:
    """Return one row: title and percentiles above, the shape below, p50, p95 and p99 as marks in it."""
    floor, ceiling = row.floor, row.floor - _ROW_HEIGHT + 30
    parts = [rule(frame.left, floor, frame.x_end, floor, "axis")]
    parts.append(f'<path class="area {row.name}" d="{_outline(x, floor, ceiling, row.bins)}"/>')
    stats = [] if row.figures is None else [(s, getattr(row.figures, f"{s}_ms")) for s in _STATS]
    for stat, value in stats:
        if value is not None:
            parts.append(rule(x.at(value), floor, x.at(value), ceiling - 2, f"mark {stat}-mark"))
    shown = stats if size == "wide" else stats[:2]
    text = "   ".join(f"{stat} {milliseconds(value)}" for stat, value in shown)
    parts.append(text_at(frame.left, ceiling - 9, _TITLES[row.name], "row-title halo"))
    parts.append(text_at(frame.x_end, ceiling - 9, text, "tick halo", "end"))
    return parts


def _outline(x: Scale, floor: float, ceiling: float, bins: Bins) -> str:
    """Return the closed outline of a histogram whose bins are given by their upper bound."""
    filled = sorted((edge, count) for edge, count in bins if edge > 0)
    ratios = [after / before for (before, _), (after, _) in pairwise(filled)]
    ratio = min((value for value in ratios if value > 1.0), default=1.25)
    spans = [(max(edge / ratio, x.low), edge, count) for edge, count in filled]
    most = max(count for _, _, count in spans)
    words, last = [f"M{x.at(spans[0][0]):.1f} {floor:.1f}"], spans[0][0]
    for low, high, count in spans:
        top = floor - (floor - ceiling) * count / most
        if low > last * 1.001:
            words.append(f"L{x.at(last):.1f} {floor:.1f}L{x.at(low):.1f} {floor:.1f}")
        words.append(f"L{x.at(low):.1f} {top:.1f}L{x.at(high):.1f} {top:.1f}")
        last = high
    return "".join([*words, f"L{x.at(last):.1f} {floor:.1f}Z"])
