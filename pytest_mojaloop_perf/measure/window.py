"""The steady window, cut mechanically from the plan, and which scheduled arrivals lie in it.

Nothing that was observed moves the window: when the generator stopped early, the arrivals that are missing
are missing, and a gate refuses the run.
"""

from __future__ import annotations

import math

import numpy as np

from pytest_mojaloop_perf.measure.samples import Flags, Floats
from pytest_mojaloop_perf.model import LoadRun, LoadShape, Window

__all__ = ["inside", "missing_arrivals_ms", "scheduled_arrivals", "steady_window"]

_EDGE_MS = 0.001
"""Scheduled times are computed, so one that is meant to be exactly on an edge may miss it by rounding."""


def steady_window(load: LoadRun, shape: LoadShape) -> Window:
    """Return `[first arrival + warm-up, first arrival + duration - cool-down)`, whatever happened."""
    start_ms = load.first_arrival_ms + shape.warmup_s * 1000.0
    end_ms = load.first_arrival_ms + (shape.duration_s - shape.cooldown_s) * 1000.0
    assert start_ms < end_ms, "a profile without a steady window is refused when it is read"
    return Window(start_ms=start_ms, end_ms=end_ms)


def inside(scheduled_ms: Floats, window: Window) -> Flags:
    """Say for each scheduled time whether it lies in the half-open window."""
    flags: Flags = (scheduled_ms >= window.start_ms - _EDGE_MS) & (scheduled_ms < window.end_ms - _EDGE_MS)
    return flags


def scheduled_arrivals(load: LoadRun, window: Window) -> range:
    """Return the numbers of the arrivals whose scheduled time lies in the window.

    Arrival k is scheduled at `first_arrival_ms + k * 1000 / offered_tps`; this is the load that was
    promised, and neither drops nor an early end make it smaller.
    """
    per_ms = load.offered_tps / 1000.0
    first, last = (
        max(0, math.ceil((edge_ms - _EDGE_MS - load.first_arrival_ms) * per_ms))
        for edge_ms in (window.start_ms, window.end_ms)
    )
    return range(first, last)


def missing_arrivals_ms(load: LoadRun, window: Window, scheduled_ms: Floats) -> Floats:
    """Return the scheduled times of arrivals of the window that have no row in `scheduled_ms`, ascending."""
    wanted = scheduled_arrivals(load, window)
    numbers = np.rint((scheduled_ms - load.first_arrival_ms) * load.offered_tps / 1000.0).astype(np.int64)
    there = np.zeros(len(wanted), dtype=bool)
    offsets = numbers - wanted.start
    there[offsets[(offsets >= 0) & (offsets < len(wanted))]] = True
    absent = (np.flatnonzero(~there) + wanted.start).astype(np.float64)
    return load.first_arrival_ms + absent * (1000.0 / load.offered_tps)
