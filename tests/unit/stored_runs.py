"""Synthetic runs with known answers: a transactions file, and the values around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.measure.machine import MACHINE_SAMPLES
from pytest_mojaloop_perf.measure.measure import measure
from pytest_mojaloop_perf.model import (
    LoadRun,
    LoadShape,
    MachineUse,
    Matrix,
    Measurement,
    Objective,
    Pair,
    Plan,
    ProbeResult,
    ProcessUse,
    Profile,
    Reconciliation,
    SecurityObserved,
    Verdict,
)
from pytest_mojaloop_perf.verdict.judge import judge

T0 = 1_750_000_000_000.0
"""First arrival of every synthetic run, epoch milliseconds."""

SHAPE = LoadShape(
    tps=50,
    offered_percent=100,
    duration_s=40,
    warmup_s=5,
    cooldown_s=5,
    drain_s=12,
    request_timeout_s=10,
)
OBJECTIVES = (
    Objective(metric="tps", op=">=", limit=50),
    Objective(metric="success_percent", op=">", limit=99.5),
    Objective(metric="e2e_p95_ms", op="<", limit=500),
    Objective(metric="unanswered_percent", op="<", limit=0.05),
)
PROFILE = Profile(name="synthetic", summary="known answers", load=SHAPE, objectives=OBJECTIVES)
MACHINE = MachineUse(
    cores=2,
    busy_cores=0.9,
    foreign_cores=0.05,
    steal_percent=0.0,
    processes=(
        ProcessUse(name="hub", cpu_cores=0.2, memory_peak_bytes=50_000_000, threads=3, allowed_cores=2),
        ProcessUse(name="dfsps-1", cpu_cores=0.3, memory_peak_bytes=50_000_000, threads=2, allowed_cores=2),
        ProcessUse(name="dfsps-2", cpu_cores=0.2, memory_peak_bytes=50_000_000, threads=2, allowed_cores=2),
        ProcessUse(name="k6", cpu_cores=0.1, memory_peak_bytes=90_000_000, threads=9, allowed_cores=2),
        ProcessUse(name="pytest", cpu_cores=0.05, memory_peak_bytes=90_000_000, threads=2, allowed_cores=2),
    ),
    samples=30,
    longest_gap_s=1.2,
)
RECONCILIATION = Reconciliation(
    transfers=2000,
    committed=2000,
    aborted=0,
    in_flight=0,
    committed_but_payer_saw_error=0,
    defects=(),
    sources=("k6", "ledger", "dfsps"),
)
SECURITY = tuple(
    SecurityObserved(
        when=when,
        probes=(
            ProbeResult(
                name="no client certificate",
                control="mtls",
                expected="TLS alert",
                observed="TLS alert",
                refused=True,
            ),
        ),
    )
    for when in ("before", "after")
)

Rows = dict[str, Any]


def rows(
    *,
    shape: LoadShape = SHAPE,
    spent_ms: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] | float = 90.0,
    lateness_ms: float = 0.5,
    change: Callable[[Rows], None] | None = None,
    keep: npt.NDArray[np.bool_] | None = None,
) -> pl.DataFrame:
    """Return a run's transactions; arrival i is at `T0 + i * period` and takes `spent_ms` (of its time)."""
    count = round(shape.duration_s * shape.offered_tps)
    at_ms = np.arange(count, dtype=np.float64) * (1000.0 / shape.offered_tps)
    spent = spent_ms(at_ms) if callable(spent_ms) else np.full(count, spent_ms)
    columns: Rows = {
        "iteration": np.arange(count),
        "scheduled_ms": T0 + at_ms,
        "started_ms": T0 + at_ms + lateness_ms,
        "ended_ms": T0 + at_ms + lateness_ms + spent,
        "discovery_ms": (spent * 0.2).astype(np.float32),
        "quote_ms": (spent * 0.3).astype(np.float32),
        "transfer_ms": (spent * 0.5).astype(np.float32),
        "payer": np.where(np.arange(count) % 2 == 0, "fsp201", "fsp203").astype(object),
        "payee": np.full(count, "fsp202", dtype=object),
        "transfer_id": np.array([f"t{number}" for number in range(count)], dtype=object),
        "outcome": np.full(count, "COMMITTED", dtype=object),
    }
    if change is not None:
        change(columns)
    frame = pl.DataFrame({name: values.tolist() for name, values in columns.items()}, strict=False)
    frame = frame.with_columns(pl.col("discovery_ms", "quote_ms", "transfer_ms").cast(pl.Float32))
    return frame if keep is None else frame.filter(pl.Series(keep))


