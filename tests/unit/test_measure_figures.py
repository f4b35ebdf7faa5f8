from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from pytest_mojaloop_perf.errors import InvalidRunError
from pytest_mojaloop_perf.measure.latency import histogram, latency, percentile_of_sorted
from pytest_mojaloop_perf.measure.measure import NOT_STARTED, UNENDED, measure
from pytest_mojaloop_perf.measure.window import inside, missing_arrivals_ms, scheduled_arrivals, steady_window
from pytest_mojaloop_perf.metrics import samples_needed
from pytest_mojaloop_perf.model import LoadShape, Measurement, Window
from tests.unit.stored_runs import PROFILE, SHAPE, T0, Rows, rows, store

Floats = npt.NDArray[np.float64]


def _measure(folder: Path, frame: pl.DataFrame, shape: LoadShape = SHAPE) -> Measurement:
    load = store(folder, frame, shape=shape)
    return measure(load.transactions, load, msgspec.structs.replace(PROFILE, load=shape), None)


# --- the window ---


def test_the_window_is_cut_from_the_plan_and_from_nothing_that_happened(tmp_path: Path) -> None:
    load = store(tmp_path, rows(), ended_ms=T0 + 9_000, iterations=3)
    assert steady_window(load, SHAPE) == Window(start_ms=T0 + 5_000, end_ms=T0 + 35_000)


def test_the_window_is_half_open_for_arrivals_and_for_completions(tmp_path: Path) -> None:
    # Arrivals every 20 ms: one exactly at 5,000 ms (in) and one exactly at 35,000 ms (out).
    measured = _measure(tmp_path, rows(spent_ms=20.0, lateness_ms=0.0))
    assert measured.scheduled == 1500
    assert measured.e2e.count == 1500
    # Completions happen at the same grid; the one of the arrival at 4,980 is in, that of 34,980 is out.
    assert measured.committed == 1500
    assert measured.tps == 50.0


def test_an_edge_is_met_in_spite_of_rounding() -> None:
    window = Window(start_ms=T0 + 100.0, end_ms=T0 + 200.0)
    times = np.array([T0 + 99.9999, T0 + 100.0, T0 + 199.99, T0 + 199.9999, T0 + 200.0])
    assert inside(times, window).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("rate", [1, 7, 20.2, 50.5, 333.3, 1010])
def test_every_scheduled_arrival_lies_in_exactly_one_window(tmp_path: Path, rate: float) -> None:
    load = msgspec.structs.replace(store(tmp_path, rows()), offered_tps=rate)
    edges = [T0 + at * 1000.0 for at in (0, 3, 7.5, 11, 40)]
    parts = [scheduled_arrivals(load, Window(start_ms=a, end_ms=b)) for a, b in itertools.pairwise(edges)]
    numbers = [number for part in parts for number in part]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) == pytest.approx(40 * rate, abs=1)


def test_missing_arrivals_are_found_by_number(tmp_path: Path) -> None:
    load = store(tmp_path, rows())
    window = steady_window(load, SHAPE)
    there = T0 + np.array([n * 20.0 for n in range(250, 1750) if n not in (300, 1749)])
    assert missing_arrivals_ms(load, window, there).tolist() == [T0 + 6_000.0, T0 + 34_980.0]


# --- TPS and success ---


def test_tps_counts_what_ended_in_the_window(tmp_path: Path) -> None:
    # From 20 s on everything takes 20 s: what is scheduled after 15 s + ... ends behind the window.
    measured = _measure(tmp_path, rows(spent_ms=lambda at: np.where(at < 20_000, 100.0, 20_000.0)))
    ends = np.arange(2000) * 20.0 + 0.5 + np.where(np.arange(2000) * 20.0 < 20_000, 100.0, 20_000.0)
    assert measured.tps == np.count_nonzero((ends >= 5_000) & (ends < 35_000)) / 30.0
    assert measured.success_percent == 100.0
    assert measured.e2e.max_ms == pytest.approx(20_000.5)


def test_a_switch_that_falls_behind_is_not_credited_with_the_offered_rate(tmp_path: Path) -> None:
    # One server, 25 ms each, 50 arrivals per second: a queue that grows, and 40 completions per second.
    measured = _measure(tmp_path, rows(spent_ms=lambda at: (np.arange(len(at)) + 1) * 25.0 - at - 0.5))
    assert measured.tps == pytest.approx(40.0, abs=0.1)
    assert measured.offered_tps == 50.0
    assert measured.seconds_below_target_percent == 100.0


