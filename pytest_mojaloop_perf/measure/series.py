"""Per-second series of the whole run, for charts, and the share of seconds below the target."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pytest_mojaloop_perf.measure.latency import percentile_of_sorted
from pytest_mojaloop_perf.measure.samples import Flags, Floats, Samples
from pytest_mojaloop_perf.model import LoadRun, Second, Window

__all__ = ["per_second", "seconds_below_percent"]

_P50_MIN = 5
_P95_MIN = 20
"""A second's percentiles describe that second in a chart; nothing is judged by them, so few samples do."""


def per_second(samples: Samples, load: LoadRun, committed: Flags, e2e_ms: Floats) -> tuple[Second, ...]:
    """Return one entry per second from the first arrival to the last completion.

    Arrivals and latencies are counted where the arrival was scheduled, completions where they ended.
    """
    origin_ms = load.first_arrival_ms
    arrival = _second(samples.scheduled_ms, origin_ms)
    ended = ~np.isnan(samples.ended_ms)
    completion = _second(samples.ended_ms[ended], origin_ms)
    count = int(max(arrival.max(initial=-1), completion.max(initial=-1))) + 1
    arrivals = np.bincount(arrival[arrival >= 0], minlength=count)
    good = committed[ended]
    done = np.bincount(completion[good & (completion >= 0)], minlength=count)
    failed = np.bincount(completion[~good & (completion >= 0)], minlength=count)
    latencies = _grouped(arrival[committed], e2e_ms[committed], count)
    return tuple(
        Second(
            at_s=float(at),
            arrivals=int(arrivals[at]),
            committed=int(done[at]),
            failed=int(failed[at]),
            e2e_p50_ms=_percentile(latencies[at], 50, _P50_MIN),
            e2e_p95_ms=_percentile(latencies[at], 95, _P95_MIN),
        )
        for at in range(count)
    )


def seconds_below_percent(committed_ended_ms: Floats, window: Window, target_tps: float) -> float:
    """Return the percentage of whole seconds of the window with fewer than `target_tps` completions."""
    seconds = math.floor(window.duration_s + 1e-9)
    if seconds == 0:
        return 0.0
    at = _second(committed_ended_ms, window.start_ms)
    counts = np.bincount(at[(at >= 0) & (at < seconds)], minlength=seconds)
    return 100.0 * float(np.count_nonzero(counts < target_tps)) / seconds


def _second(times_ms: Floats, origin_ms: float) -> npt.NDArray[np.int64]:
    at: npt.NDArray[np.int64] = np.floor((times_ms - origin_ms) / 1000.0).astype(np.int64)
    return at


def _grouped(second: npt.NDArray[np.int64], values: Floats, count: int) -> list[Floats]:
    """Return the sorted values of each second."""
    order = np.lexsort((values, second))
    bounds = np.searchsorted(second[order], np.arange(count + 1))
    ordered = values[order]
    return [ordered[bounds[at] : bounds[at + 1]] for at in range(count)]


def _percentile(ordered: Floats, percent: float, least: int) -> float | None:
    return percentile_of_sorted(ordered, percent) if len(ordered) >= least else None