def store(folder: Path, frame: pl.DataFrame, *, shape: LoadShape = SHAPE, **changes: Any) -> LoadRun:
    """Write the transactions and return the run of a generator that did all it should have."""
    path = folder / "transactions.parquet"
    frame.write_parquet(path)
    planned = round(shape.duration_s * shape.offered_tps)
    load = LoadRun(
        ended="ok",
        started_ms=T0 - 500,
        ended_ms=T0 + shape.duration_s * 1000.0 + shape.drain_s * 1000.0,
        first_arrival_ms=T0,
        offered_tps=shape.offered_tps,
        planned_arrivals=planned,
        iterations=frame.height,
        dropped=planned - frame.height,
        interrupted=0,
        records_lost=0,
        vus_max=250,
        vus_peak=20,
        transactions=path,
        k6_version="1.8.1",
        k6_path="k6",
        script_sha256="0" * 64,
        seed=7,
    )
    return msgspec.structs.replace(load, **changes)


def plan(folder: Path, profile: Profile = PROFILE, **changes: Any) -> Plan:
    """Return the plan of an embedded run."""
    made = Plan(
        run_id="r1",
        created="2025-01-01T00:00:00+00:00",
        target="embedded",
        target_reason="asked for",
        switch="reference",
        kind="perf",
        profile=profile,
        matrix=Matrix(name="one", pairs=(Pair(payer="fsp201", payee="fsp202", weight_percent=100),)),
        dfsps=(),
        seed=7,
        run_folder=folder,
    )
    return msgspec.structs.replace(made, **changes)


class Run:
    """A run of which a test changes one thing; `verdict` judges it."""

    def __init__(self, folder: Path, frame: pl.DataFrame | None = None, **load_changes: Any) -> None:
        self.folder = folder
        self.plan = plan(folder)
        self.load = store(folder, rows() if frame is None else frame, **load_changes)
        self.machine: MachineUse | None = MACHINE
        self.reconciliation: Reconciliation | None = RECONCILIATION
        self.security: tuple[SecurityObserved, ...] = SECURITY
        self.changes: dict[str, Any] = {}

    def profile(self, **changes: Any) -> Run:
        """Change the profile."""
        changed = msgspec.structs.replace(self.plan.profile, **changes)
        self.plan = msgspec.structs.replace(self.plan, profile=changed)
        return self

    @property
    def measurement(self) -> Measurement:
        """What is measured, with `changes` applied."""
        made = measure(self.load.transactions, self.load, self.plan.profile, self.machine)
        return msgspec.structs.replace(made, **self.changes)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the run as it now is."""
        return judge(
            self.plan,
            self.load,
            self.measurement,
            reconciliation=self.reconciliation,
            security=self.security,
        )


def machine_lines(*, seconds: int = 60, from_s: float = -2.0) -> str:
    """Return the sampler's file of a quiet two-core machine: hub 0.4, k6 0.2, others 0.1 cores, 1 % steal."""
    lines = []
    for number in range(seconds):
        at_s = from_s + number
        use = {"memory_bytes": 1000 + number, "threads": 3, "allowed_cores": 2.0, "stopped": False}
        lines.append(
            {
                "at_ms": T0 + at_s * 1000.0,
                "cores": 2,
                "busy_s": 100 + 0.7 * number,
                "steal_s": 0.02 * number,
                "iowait_s": 0.04 * number,
                "total_s": 300 + 2.0 * number,
                "throttled_s": 0.0,
                "processes": {
                    "hub": {**use, "cpu_s": 0.4 * number, "waited_s": 0.01 * number},
                    "k6": {**use, "cpu_s": 0.2 * number, "waited_s": 0.0},
                },
            }
        )
    return "".join(msgspec.json.encode(line).decode() + "\n" for line in lines)


def stored_run(folder: Path) -> RunFolder:
    """Store a whole judged run, as the fixtures leave it, and return its folder."""
    from pytest_mojaloop_perf.measure.machine import machine_use
    from pytest_mojaloop_perf.measure.window import steady_window

    run_folder = RunFolder.create(folder)
    run = Run(folder)
    samples = run_folder.file(MACHINE_SAMPLES)
    samples.write_text(machine_lines())
    run.machine = machine_use(samples, steady_window(run.load, SHAPE))
    for value in (run.plan, run.load, run.measurement, run.verdict, RECONCILIATION):
        run_folder.write(value)
    for observed in SECURITY:
        run_folder.write(observed, name=f"security-{observed.when}")
    return run_folder
