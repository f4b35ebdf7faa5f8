"""What happened: the load, the machine, and what was measured over the steady window."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pytest_mojaloop_perf.model.core import Value

__all__ = [
    "Interval",
    "Latency",
    "LoadRun",
    "MachineUse",
    "Measurement",
    "PairMeasurement",
    "ProcessUse",
    "Second",
    "Window",
]


class LoadRun(Value, frozen=True, kw_only=True):
    """What the generator did. Times are epoch milliseconds of this machine's clock.

    `transactions` is a Parquet file with one row per started transaction (columns: `load.records.SCHEMA`).
    `dropped`: arrivals for which no VU was free; `interrupted`: started, not ended when the run ended;
    `records_lost`: iterations that k6 counted and whose record is missing.
    """

    ended: Literal["ok", "threshold", "script-error", "setup-failed", "aborted", "killed", "failed"]
    ended_detail: str = ""
    started_ms: float
    ended_ms: float
    first_arrival_ms: float
    offered_tps: float
    planned_arrivals: int
    iterations: int
    dropped: int
    interrupted: int
    records_lost: int
    vus_max: int
    vus_peak: int
    transactions: Path
    k6_version: str
    k6_path: str
    script_sha256: str
    seed: int


class ProcessUse(Value, frozen=True, kw_only=True):
    """CPU (cores, averaged) and peak memory of one process and its children over the steady window.

    `allowed_cores`: how many cores it may use at once (0: not known). `waiting_cores`: threads that were
    ready to run and got no CPU, on average. `stopped_percent`: share of samples that found it stopped.
    """

    name: str
    cpu_cores: float
    memory_peak_bytes: int
    threads: int = 0
    allowed_cores: float = 0.0
    waiting_cores: float = 0.0
    stopped_percent: float = 0.0


class MachineUse(Value, frozen=True, kw_only=True):
    """What this machine did over the steady window; all CPU in cores.

    `foreign_cores`: busy time that is neither ours nor steal; `steal_percent`: of all CPU time.
    `throttled_percent`: share of the time in which a CPU quota held this container back.
    `longest_gap_s`: longest time of the window without a sample.
    """

    cores: int
    busy_cores: float
    foreign_cores: float
    steal_percent: float
    processes: tuple[ProcessUse, ...]
    samples: int
    iowait_percent: float = 0.0
    throttled_percent: float = 0.0
    longest_gap_s: float = 0.0


class Window(Value, frozen=True, kw_only=True):
    """The steady window: the owner of both the count and the duration. Epoch milliseconds, half open."""

    start_ms: float
    end_ms: float

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.end_ms - self.start_ms) / 1000.0


class Latency(Value, frozen=True, kw_only=True):
    """Percentiles in milliseconds, by linear interpolation; None where there are too few samples."""

    count: int
    mean_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None


class Interval(Value, frozen=True, kw_only=True):
    """A confidence interval; `confidence` in percent."""

    low: float
    high: float
    confidence_percent: float = 95.0


class PairMeasurement(Value, frozen=True, kw_only=True):
    """One pair over the window. Latencies are end to end, of successful transactions."""

    payer: str
    payee: str
    scheduled: int
    committed: int
    success_percent: float
    e2e: Latency
    discovery: Latency
    quote: Latency
    transfer: Latency


class Second(Value, frozen=True, kw_only=True):
    """One second of the run, for charts: counts by scheduled arrival and completion, latencies in ms."""

    at_s: float
    arrivals: int
    committed: int
    failed: int
    e2e_p50_ms: float | None = None
    e2e_p95_ms: float | None = None


class Measurement(Value, frozen=True, kw_only=True):
    """What was measured over the steady window.

    `tps`: committed transactions that *ended* within the window, per second of it. `success_percent`:
    committed among those *scheduled* in the window (dropped arrivals count as failed).
    `unanswered_percent`: ended by a timeout, among those scheduled in the window.
    `failures`: (class, count), most frequent first. `seconds_below_target_percent`: share of whole seconds
    of the window in which fewer than `tps` of the profile were committed.
    Latencies are of transactions scheduled in the window *and* committed; those that failed are told by
    `success_percent`, and a latency objective is missed when more went unanswered than its percentile
    leaves out.
    `arrivals_percent`: started among those scheduled in the window. `not_started`: the others;
    `not_started_vus_busy`: those of them about whose moment nearly every VU was waiting for an answer.
    `records`: rows of the whole run; `records_repeated`, `records_broken`: rows that cannot be right.
    `started_early_ms`: how much the earliest start precedes its scheduled arrival (a clock that stepped).
    `in_flight_mean`: transactions begun and not ended, averaged over the window.
    """

    window: Window
    offered_tps: float
    scheduled: int
    arrivals_percent: float
    tps: float
    success_percent: float
    unanswered_percent: float
    committed: int
    failures: tuple[tuple[str, int], ...]
    e2e: Latency
    service: Latency
    legs: tuple[tuple[str, Latency], ...]
    pairs: tuple[PairMeasurement, ...]
    seconds: tuple[Second, ...]
    histograms: tuple[tuple[str, tuple[tuple[float, int], ...]], ...]
    e2e_p95_interval: Interval | None
    success_interval: Interval | None
    start_lateness_p99_ms: float
    seconds_below_target_percent: float
    machine: MachineUse | None = None
    records: int = 0
    records_repeated: int = 0
    records_broken: int = 0
    not_started: int = 0
    not_started_vus_busy: int = 0
    started_early_ms: float = 0.0
    in_flight_mean: float = 0.0

    def leg(self, name: str) -> Latency:
        """Return one leg's latency by name."""
        return dict(self.legs)[name]
