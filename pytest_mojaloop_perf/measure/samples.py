"""Reading the stored transactions: one Parquet file, only the columns and the precision that are needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from pytest_mojaloop_perf.errors import InvalidRunError
from pytest_mojaloop_perf.model import COMMITTED, LEGS, LegName, LoadRun

__all__ = ["COLUMNS", "Codes", "Flags", "Floats", "Labels", "Samples", "read_samples"]

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Codes: TypeAlias = npt.NDArray[np.uint16]

COLUMNS: tuple[str, ...] = (
    "iteration",
    "scheduled_ms",
    "started_ms",
    "ended_ms",
    *(f"{leg}_ms" for leg in LEGS),
    "payer",
    "payee",
    "outcome",
)
_NAN = float("nan")
_CLOCK_SLACK_MS = 5_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A text column: the distinct texts, sorted, and each row's index into them."""

    names: tuple[str, ...]
    codes: Codes

    def is_one_of(self, wanted: set[str]) -> Flags:
        """Say for each row whether its text is one of `wanted`."""
        table = np.array([name in wanted for name in self.names], dtype=bool)
        flags: Flags = table[self.codes] if len(table) else np.zeros(len(self.codes), dtype=bool)
        return flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """All rows of a run that can be right. Times are epoch milliseconds; an unended one is NaN.

    `records` counts the rows of the file, `repeated` those whose iteration number occurred before, `broken`
    those that contradict themselves (see `read_samples`); broken rows are counted and left out.
    """

    scheduled_ms: Floats
    started_ms: Floats
    ended_ms: Floats
    legs_ms: dict[LegName, npt.NDArray[np.float32]]
    payer: Labels
    payee: Labels
    outcome: Labels
    records: int
    repeated: int
    broken: int

    @property
    def committed(self) -> Flags:
        """Say for each row whether the payer saw COMMITTED."""
        return self.outcome.is_one_of({COMMITTED})


def read_samples(path: Path, load: LoadRun) -> Samples:
    """Return the rows of a transactions file.

    A row is broken when it has no scheduled or start time, no outcome, an end before its start, a negative
    leg, a time outside the run, or COMMITTED without an end and without all three legs.

    Raises:
        InvalidRunError: there is no such file, it is not Parquet, or a column is missing or of another type.
    """
    try:
        return _read(path, load)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidRunError(
            f"the transactions in {path} cannot be read: {str(error).splitlines()[0]}",
            remedy="run the load again; without its records a run has no result",
            evidence=str(path),
        ) from error


def _read(path: Path, load: LoadRun) -> Samples:
    table = pl.scan_parquet(path)
    absent = [name for name in COLUMNS if name not in table.collect_schema().names()]
    if absent:
        raise InvalidRunError(
            f"the transactions in {path} have no column {', '.join(absent)}",
            remedy="measure a file that this version of the package wrote",
            evidence=str(path),
        )
    # One group of columns at a time: the peak is one group as the engine holds it, not the whole table.
    repeated = _repeats(_column(table, pl.col("iteration").cast(pl.Int64)))
    scheduled, started, ended = (
        _column(table, pl.col(name).cast(pl.Float64).fill_null(_NAN))
        for name in ("scheduled_ms", "started_ms", "ended_ms")
    )
    legs = {leg: _column(table, pl.col(f"{leg}_ms").cast(pl.Float32).fill_null(_NAN)) for leg in LEGS}
    payer, payee, outcome = (_labels(table, name) for name in ("payer", "payee", "outcome"))
    good = _plausible(scheduled, started, ended, load) & ~outcome.is_one_of({""})
    committed = outcome.is_one_of({COMMITTED})
    good &= ~(committed & np.isnan(ended))
    for leg in legs.values():
        good &= ~(leg < 0) & ~(committed & np.isnan(leg))
    records = len(scheduled)
    broken = records - int(np.count_nonzero(good))
    if broken:
        scheduled, started, ended = scheduled[good], started[good], ended[good]
        legs = {name: leg[good] for name, leg in legs.items()}
        payer, payee, outcome = (
            Labels(names=labels.names, codes=labels.codes[good]) for labels in (payer, payee, outcome)
        )
    return Samples(
        scheduled_ms=scheduled,
        started_ms=started,
        ended_ms=ended,
        legs_ms=legs,
        payer=payer,
        payee=payee,
        outcome=outcome,
        records=records,
        repeated=repeated,
        broken=broken,
    )


def _column(table: pl.LazyFrame, expression: pl.Expr) -> npt.NDArray[Any]:
    return table.select(expression).collect(engine="streaming").to_series().to_numpy()


def _labels(table: pl.LazyFrame, name: str) -> Labels:
    text = pl.col(name).cast(pl.String).fill_null("")
    names = table.select(text.unique()).collect(engine="streaming").to_series().sort().to_list()
    codes = _column(table, text.cast(pl.Enum(names)).to_physical().cast(pl.UInt16))
    return Labels(names=tuple(names), codes=codes)


def _repeats(iterations: npt.NDArray[np.int64]) -> int:
    ordered = np.sort(iterations)
    return int(np.count_nonzero(ordered[1:] == ordered[:-1]))


def _plausible(scheduled: Floats, started: Floats, ended: Floats, load: LoadRun) -> Flags:
    earliest_ms, latest_ms = load.started_ms - _CLOCK_SLACK_MS, load.ended_ms + _CLOCK_SLACK_MS
    # Comparisons with NaN are false, so a missing time fails; only the end may be missing.
    flags: Flags = (
        (scheduled >= earliest_ms)
        & (scheduled <= latest_ms)
        & (started >= earliest_ms)
        & (started <= latest_ms)
        & (np.isnan(ended) | ((ended >= started) & (ended <= latest_ms)))
    )
    return flags