def test_dropped_arrivals_count_as_failed(tmp_path: Path) -> None:
    keep = np.ones(2000, dtype=bool)
    keep[300:450] = False
    measured = _measure(tmp_path, rows(keep=keep))
    assert measured.scheduled == 1500
    assert measured.arrivals_percent == 90.0
    assert measured.success_percent == 90.0
    assert measured.not_started == 150
    assert measured.failures == ((NOT_STARTED, 150),)


def test_failures_are_counted_by_class_and_timeouts_apart(tmp_path: Path) -> None:
    def change(columns: Rows) -> None:
        columns["outcome"][300:303] = "transfer:4001"
        columns["outcome"][400] = "quote:timeout"
        columns["outcome"][0] = "discovery:connection"  # in the warm-up
        columns["transfer_ms"][400] = np.nan

    measured = _measure(tmp_path, rows(change=change))
    assert measured.failures == (("transfer:4001", 3), ("quote:timeout", 1))
    assert measured.success_percent == pytest.approx(100 * 1496 / 1500)
    assert measured.unanswered_percent == pytest.approx(100 / 1500)
    assert measured.e2e.count == 1496
    assert measured.success_interval is not None
    assert measured.success_interval.low < measured.success_percent < measured.success_interval.high


def test_a_transaction_without_an_end_is_unanswered(tmp_path: Path) -> None:
    def change(columns: Rows) -> None:
        columns["ended_ms"][500] = np.nan
        columns["outcome"][500] = "transfer:timeout"

    measured = _measure(tmp_path, rows(change=change))
    assert measured.failures == ((UNENDED, 1),)
    assert measured.unanswered_percent == pytest.approx(100 / 1500)
    assert measured.records_broken == 0


# --- latency ---


@pytest.mark.parametrize("seed", range(20))
def test_percentiles_are_those_of_numpy(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = np.round(random.lognormal(4, 1, int(random.integers(1, 5000))), int(random.integers(0, 4)))
    made = latency(values)
    assert made.count == len(values)
    assert made.max_ms == values.max()
    assert made.mean_ms == pytest.approx(values.mean())
    for percent in (50, 90, 95, 99):
        figure = getattr(made, f"p{percent}_ms")
        if len(values) >= samples_needed(f"p{percent}"):
            assert figure == pytest.approx(float(np.percentile(values, percent)))
        else:
            assert figure is None


@pytest.mark.parametrize(("percent", "needed"), [(50, 20), (90, 100), (95, 200), (99, 1000)])
def test_a_percentile_is_refused_with_one_sample_too_few(percent: int, needed: int) -> None:
    assert samples_needed(f"p{percent}") == needed
    assert getattr(latency(np.arange(needed - 1, dtype=float)), f"p{percent}_ms") is None
    assert getattr(latency(np.arange(needed, dtype=float)), f"p{percent}_ms") is not None


def test_a_percentile_interpolates_between_neighbours() -> None:
    assert percentile_of_sorted(np.array([10.0, 20.0]), 50) == 15.0
    assert percentile_of_sorted(np.array([10.0]), 99) == 10.0
    assert percentile_of_sorted(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), 100) == 4.0


def test_no_latency_of_nothing() -> None:
    assert latency(np.array([])).p50_ms is None
    assert histogram(np.array([])) == ()


def test_end_to_end_counts_the_wait_for_a_vu_and_service_time_does_not(tmp_path: Path) -> None:
    measured = _measure(tmp_path, rows(spent_ms=100.0, lateness_ms=30.0))
    assert measured.e2e.p95_ms == pytest.approx(130.0)
    assert measured.service.p95_ms == pytest.approx(100.0)
    assert measured.leg("transfer").p95_ms == pytest.approx(50.0)
    assert measured.start_lateness_p99_ms == pytest.approx(30.0)


def test_failed_transactions_do_not_move_a_percentile_in_either_direction(tmp_path: Path) -> None:
    def change(columns: Rows) -> None:
        columns["outcome"][300:320] = "transfer:timeout"
        columns["ended_ms"][300:320] += 10_000
        columns["outcome"][320:340] = "discovery:connection"
        columns["ended_ms"][320:340] -= 89

    assert _measure(tmp_path, rows(change=change)).e2e.max_ms == pytest.approx(90.5)


