"""The few SVG elements that the charts are made of; whatever text comes in is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Literal

from pytest_mojaloop_perf.report.axes import Frame, line_path

__all__ = ["FRAMES", "Size", "document", "path", "rule", "standalone", "text_at"]

Size = Literal["wide", "narrow"]

FRAMES: dict[Size, Frame] = {
    "wide": Frame(width=960, height=300, left=52, right=16, top=44, bottom=32, points=1000, ticks=9),
    "narrow": Frame(width=420, height=270, left=44, right=10, top=44, bottom=30, points=360, ticks=4),
}
"""A chart is made at two sizes: letters of one that is scaled down to a phone are too small to read."""


def document(frame: Frame, name: str, title: str, parts: Sequence[str]) -> str:
    """Return a whole drawing; the page's script finds its axes in the `data-` attributes."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {frame.width} {frame.height}" '
        f'role="img" data-chart="{name}" data-left="{frame.left}" data-right="{frame.x_end}" '
        f'data-top="{frame.top}" data-bottom="{frame.y_end}" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def text_at(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """Return a text; `kind` is its CSS class."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def path(kind: str, points: Sequence[tuple[float, float | None]]) -> str:
    """Return a line through the points; None breaks it."""
    return f'<path class="line {kind}" d="{line_path(points)}"/>'


def rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return one straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def standalone(svg: str) -> str:
    """Return a chart as a file of its own: its style inside, so that it is right without the page."""
    style = (Path(__file__).parent / "templates" / "charts.css").read_text()
    head, _, rest = svg.partition(">")
    return f"{head}><style>{style}</style>{rest}"
