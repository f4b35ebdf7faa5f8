"""Run the load: start k6, watch it, end it in every ending, and return what it did as a `LoadRun`."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.artifacts import RunFolder, redact
from pytest_mojaloop_perf.assets import asset
from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.faults import read_faults
from pytest_mojaloop_perf.load.exits import (
    Ended,
    SummaryCounts,
    classify_exit,
    read_status_line,
    read_summary,
)
from pytest_mojaloop_perf.load.invocation import SCRIPT, Files, Invocation, make_invocation
from pytest_mojaloop_perf.load.k6 import K6
from pytest_mojaloop_perf.load.records import DropCount, RecordCounts, convert_records
from pytest_mojaloop_perf.load.scenario import Settings, make_settings
from pytest_mojaloop_perf.load.starve import Starvation
from pytest_mojaloop_perf.load.watch import DropWatch, RecordTail, program_pid
from pytest_mojaloop_perf.model import Environment, LoadRun, Plan, Value
from pytest_mojaloop_perf.progress import Progress
from pytest_mojaloop_perf.units import format_number
from pytest_mojaloop_perf.wait import pause

__all__ = ["TRANSACTIONS", "run_load"]

TRANSACTIONS = "transactions.parquet"
_TICK_S = 0.1
_GRACE_S = 0.4
_STARTUP_S = 60.0
_WIND_UP_S = 30.0
_REMEDY = "look into the generator's log; run again with a lower --tps if the machine was overloaded"


class _Ended(Value, frozen=True, kw_only=True):
    """How the process ended, and what was seen of it on the way."""

    status: int
    started_ms: float
    ended_ms: float
    drops: tuple[DropCount, ...]


def run_load(
    plan: Plan,
    environment: Environment,
    folder: RunFolder,
    k6: K6,
    *,
    progress: Progress,
    alive: Callable[[], None],
    on_started: Callable[[int], None] | None = None,
    script: Path | None = None,
) -> LoadRun:
    """Offer the plan's load to the environment and return what the generator did.

    However k6 ends, a `LoadRun` says how; only what is not k6's doing is raised.

    Args:
        plan: decides rate, duration, pairs and seed.
        environment: where the payers' outbound URLs are.
        folder: receives settings, log, k6's summary and the transactions file.
        k6: the program.
        progress: told about seconds done and records so far.
        alive: called several times a second; it raises when the environment broke, and k6 is then ended.
        on_started: told k6's own pid (not its guard's), once.
        script: another script than the packaged one.

    Raises:
        BadInputError: matrix and environment do not belong together.
        InfrastructureError: k6 outlived its bound; or whatever `alive` raised.
    """
    job = _Job(plan, environment, folder, k6, script or asset(SCRIPT))
    ended = job.run(progress, alive, on_started or (lambda _pid: None))
    return job.result(ended)


class _Job:
    """One run of k6."""

    def __init__(self, plan: Plan, environment: Environment, folder: RunFolder, k6: K6, script: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._k6 = k6
        self._script = script
        self._log = folder.log("k6")
        self._log.unlink(missing_ok=True)
        self._files = Files.under(folder.path)
        self._files.clear()
        self._settings = make_settings(plan, environment, summary_file=str(self._files.summary))

    def run(self, progress: Progress, alive: Callable[[], None], on_started: Callable[[int], None]) -> _Ended:
        """Run k6 to its end; in any other ending of ours k6 is ended too."""
        call = make_invocation(self._k6, self._settings, self._files, self._script)
        tail, drops = RecordTail(self._files.records), DropWatch(call.api_port)
        self._folder.journal("start k6", argv=call.argv)
        started_ms = time.time() * 1000.0
        process = self._start(call)
        with contextlib.ExitStack() as endings:
            endings.callback(process.stop, grace_s=_GRACE_S)
            self._watch(
                process, endings, alive, on_started, lambda: _tell(progress, self._settings, tail, drops)
            )
        status = process.poll()
        assert status is not None
        return _Ended(
            status=status, started_ms=started_ms, ended_ms=time.time() * 1000.0, drops=tuple(drops.counts)
        )

    def _start(self, call: Invocation) -> command.Process:
        return command.start(
            call.argv,
            name="k6",
            log=self._log,
            remedy=_REMEDY,
            env=call.env,
            drop_env=call.drop_env,
            guarded=True,
        )

    def _watch(
        self,
        process: command.Process,
        endings: contextlib.ExitStack,
        alive: Callable[[], None],
        on_started: Callable[[int], None],
        tell: Callable[[], None],
    ) -> None:
        settings = self._settings
        bound_s = _STARTUP_S + settings.duration_ns / 1e9 + settings.drain_ms / 1e3 + _WIND_UP_S
        deadline = time.monotonic() + bound_s
        percent = float(read_faults(self._plan.faults).starved_generator_percent)
        pid: int | None = None
        while process.poll() is None:
            alive()
            if pid is None and (pid := program_pid(process.pid)) is not None:
                on_started(pid)
                if percent:
                    endings.enter_context(Starvation(pid, percent))
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"k6 was still running after {bound_s:.0f}s, expected it to end by itself",
                    remedy=_REMEDY,
                    evidence=str(self._log),
                )
            tell()
            pause(_TICK_S)

    def result(self, ended: _Ended) -> LoadRun:
        """Convert the records and put together what k6 said, printed and recorded."""
        settings = self._settings
        transactions = self._folder.file(TRANSACTIONS)
        records = convert_records(
            self._files.records,
            transactions,
            period_ns=settings.period_ns,
            pairs=[(pair.payer, pair.payee) for pair in settings.pairs],
            drops=ended.drops,
            whole=settings.segment is None,
        )
        how, detail = classify_exit(ended.status)
        if how != "ok":
            detail = f"{detail}: {_last_words(self._log)}".rstrip(": ")
        counts = _count(how, ended, records, read_summary(self._files.summary), read_status_line(self._log))
        if counts.lost == 0:
            self._files.records.unlink(missing_ok=True)
        return LoadRun(
            ended=how,
            ended_detail=detail,
            started_ms=ended.started_ms,
            ended_ms=ended.ended_ms,
            first_arrival_ms=ended.started_ms if records.began_ms is None else records.began_ms,
            offered_tps=1e9 / settings.period_ns,
            planned_arrivals=settings.arrivals,
            iterations=counts.iterations,
            dropped=counts.dropped,
            interrupted=counts.interrupted,
            records_lost=counts.lost,
            vus_max=counts.vus_max or settings.vus,
            vus_peak=counts.vus_peak,
            transactions=transactions,
            k6_version=self._k6.version,
            k6_path=str(self._k6.path),
            script_sha256=hashlib.sha256(self._script.read_bytes()).hexdigest(),
            seed=self._plan.seed,
        )


class _Counts(Value, frozen=True, kw_only=True):
    iterations: int
    dropped: int
    interrupted: int
    lost: int
    vus_max: int = 0
    vus_peak: int = 0


def _count(
    how: Ended,
    ended: _Ended,
    records: RecordCounts,
    summary: SummaryCounts | None,
    printed: tuple[int, int] | None,
) -> _Counts:
    """Compare k6's own counts with the records; a k6 that was killed left only what it printed last."""
    complete, interrupted = printed or (0, 0)
    iterations = summary.iterations if summary else max(records.rows, complete)
    damaged = records.malformed + records.duplicates
    lost = max(iterations - records.rows, damaged, 0)
    if how == "killed":
        # What was under way when it was killed left no record, and that is no loss of one.
        interrupted = max(interrupted, records.missing)
    else:
        lost = max(lost, records.missing - interrupted)
    return _Counts(
        # One that ended just as k6 was told to stop has a record, though k6 counts it as interrupted.
        iterations=max(iterations, records.rows),
        dropped=summary.dropped if summary else ended.drops[-1].dropped if ended.drops else 0,
        interrupted=interrupted,
        lost=lost,
        vus_max=summary.vus_max if summary else 0,
        vus_peak=summary.vus_peak if summary else 0,
    )


def _tell(progress: Progress, settings: Settings, tail: RecordTail, drops: DropWatch) -> None:
    drops.poll()
    total_s = settings.duration_ns / 1e9
    lines = tail.read()
    if tail.began_ms is None:
        progress.advance("load", 0.0, total_s, "k6 is starting")
        return
    done_s = time.time() - tail.began_ms / 1000.0
    note = f"{format_number(lines)} of {format_number(settings.arrivals)} transactions ended"
    if drops.dropped:
        note += f", {format_number(drops.dropped)} arrivals dropped"
    if done_s < total_s:
        progress.advance("load", done_s, total_s, note)
    else:
        drain_s = settings.drain_ms / 1e3
        progress.advance("drain, at most", min(done_s - total_s, 0.99 * drain_s), drain_s, note)


def _last_words(log: Path) -> str:
    if not log.exists():
        return ""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    wordy = [line for line in lines if not line.startswith(("running (", "transactions ", "/", "\\"))]
    return redact(" | ".join(wordy[-3:]))[-600:]
