"""From k6's record lines to one Parquet row per transaction, with the arrival each was scheduled for.

Which arrival an iteration belongs to is rebuilt, because k6 does not tell. What that relies on (read in
`lib/executor/constant_arrival_rate.go` of k6 1.8.1): arrival n is due n periods after the scenario's start;
one loop hands arrivals to free VUs in order; `iterationInTest` counts only arrivals that found a VU. So
without drops iteration i *is* arrival i. With drops, arrival = i + (drops before it), and k6 tells only how
many drops there were when asked (`DropCount`). A drop counts as "before" only when it was known a margin
before the iteration started; otherwise the earlier arrival is taken. An error can only make a latency longer,
never shorter, by at most the polling interval and the margin. The start is cut to whole milliseconds by k6,
and so are the record's times: a latency is right to 1 ms. Two iterations that start within one period may
have their numbers swapped, and then their arrivals: their sum is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pytest_mojaloop_perf.model import Value

__all__ = ["COLUMNS", "SCHEMA", "DropCount", "RecordCounts", "convert_records"]

COLUMNS: dict[str, pl.DataType] = {
    "iteration": pl.Int64(),
    "began_ms": pl.Int64(),
    "started_ms": pl.Float64(),
    "ended_ms": pl.Float64(),
    "discovery_ms": pl.Float32(),
    "quote_ms": pl.Float32(),
    "transfer_ms": pl.Float32(),
    "pair": pl.Int16(),
    "transfer_id": pl.String(),
    "outcome": pl.String(),
}
"""The columns of a record line as `k6/transactions.js` logs it; `began_ms` is the scenario's start."""

SCHEMA: dict[str, pl.DataType] = {
    "iteration": pl.Int64(),
    "scheduled_ms": pl.Float64(),
    "started_ms": pl.Float64(),
    "ended_ms": pl.Float64(),
    "discovery_ms": pl.Float32(),
    "quote_ms": pl.Float32(),
    "transfer_ms": pl.Float32(),
    "payer": pl.String(),
    "payee": pl.String(),
    "transfer_id": pl.String(),
    "outcome": pl.String(),
}
"""The columns of the transactions file. Epoch milliseconds; a leg not reached or not answered is null."""

_DROP_MARGIN_MS = 250.0
_OUTCOME = r"^(COMMITTED|(discovery|quote|transfer):[a-z0-9-]+)$"


class DropCount(Value, frozen=True, kw_only=True):
    """At `at_ms` (epoch) k6 said that it had dropped `dropped` arrivals so far."""

    at_ms: float
    dropped: int


class RecordCounts(Value, frozen=True, kw_only=True):
    """What the record file held. `missing` are iteration numbers below the highest one without a record."""

    rows: int
    duplicates: int
    malformed: int
    missing: int
    began_ms: float | None


def convert_records(
    source: Path,
    target: Path,
    *,
    period_ns: int,
    pairs: Sequence[tuple[str, str]],
    drops: Sequence[DropCount] = (),
    whole: bool = True,
) -> RecordCounts:
    """Write the transactions file from the record lines and return the counts.

    Lines that are cut short, not a record, or repeat an iteration are left out and counted. `whole=False`
    says that the iteration numbers of other instances are expected to be missing (execution segments).
    """
    lines = _scan(source, len(pairs))
    frame = lines.filter(pl.col("ok")).unique(subset="iteration", keep="first").sort("iteration")
    counted = lines.select(total=pl.len(), good=pl.col("ok").sum()).collect()
    total, good = counted.row(0)
    began = frame.select(pl.col("began_ms").min()).collect().item() if good else None
    result = _rows(frame, float(began or 0), period_ns, pairs, drops).collect(engine="streaming")
    partial = target.with_suffix(".partial")
    result.write_parquet(partial, compression="zstd", statistics=True)
    partial.replace(target)
    highest = int(result["iteration"].max() or 0) if result.height else -1  # type: ignore[arg-type]
    return RecordCounts(
        rows=result.height,
        duplicates=int(good or 0) - result.height,
        malformed=int(total) - int(good or 0),
        missing=(highest + 1 - result.height) if whole else 0,
        began_ms=None if began is None else float(began),
    )


