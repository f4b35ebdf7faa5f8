"""Measure 1,000,000 stored transactions: how long it takes, how much memory, whether the figures are right.

    python bench/measure_million.py [--transactions N] [--keep FILE]

A file of realistic transactions is made (the same every time), a child process measures it, and what it
found is compared with the same figures worked out here in the plainest way. Ends with status 1 when they
differ. The goal is 5 s and 300 MB for the whole child, interpreter and imports included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from pytest_mojaloop_perf.measure.measure import measure
from pytest_mojaloop_perf.model import LoadRun, LoadShape, Measurement, Objective, Profile
from pytest_mojaloop_perf.profiles import load_matrix
from pytest_mojaloop_perf.units import format_number

GOAL_S = 5.0
GOAL_BYTES = 300_000_000
_RATE_TPS = 1010.0
_FIRST_ARRIVAL_MS = 1_750_000_000_000.0
_TIMEOUT_MS = 30_000.0


def make_file(path: Path, count: int) -> None:
    """Write `count` transactions with a slowly wandering queue, heavy tails, errors and timeouts."""
    random = np.random.default_rng(20250101)
    scheduled = _FIRST_ARRIVAL_MS + np.arange(count) * 1000.0 / _RATE_TPS
    started = scheduled + random.exponential(0.4, count)
    seconds = (np.arange(count) / _RATE_TPS).astype(np.int64)
    wander = np.zeros(seconds[-1] + 1)
    for at in range(1, len(wander)):
        wander[at] = 0.95 * wander[at - 1] + random.normal(0, 0.1)
    legs = [
        (median * np.exp(wander[seconds] + random.normal(0, 0.5, count))).astype(np.float32)
        for median in (15.0, 25.0, 40.0)
    ]
    pairs = load_matrix("asymmetric").pairs
    weights = np.array([pair.weight_percent for pair in pairs]) / 100.0
    pair = random.choice(len(pairs), size=count, p=weights / weights.sum())
    fate = random.random(count)
    outcome = np.full(count, "COMMITTED", dtype=object)
    outcome[fate < 0.002] = "transfer:4001"
    outcome[fate < 0.0008] = "transfer:timeout"
    spent = legs[0].astype(np.float64) + legs[1] + legs[2]
    late = outcome == "transfer:timeout"
    spent[late] = _TIMEOUT_MS
    table = pl.DataFrame(
        {
            "iteration": np.arange(count),
            "scheduled_ms": scheduled,
            "started_ms": started,
            "ended_ms": started + spent,
            "discovery_ms": legs[0],
            "quote_ms": legs[1],
            "transfer_ms": pl.Series(legs[2]).set(pl.Series(late), None),
            "payer": [pairs[one].payer for one in pair],
            "payee": [pairs[one].payee for one in pair],
            "transfer_id": [f"{one:032x}" for one in range(count)],
            "outcome": outcome.tolist(),
        },
        schema_overrides={"payer": pl.Categorical, "payee": pl.Categorical},
    )
    table.write_parquet(path)


def run_of(path: Path, count: int) -> tuple[LoadRun, Profile]:
    """Return the run and the profile that the file stands for."""
    duration_s = count / _RATE_TPS
    load = LoadRun(
        ended="ok",
        started_ms=_FIRST_ARRIVAL_MS - 1000.0,
        ended_ms=_FIRST_ARRIVAL_MS + duration_s * 1000.0 + 2 * _TIMEOUT_MS,
        first_arrival_ms=_FIRST_ARRIVAL_MS,
        offered_tps=_RATE_TPS,
        planned_arrivals=count,
        iterations=count,
        dropped=0,
        interrupted=0,
        records_lost=0,
        vus_max=2000,
        vus_peak=400,
        transactions=path,
        k6_version="none",
        k6_path="none",
        script_sha256="",
        seed=1,
    )
    shape = LoadShape(tps=1000.0, duration_s=duration_s, warmup_s=duration_s / 10, cooldown_s=duration_s / 20)
    objective = Objective(metric="tps", op=">=", limit=1000.0)
    return load, Profile(name="bench", summary="a million", load=shape, objectives=(objective,))


def plain_figures(path: Path, measured: Measurement) -> dict[str, float]:
    """Work out the main figures with as little cleverness as possible."""
    table = pl.read_parquet(path)
    start, end = measured.window.start_ms, measured.window.end_ms
    good = table.filter(pl.col("outcome") == "COMMITTED")
    here = table.filter(pl.col("scheduled_ms").is_between(start, end, closed="left"))
    chosen = here.filter(pl.col("outcome") == "COMMITTED")
    ended = good.filter(pl.col("ended_ms").is_between(start, end, closed="left"))
    e2e = (chosen["ended_ms"] - chosen["scheduled_ms"]).to_numpy()
    payer, payee = pl.col("payer").cast(pl.String), pl.col("payee").cast(pl.String)
    big = chosen.filter((payer == "fsp201") & (payee == "fsp202"))
    big_e2e = (big["ended_ms"] - big["scheduled_ms"]).to_numpy()
    transfer: npt.NDArray[np.float64] = chosen["transfer_ms"].to_numpy().astype(np.float64)
    return {
        "tps": len(ended) / ((end - start) / 1000.0),
        "success_percent": 100.0 * len(chosen) / len(here),
        "e2e_p95_ms": float(np.percentile(e2e, 95)),
        "e2e_p99_ms": float(np.percentile(e2e, 99)),
        "transfer_p95_ms": float(np.percentile(transfer, 95)),
        "pair_p95_ms": float(np.percentile(big_e2e, 95)),
    }


def measured_figures(measured: Measurement) -> dict[str, float | None]:
    """Return the same figures from the measurement."""
    return {
        "tps": measured.tps,
        "success_percent": measured.success_percent,
        "e2e_p95_ms": measured.e2e.p95_ms,
        "e2e_p99_ms": measured.e2e.p99_ms,
        "transfer_p95_ms": measured.leg("transfer").p95_ms,
        "pair_p95_ms": measured.pairs[0].e2e.p95_ms,
    }


def peak_bytes() -> int:
    """Return the most memory this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: Linux carries that of the parent over to a process that it starts.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def child(path: str, count: int, answer: str) -> None:
    """Measure in a process of its own and leave the result in a file."""
    load, profile = run_of(Path(path), count)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    measured = measure(Path(path), load, profile, None)
    took = {"took_s": time.perf_counter() - began_s, "cpu_s": time.process_time() - cpu_s}
    Path(answer).write_bytes(
        msgspec.json.encode({"measured": measured, "peak_bytes": peak_bytes(), **took}, enc_hook=str)
    )