@pytest.mark.parametrize("seed", range(5))
def test_all_figures_agree_with_plain_arithmetic(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)

    def change(columns: Rows) -> None:
        columns["outcome"][random.random(2000) < 0.05] = "transfer:5001"
        columns["payer"][:] = random.choice(["fsp201", "fsp203", "fsp205"], 2000)
        columns["payee"][:] = random.choice(["fsp202", "fsp204"], 2000)

    frame = rows(spent_ms=lambda at: random.lognormal(4.5, 0.6, len(at)), change=change)
    measured = _measure(tmp_path, frame.sample(fraction=1.0, shuffle=True, seed=seed))
    start, end = T0 + 5_000, T0 + 35_000
    good = frame.filter(outcome="COMMITTED")
    here = frame.filter(pl.col("scheduled_ms").is_between(start, end, closed="left"))
    chosen = here.filter(outcome="COMMITTED")
    e2e = (chosen["ended_ms"] - chosen["scheduled_ms"]).to_numpy()
    assert measured.tps == good.filter(pl.col("ended_ms").is_between(start, end, closed="left")).height / 30
    assert measured.success_percent == pytest.approx(100 * chosen.height / 1500)
    assert measured.e2e.p99_ms == pytest.approx(float(np.percentile(e2e, 99)))
    assert sum(pair.scheduled for pair in measured.pairs) == here.height
    for pair in measured.pairs:
        own = chosen.filter(payer=pair.payer, payee=pair.payee)
        assert pair.committed == own.height
        assert pair.quote.p50_ms == pytest.approx(
            float(np.percentile(own["quote_ms"].to_numpy(), 50)), rel=1e-5
        )
    assert sum(count for _, count in dict(measured.histograms)["e2e"]) == chosen.height
    assert sum(second.arrivals for second in measured.seconds) == 2000
    assert sum(second.committed + second.failed for second in measured.seconds) == 2000
    spent = np.minimum(frame["ended_ms"].to_numpy(), end) - np.maximum(frame["started_ms"].to_numpy(), start)
    assert measured.in_flight_mean == pytest.approx(spent.clip(min=0).sum() / 30_000)


# --- series and histograms ---


def test_seconds_are_counted_from_the_first_arrival(tmp_path: Path) -> None:
    measured = _measure(tmp_path, rows(spent_ms=lambda at: np.where(at < 10_000, 100.0, 300.0)))
    assert [second.at_s for second in measured.seconds] == [float(at) for at in range(41)]
    assert {second.arrivals for second in measured.seconds[:40]} == {50}
    assert measured.seconds[0].committed == 45  # arrivals of 0 to 880 ms have ended after 100.5 ms
    assert measured.seconds[9].e2e_p95_ms == pytest.approx(100.5)
    assert measured.seconds[20].e2e_p50_ms == pytest.approx(300.5)
    assert measured.seconds[40].e2e_p50_ms is None


def test_histogram_buckets_hold_what_is_below_their_bound() -> None:
    buckets = histogram(np.array([0.1, 1.0, 1.0001, 64.0, 64.0]))
    assert sum(count for _, count in buckets) == 5
    assert dict(buckets)[0.5] == 1
    assert dict(buckets)[1.0] == 1
    assert dict(buckets)[64.0] == 2


# --- files that cannot be right ---


def test_an_empty_run_is_measured_as_nothing(tmp_path: Path) -> None:
    measured = _measure(tmp_path, rows().clear())
    assert (measured.tps, measured.success_percent, measured.arrivals_percent) == (0.0, 0.0, 0.0)
    assert measured.e2e.p50_ms is None
    assert measured.pairs == ()
    assert measured.not_started == 1500


def test_rows_that_contradict_themselves_are_counted_and_left_out(tmp_path: Path) -> None:
    def change(columns: Rows) -> None:
        columns["ended_ms"][300] = T0  # ends before it starts
        columns["scheduled_ms"][301] = np.nan
        columns["transfer_ms"][302] = np.nan  # committed without its last leg
        columns["quote_ms"][303] = -1
        columns["ended_ms"][304] = T0 + 1e9  # after the run
        columns["outcome"][305] = None
        columns["iteration"][306] = 5
        columns["ended_ms"][307] = np.nan  # committed without an end

    measured = _measure(tmp_path, rows(change=change))
    assert measured.records == 2000
    assert measured.records_broken == 7
    assert measured.records_repeated == 1
    assert measured.e2e.count == 1493


@pytest.mark.parametrize("content", [b"", b"not parquet", None])
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    load = store(tmp_path, rows())
    load.transactions.unlink()
    if content is not None:
        load.transactions.write_bytes(content)
    with pytest.raises(InvalidRunError, match=r"cannot be read.*Remedy"):
        measure(load.transactions, load, PROFILE, None)


def test_a_file_without_a_column_is_refused(tmp_path: Path) -> None:
    load = store(tmp_path, rows().drop("payer"))
    with pytest.raises(InvalidRunError, match="no column payer"):
        measure(load.transactions, load, PROFILE, None)


def test_measuring_twice_gives_the_same(tmp_path: Path) -> None:
    load = store(tmp_path, rows(spent_ms=lambda at: 50 + at % 97))
    first, second = (measure(load.transactions, load, PROFILE, None) for _ in range(2))
    assert first == second