def _scan(source: Path, pairs: int) -> pl.LazyFrame:
    """Return the record lines, each with `ok`: complete and every value readable."""
    schema: dict[str, pl.DataType] = {"line": pl.String()}
    if _end_the_last_line(source):
        raw = pl.scan_csv(source, has_header=False, schema=schema, separator="\x01", quote_char=None)
    else:
        raw = pl.LazyFrame(schema=schema)
    fields = raw.select(
        pl.col("line").str.split_exact(",", len(COLUMNS)).alias("fields"),
        commas=pl.col("line").str.count_matches(",", literal=True),
    ).unnest("fields")
    typed = [
        pl.col(f"field_{index}").cast(kind, strict=False).alias(name)
        for index, (name, kind) in enumerate(COLUMNS.items())
    ]
    needed = ("iteration", "began_ms", "started_ms", "ended_ms", "pair", "transfer_id")
    return fields.select(*typed, "commas").with_columns(
        ok=pl.all_horizontal(pl.col(name).is_not_null() for name in needed)
        & (pl.col("commas") == len(COLUMNS) - 1)
        & pl.col("pair").is_between(0, pairs - 1)
        & (pl.col("ended_ms") >= pl.col("started_ms"))
        & pl.col("outcome").str.contains(_OUTCOME).fill_null(value=False)
    )


def _end_the_last_line(source: Path) -> bool:
    """Mark a last line without an end as cut short, as its outcome may be a part of the real one.

    Return whether there is any line.
    """
    if not source.exists() or source.stat().st_size == 0:
        return False
    with source.open("rb+") as file:
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b",cut\n")
    return True


def _rows(
    frame: pl.LazyFrame,
    began_ms: float,
    period_ns: int,
    pairs: Sequence[tuple[str, str]],
    drops: Sequence[DropCount],
) -> pl.LazyFrame:
    """Add the scheduled arrival and the pair's names."""
    period_ms = period_ns / 1e6
    if any(count.dropped for count in drops):
        frame = _with_drops(frame, drops)
    else:
        frame = frame.with_columns(dropped=pl.lit(0, pl.Int64))
    # No arrival is later than the start that it led to, whatever the drops say.
    latest = ((pl.col("started_ms") - began_ms) / period_ms).floor().cast(pl.Int64)
    arrival = pl.min_horizontal(
        pl.col("iteration") + pl.col("dropped"), pl.max_horizontal(latest, pl.col("iteration"))
    )
    names = list(range(len(pairs)))
    return frame.select(
        "iteration",
        (began_ms + arrival * period_ms).alias("scheduled_ms"),
        "started_ms",
        "ended_ms",
        "discovery_ms",
        "quote_ms",
        "transfer_ms",
        pl.col("pair").replace_strict(names, [p for p, _ in pairs], return_dtype=pl.String()).alias("payer"),
        pl.col("pair").replace_strict(names, [p for _, p in pairs], return_dtype=pl.String()).alias("payee"),
        "transfer_id",
        "outcome",
    )


def _with_drops(frame: pl.LazyFrame, drops: Sequence[DropCount]) -> pl.LazyFrame:
    """Add `dropped`: how many arrivals were surely dropped before the iteration's own."""
    known = pl.LazyFrame(
        {
            "known_ms": [count.at_ms + _DROP_MARGIN_MS for count in drops],
            "dropped": [count.dropped for count in drops],
        },
        schema={"known_ms": pl.Float64, "dropped": pl.Int64},
    ).sort("known_ms")
    # An iteration that was handed over before a later one cannot belong to a later arrival.
    ordered = frame.with_columns(not_after=pl.col("started_ms").reverse().cum_min().reverse()).sort(
        "not_after"
    )
    return (
        ordered.join_asof(known, left_on="not_after", right_on="known_ms", strategy="backward")
        .with_columns(pl.col("dropped").fill_null(0))
        .sort("iteration")
    )