def main() -> int:
    """Make, measure, compare, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--transactions", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="write the transactions here and leave them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder, "transactions.parquet")
        answer = Path(folder, "answer.json")
        make_file(path, options.transactions)
        began_s = time.perf_counter()
        process = multiprocessing.get_context("spawn").Process(
            target=child, args=(str(path), options.transactions, str(answer))
        )
        process.start()
        process.join()
        whole_s = time.perf_counter() - began_s
        if process.exitcode != 0:
            return 1
        document = msgspec.json.decode(answer.read_bytes())
        measured = msgspec.convert(document["measured"], Measurement)
        plain, found = plain_figures(path, measured), measured_figures(measured)
    wrong = [
        name
        for name, value in plain.items()
        if found[name] is None or not np.isclose(value, found[name] or 0.0, rtol=1e-6)
    ]
    for name, value in plain.items():
        print(f"{name:<16} {value:>12.4f} {found[name] or 0:>12.4f}{'  DIFFERS' if name in wrong else ''}")
    print(f"interval of p95  {measured.e2e_p95_interval}")
    print(
        f"{format_number(options.transactions)} transactions measured in {document['took_s']:.2f} s "
        f"({document['cpu_s']:.2f} s CPU; {whole_s:.2f} s with start and imports; goal {GOAL_S:g} s), "
        f"peak memory {document['peak_bytes'] / 1e6:.0f} MB (goal {GOAL_BYTES / 1e6:.0f} MB)"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
