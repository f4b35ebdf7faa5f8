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

_BLOCK_BYTES = 8 << 20
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
    records, lines = _read(source, len(pairs))
    good = records.height
    records = records.sort("iteration").filter(pl.col("iteration").ne_missing(pl.col("iteration").shift(1)))
    began = records["began_ms"].min() if records.height else None
    assert began is None or isinstance(began, int)
    partial = target.with_suffix(".partial")
    _rows(records.lazy(), float(began or 0), period_ns, pairs, drops).collect().write_parquet(partial)
    partial.replace(target)
    highest = int(records["iteration"][-1]) if records.height else -1
    return RecordCounts(
        rows=records.height,
        duplicates=good - records.height,
        malformed=lines - good,
        missing=(highest + 1 - records.height) if whole else 0,
        began_ms=None if began is None else float(began),
    )


def _read(source: Path, pairs: int) -> tuple[pl.DataFrame, int]:
    """Return the complete, readable records in the file's order, and how many lines there were.

    The file is read block by block, so that its text is never in memory as a whole.
    """
    blocks = [_block(b"", pairs)[0]]
    lines = 0
    if source.exists():
        with source.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                block += file.readline()
                if not block.endswith(b"\n"):
                    # Cut short: what is there of its outcome may be a part of the real one.
                    block += b",cut\n"
                good, count = _block(block, pairs)
                blocks.append(good)
                lines += count
    return pl.concat(blocks, rechunk=True), lines


def _block(block: bytes, pairs: int) -> tuple[pl.DataFrame, int]:
    """Return the records of some lines, and how many lines they were."""
    text = block.decode(errors="replace").splitlines()
    fields = pl.DataFrame({"line": text}, schema={"line": pl.String()}).select(
        pl.col("line").str.split_exact(",", len(COLUMNS) - 1).alias("fields"),
        commas=pl.col("line").str.count_matches(",", literal=True),
    )
    typed = [
        pl.col("fields").struct.field(f"field_{index}").cast(kind, strict=False).alias(name)
        for index, (name, kind) in enumerate(COLUMNS.items())
    ]
    needed = ("iteration", "began_ms", "started_ms", "ended_ms", "pair", "transfer_id")
    good = (
        pl.all_horizontal(pl.col(name).is_not_null() for name in needed)
        & (pl.col("commas") == len(COLUMNS) - 1)
        & pl.col("pair").is_between(0, pairs - 1)
        & (pl.col("ended_ms") >= pl.col("started_ms"))
        & pl.col("outcome").str.contains(_OUTCOME).fill_null(value=False)
    )
    return fields.select(*typed, "commas").filter(good).drop("commas"), len(text)


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
