"""From the stored transactions to a `Measurement`: what was true over the steady window.

Populations, exactly:

- `scheduled`: arrivals that the offered rate puts into the window, whether or not they were started.
- `tps`: COMMITTED transactions whose *end* lies in the window, divided by the window's length.
- `success_percent`: committed among `scheduled`; an arrival without a record counts as failed.
- latencies: of rows *scheduled* in the window and COMMITTED, also when they ended after it. End to end is
  from the scheduled arrival, so waiting for a free VU counts; service time is from the start.

A transaction that failed or was never answered has no latency here: mixing a fast error or a cut-off
timeout into a percentile would move it in either direction. So that leaving them out cannot flatter, an
objective on a percentile is also missed when more transactions went unanswered than the percentile leaves
out (`verdict.objectives`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_mojaloop_perf.measure.interval import percentile_interval, wilson_interval
from pytest_mojaloop_perf.measure.latency import histogram, latency, percentile_of_sorted
from pytest_mojaloop_perf.measure.samples import Flags, Floats, Samples, read_samples
from pytest_mojaloop_perf.measure.series import per_second, seconds_below_percent
from pytest_mojaloop_perf.measure.window import (
    inside,
    missing_arrivals_ms,
    scheduled_arrivals,
    steady_window,
)
from pytest_mojaloop_perf.model import (
    ARRIVAL_BLUR_MS,
    COMMITTED,
    LEGS,
    Interval,
    LoadRun,
    MachineUse,
    Measurement,
    PairMeasurement,
    Profile,
    Window,
)

__all__ = ["NOT_STARTED", "UNENDED", "measure"]

NOT_STARTED = "not-started"
"""Failure class of an arrival of the window that has no record: dropped, interrupted or lost."""
UNENDED = "interrupted"
"""Failure class of a transaction that has a record and no end."""
_VUS_BUSY_SHARE = 0.9
"""A VU needs a moment to hand in its record and to be free again; so nearly all VUs busy means all."""


def measure(
    transactions: Path, load: LoadRun, profile: Profile, machine: MachineUse | None = None
) -> Measurement:
    """Return what the stored transactions say about the steady window of a run.

    Deterministic: the same file, run and profile give the same figures.

    Raises:
        InvalidRunError: the file cannot be read as transactions.
    """
    samples = read_samples(transactions, load)
    window = steady_window(load, profile.load)
    committed = samples.committed
    here = inside(samples.scheduled_ms, window)
    good = here & committed
    started, succeeded = int(np.count_nonzero(here)), int(np.count_nonzero(good))
    scheduled = max(len(scheduled_arrivals(load, window)), started)
    e2e_ms = samples.ended_ms - samples.scheduled_ms
    observed = _observed(samples, good, e2e_ms)
    latencies = {name: latency(values) for name, values in observed.items()}
    failures, unanswered = _failures(samples, here, scheduled - started)
    ends_ms = samples.ended_ms[committed]
    completed = int(np.count_nonzero((ends_ms >= window.start_ms) & (ends_ms < window.end_ms)))
    lateness_ms = np.sort((samples.started_ms - samples.scheduled_ms)[here])
    return Measurement(
        window=window,
        offered_tps=load.offered_tps,
        scheduled=scheduled,
        arrivals_percent=_percent(started, scheduled),
        tps=completed / window.duration_s,
        success_percent=_percent(succeeded, scheduled),
        unanswered_percent=_percent(unanswered, scheduled),
        committed=completed,
        failures=failures,
        e2e=latencies["e2e"],
        service=latencies["service"],
        legs=tuple((leg, latencies[leg]) for leg in LEGS),
        pairs=_pairs(samples, here, committed, e2e_ms),
        seconds=per_second(samples, load, committed, e2e_ms),
        histograms=tuple((name, histogram(values)) for name, values in observed.items()),
        e2e_p95_interval=_p95_interval(samples, good, observed["e2e"], window, load.seed),
        success_interval=wilson_interval(succeeded, scheduled),
        start_lateness_p99_ms=percentile_of_sorted(lateness_ms, 99) if started else 0.0,
        seconds_below_target_percent=seconds_below_percent(ends_ms, window, profile.load.tps),
        machine=machine,
        records=samples.records,
        records_repeated=samples.repeated,
        records_broken=samples.broken,
        not_started=scheduled - started,
        not_started_vus_busy=_not_started_vus_busy(samples, here, load, window, scheduled - started),
        started_early_ms=max(0.0, -float(lateness_ms[0])) if started else 0.0,
        in_flight_mean=_in_flight_mean(samples, window),
    )


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def _observed(samples: Samples, good: Flags, e2e_ms: Floats) -> dict[str, npt.NDArray[np.floating]]:
    """Return the latencies by name, of the transactions that have one."""
    service_ms = samples.ended_ms - samples.started_ms
    observed: dict[str, npt.NDArray[np.floating]] = {"e2e": e2e_ms[good], "service": service_ms[good]}
    return observed | {leg: samples.legs_ms[leg][good] for leg in LEGS}


def _p95_interval(
    samples: Samples, good: Flags, e2e_ms: npt.NDArray[np.floating], window: Window, seed: int
) -> Interval | None:
    into_window_ms = (samples.scheduled_ms[good] - window.start_ms).clip(min=0)
    return percentile_interval(e2e_ms, (into_window_ms / 1000.0).astype(np.int64), percent=95, seed=seed)


def _failures(samples: Samples, here: Flags, not_started: int) -> tuple[tuple[tuple[str, int], ...], int]:
    """Return failure classes with counts, most frequent first, and how many were never answered."""
    ended = ~np.isnan(samples.ended_ms)
    counts = np.bincount(samples.outcome.codes[here & ended], minlength=len(samples.outcome.names))
    classes = {
        name: int(count)
        for name, count in zip(samples.outcome.names, counts, strict=True)
        if count and name != COMMITTED
    }
    unended = int(np.count_nonzero(here & ~ended))
    unanswered = unended + sum(count for name, count in classes.items() if name.endswith(":timeout"))
    for name, count in ((UNENDED, unended), (NOT_STARTED, not_started)):
        if count:
            classes[name] = classes.get(name, 0) + count
    return tuple(sorted(classes.items(), key=lambda item: (-item[1], item[0]))), unanswered


def _pairs(samples: Samples, here: Flags, committed: Flags, e2e_ms: Floats) -> tuple[PairMeasurement, ...]:
    """Return one entry per pair, most used first; arrivals that were not started belong to no pair."""
    payees = max(1, len(samples.payee.names))
    pair = samples.payer.codes.astype(np.int32) * payees + samples.payee.codes
    rows = np.flatnonzero(here)
    rows = rows[np.argsort(pair[rows], kind="stable")]
    if len(rows) == 0:
        return ()
    codes, starts = np.unique(pair[rows], return_index=True)
    found = []
    for code, part in zip(codes.tolist(), np.split(rows, starts[1:]), strict=True):
        good = part[committed[part]]
        found.append(
            PairMeasurement(
                payer=samples.payer.names[code // payees],
                payee=samples.payee.names[code % payees],
                scheduled=len(part),
                committed=len(good),
                success_percent=100.0 * len(good) / len(part),
                e2e=latency(e2e_ms[good]),
                **{leg: latency(samples.legs_ms[leg][good]) for leg in LEGS},
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.scheduled, one.payer, one.payee)))


def _not_started_vus_busy(
    samples: Samples, here: Flags, load: LoadRun, window: Window, not_started: int
) -> int:
    """Count the arrivals without a record about whose moment nearly every VU was waiting for an answer."""
    if not_started == 0 or load.vus_max <= 0:
        return 0
    started_ms, ended_ms = np.sort(samples.started_ms), np.sort(samples.ended_ms)
    # In-flight transactions just after each start, where every peak is.
    in_flight = np.arange(1, len(started_ms) + 1) - np.searchsorted(ended_ms, started_ms, side="right")
    full = np.concatenate(([0], np.cumsum(in_flight >= _VUS_BUSY_SHARE * load.vus_max)))
    moments_ms = missing_arrivals_ms(load, window, samples.scheduled_ms[here])
    until = np.searchsorted(started_ms, moments_ms, side="right")
    since = np.searchsorted(started_ms, moments_ms - ARRIVAL_BLUR_MS, side="left")
    now = until - np.searchsorted(ended_ms, moments_ms, side="right")
    busy = (full[until] > full[since]) | (now >= _VUS_BUSY_SHARE * load.vus_max)
    return min(int(np.count_nonzero(busy)), not_started)


def _in_flight_mean(samples: Samples, window: Window) -> float:
    """Return the mean number of transactions begun and not ended, by the time each spent in the window."""
    ended_ms = np.where(np.isnan(samples.ended_ms), window.end_ms, samples.ended_ms)
    spent_ms = np.minimum(ended_ms, window.end_ms) - np.maximum(samples.started_ms, window.start_ms)
    return float(spent_ms.clip(min=0).sum()) / (window.end_ms - window.start_ms)
