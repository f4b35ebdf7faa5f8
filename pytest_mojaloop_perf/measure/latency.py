"""Percentiles and histograms of latencies: exact, from all samples, or refused."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pytest_mojaloop_perf.measure.samples import Floats
from pytest_mojaloop_perf.metrics import samples_needed
from pytest_mojaloop_perf.model import Latency

__all__ = ["histogram", "latency", "percentile_of_sorted"]

_PERCENTILES = (50, 90, 95, 99)
_BUCKETS_PER_DOUBLING = 4
_FIRST_BUCKET_MS = 0.5


def percentile_of_sorted(ordered: npt.NDArray[np.floating], percent: float) -> float:
    """Return a percentile by linear interpolation between the two neighbouring order statistics.

    The same definition as `numpy.percentile` (Hyndman and Fan's type 7), on values that are sorted already.
    """
    assert len(ordered) > 0
    rank = (len(ordered) - 1) * percent / 100.0
    below = min(math.floor(rank), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    low, high = float(ordered[below]), float(ordered[above])
    return low + (high - low) * (rank - below)


def latency(values_ms: npt.NDArray[np.floating]) -> Latency:
    """Return the percentiles of some latencies in milliseconds; None where there are too few of them.

    A percentile needs ten samples beyond it (`metrics.samples_needed`).
    """
    assert not np.isnan(values_ms).any(), "only answered transactions have a latency"
    count = len(values_ms)
    if count == 0:
        return Latency(count=0)
    ordered = np.sort(values_ms)
    figures = {
        f"p{percent}_ms": percentile_of_sorted(ordered, percent)
        for percent in _PERCENTILES
        if count >= samples_needed(f"p{percent}")
    }
    mean_ms = float(np.mean(ordered, dtype=np.float64))
    return Latency(count=count, mean_ms=mean_ms, max_ms=float(ordered[-1]), **figures)


def histogram(values_ms: npt.NDArray[np.floating]) -> tuple[tuple[float, int], ...]:
    """Return `(upper bound in ms, count)` of logarithmic buckets, four per doubling, for a chart.

    A value on a bound belongs to the bucket below it; empty buckets at both ends are left out.
    """
    if len(values_ms) == 0:
        return ()
    most = max(float(values_ms.max()), _FIRST_BUCKET_MS)
    doublings = math.log2(most / _FIRST_BUCKET_MS)
    steps = np.arange(math.ceil(doublings * _BUCKETS_PER_DOUBLING) + 2)
    bounds: Floats = _FIRST_BUCKET_MS * np.exp2(steps / _BUCKETS_PER_DOUBLING)
    counts = np.bincount(np.searchsorted(bounds, values_ms, side="left"), minlength=len(bounds))
    used = np.flatnonzero(counts)
    return tuple(
        (round(float(bounds[index]), 4), int(counts[index])) for index in range(used[0], used[-1] + 1)
    )
