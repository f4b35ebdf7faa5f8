from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pytest_mojaloop_perf.measure.interval import block_length, percentile_interval, wilson_interval

PER_SECOND = 50


def _wandering(seconds: int, memory: float, seed: int) -> npt.NDArray[np.float64]:
    """Return a latency level per second, with unit variance and that correlation from one to the next."""
    random = np.random.default_rng(seed)
    level = np.zeros(seconds)
    level[0] = random.normal()
    for at in range(1, seconds):
        level[at] = memory * level[at - 1] + np.sqrt(1 - memory**2) * random.normal()
    return level


def _sample(seconds: int, memory: float, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    level = np.repeat(_wandering(seconds, memory, seed), PER_SECOND)
    noise = np.random.default_rng(seed + 10_000).normal(size=len(level))
    return np.exp(4 + 0.3 * (level + noise)), np.repeat(np.arange(seconds), PER_SECOND)


def _width(
    values: npt.NDArray[np.float64], second: npt.NDArray[np.int64], block_s: int | None = None
) -> float:
    interval = percentile_interval(values, second, percent=95, seed=1, block_s=block_s)
    assert interval is not None
    return interval.high - interval.low


def test_the_interval_holds_the_percentile_and_is_repeatable() -> None:
    values, second = _sample(60, 0.0, 1)
    first, again = (percentile_interval(values, second, percent=95, seed=3) for _ in range(2))
    assert first == again
    assert first is not None
    assert first.low < np.percentile(values, 95) < first.high


def test_equal_latencies_have_an_interval_without_width() -> None:
    interval = percentile_interval(np.full(1000, 80.0), np.arange(1000) // 50, percent=95, seed=1)
    assert interval is not None
    assert (interval.low, interval.high) == (80.0, 80.0)


@pytest.mark.parametrize(("seconds", "per_second"), [(9, 50), (30, 6)])
def test_too_little_data_has_no_interval(seconds: int, per_second: int) -> None:
    values = np.arange(seconds * per_second, dtype=float)
    assert percentile_interval(values, np.arange(len(values)) // per_second, percent=95, seed=1) is None


def test_no_data_has_no_interval() -> None:
    assert percentile_interval(np.array([]), np.array([], dtype=np.int64), percent=95, seed=1) is None


def test_memory_makes_the_interval_wider_than_drawing_single_transactions() -> None:
    values, second = _sample(200, 0.9, 5)
    single = np.random.default_rng(2)
    drawn = [np.percentile(single.choice(values, len(values)), 95) for _ in range(200)]
    naive = float(np.subtract(*np.percentile(drawn, (97.5, 2.5))))
    assert _width(values, second) > 2.5 * naive
    assert _width(values, second) > 1.3 * _width(values, second, block_s=1)


def test_without_memory_seconds_are_as_good_as_single_transactions() -> None:
    random = np.random.default_rng(4)
    values = np.exp(random.normal(4, 0.4, 200 * PER_SECOND))
    drawn = [np.percentile(random.choice(values, len(values)), 95) for _ in range(200)]
    naive = float(np.subtract(*np.percentile(drawn, (97.5, 2.5))))
    assert _width(values, np.repeat(np.arange(200), PER_SECOND)) == pytest.approx(naive, rel=0.35)


@pytest.mark.parametrize(("memory", "least_percent"), [(0.0, 88), (0.7, 80)])
def test_about_as_many_intervals_as_promised_hold_the_true_percentile(
    memory: float, least_percent: float
) -> None:
    # The 95th percentile of exp(4 + 0.3 * N(0, 2)): level and noise have variance one each.
    truth = np.exp(4 + 0.3 * np.sqrt(2) * 1.6448536)
    held = 0
    for seed in range(100):
        interval = percentile_interval(*_sample(120, memory, seed), percent=95, seed=seed)
        assert interval is not None
        held += interval.low <= truth <= interval.high
    assert least_percent <= held <= 99


def test_blocks_grow_with_the_memory_of_the_series() -> None:
    short, long = (block_length(_wandering(400, memory, 3)) for memory in (0.0, 0.9))
    assert short <= 15
    assert long >= 2 * short
    assert block_length(np.zeros(50)) == 6
    assert block_length(np.arange(300, dtype=float)) <= 100


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # Textbook values of Wilson's interval (Newcombe 1998, table I, method 3).
    [(81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05), (0, 20, 0.0, 16.11), (1, 29, 0.61, 17.18)],
)
def test_wilson_interval(hits: int, total: int, low: float, high: float) -> None:
    interval = wilson_interval(hits, total)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.006)
    mirrored = wilson_interval(total - hits, total)
    assert mirrored is not None
    assert mirrored.high == pytest.approx(100 - interval.low)


def test_wilson_interval_of_all_and_of_nothing() -> None:
    assert wilson_interval(0, 0) is None
    full = wilson_interval(1000, 1000)
    assert full is not None
    assert full.high == 100.0
    assert 99.0 < full.low < 100.0
