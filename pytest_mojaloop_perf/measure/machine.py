"""What this machine did meanwhile: CPU of every process of ours, of everybody else, and what was stolen.

A thread samples cumulative counters into a file of the run folder; `machine_use` reads them back over the
window, so that the same figures come out when a stored run is judged again. Counters are cumulative, so a
late sample loses nothing; between two samples they are taken to grow evenly.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
import psutil

from pytest_mojaloop_perf.errors import InvalidRunError
from pytest_mojaloop_perf.measure.samples import Floats
from pytest_mojaloop_perf.model import MachineUse, ProcessUse, Value, Window

__all__ = ["MACHINE_SAMPLES", "OURSELVES", "MachineSampler", "machine_use"]

MACHINE_SAMPLES = "machine.jsonl"
"""Name of the sampler's file in a run folder."""
OURSELVES = "pytest"
"""Under this name the sampling process and those of its children that have no other name are counted."""
_GOLDEN = 0.6180339887498949


class _Use(Value, frozen=True, kw_only=True):
    """Cumulative CPU and run-queue seconds of a group of processes, and its state at one moment."""

    cpu_s: float = 0.0
    waited_s: float = 0.0
    memory_bytes: int = 0
    threads: int = 0
    allowed_cores: float = 0.0
    stopped: bool = False


class _Sample(Value, frozen=True, kw_only=True):
    """One line of the file; CPU times are cumulative core-seconds of the whole machine since it started."""

    at_ms: float
    cores: int
    busy_s: float
    steal_s: float
    iowait_s: float
    total_s: float
    throttled_s: float
    processes: dict[str, _Use]


class MachineSampler:
    """Sample this machine about once per interval, from `start` to `stop`, in a thread of its own.

    Args:
        processes: name to process id; each stands for itself and everything below it.
        path: where the samples go, one JSON object per line; overwritten.
        interval_s: mean time from one sample to the next.
    """

    def __init__(self, processes: Mapping[str, int], path: Path, *, interval_s: float = 1.0) -> None:
        assert interval_s > 0
        self._roots = dict(processes)
        self._path = path
        self._interval_s = interval_s
        self._ledger = _Ledger()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="machine-sampler", daemon=True)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Take the first sample at once and go on in the background."""
        self._path.unlink(missing_ok=True)
        self._take()
        self._thread.start()

    def add(self, name: str, pid: int) -> None:
        """Account for one more process from the next sample on."""
        with self._lock:
            self._roots[name] = pid

    def stop(self) -> None:
        """Take a last sample and end; harmless when called twice or before `start`."""
        if self._ended.is_set() or not self._thread.is_alive():
            return
        self._ended.set()
        self._thread.join()
        self._take()

    def _run(self) -> None:
        began = time.monotonic()
        for turn in itertools.count(1):
            # Within each interval at another phase, and at all phases equally often: what happens once a
            # second is then met as often as it lasts. Steps are 0.6 or 1.6 intervals.
            due = began + self._interval_s * (turn + turn * _GOLDEN % 1.0)
            if self._ended.wait(max(0.0, due - time.monotonic())):
                return
            self._take()

    def _take(self) -> None:
        with self._lock:
            roots = dict(self._roots)
        sink: IO[bytes]
        with self._path.open("ab") as sink:
            sink.write(msgspec.json.encode(_sample(self._ledger, roots)) + b"\n")


class _Ledger:
    """Cumulative use per name, kept over the end of single processes.

    A process that ends takes the CPU of its last interval with it; that part shows as foreign.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], tuple[float, float]] = {}
        self._sums: dict[str, tuple[float, float]] = {}
        self._allowed: dict[tuple[int, float], float] = {}
        self._last_s = time.time()

    def update(self, groups: Mapping[str, list[psutil.Process]]) -> dict[str, _Use]:
        """Add what each process used since it was last seen, and return the use per name."""
        now_s = time.time()
        uses = {name: self._group(name, members) for name, members in groups.items()}
        self._last_s = now_s
        return uses

    def _group(self, name: str, members: list[psutil.Process]) -> _Use:
        memory_bytes = threads = 0
        stopped = False
        busiest_s, allowed_cores = -1.0, 0.0
        for process in members:
            with contextlib.suppress(psutil.Error), process.oneshot():
                key = (process.pid, process.create_time())
                used_s = self._add(name, key, process)
                memory_bytes += process.memory_info().rss
                threads += process.num_threads()
                stopped |= process.status() == psutil.STATUS_STOPPED
                if used_s > busiest_s:
                    busiest_s = used_s
                    if key not in self._allowed:
                        self._allowed[key] = _allowed_cores(process)
                    allowed_cores = self._allowed[key]
        cpu_s, waited_s = self._sums.get(name, (0.0, 0.0))
        return _Use(
            cpu_s=cpu_s,
            waited_s=waited_s,
            memory_bytes=memory_bytes,
            threads=threads,
            allowed_cores=allowed_cores,
            stopped=stopped,
        )

    def _add(self, name: str, key: tuple[int, float], process: psutil.Process) -> float:
        """Add one process's growth to its name's sums and return its CPU seconds so far."""
        times = process.cpu_times()
        now = (times.user + times.system, _waited_s(process.pid))
        # What a process used before it was first seen belongs to us only if it began since the last look.
        began_since = key[1] >= self._last_s - 0.05
        before = self._seen.get(key, (0.0, 0.0) if began_since else now)
        cpu_s, waited_s = self._sums.get(name, (0.0, 0.0))
        # A thread that ends takes its run-queue time with it, so the sum over threads can shrink.
        self._sums[name] = (cpu_s + max(0.0, now[0] - before[0]), waited_s + max(0.0, now[1] - before[1]))
        self._seen[key] = now
        return now[0]


def machine_use(path: Path, window: Window, cores: int | None = None) -> MachineUse:
    """Return what the machine did over the window, from the samples of a run.

    `samples` is 0 when none lies in the window, and `longest_gap_s` tells a hole in them: gates refuse both.

    Args:
        path: the sampler's file.
        window: the steady window.
        cores: of this machine; by default as the sampler saw it.

    Raises:
        InvalidRunError: the file is there and cannot be read as samples.
    """
    samples = list(_read(path))
    inside = [one for one in samples if window.start_ms <= one.at_ms <= window.end_ms]
    if not inside:
        return MachineUse(
            cores=cores or 0,
            busy_cores=0.0,
            foreign_cores=0.0,
            steal_percent=0.0,
            processes=(),
            samples=0,
            longest_gap_s=window.duration_s,
        )
    growth = _Growth(np.array([one.at_ms for one in samples]), window)
    total = growth.per_s(one.total_s for one in samples)
    busy = growth.per_s(one.busy_s for one in samples)
    names = sorted({name for one in samples for name in one.processes})
    processes = tuple(_process(name, samples, inside, growth) for name in names)
    percent = 100.0 / total if total > 0 else 0.0
    return MachineUse(
        cores=cores or inside[-1].cores,
        busy_cores=busy,
        foreign_cores=max(0.0, busy - sum(process.cpu_cores for process in processes)),
        steal_percent=percent * growth.per_s(one.steal_s for one in samples),
        processes=processes,
        samples=len(inside),
        iowait_percent=percent * growth.per_s(one.iowait_s for one in samples),
        throttled_percent=100.0 * growth.per_s(one.throttled_s for one in samples),
        longest_gap_s=growth.longest_gap_s(),
    )


class _Growth:
    """How cumulative counters grew over a window, per second of it."""

    def __init__(self, at_ms: Floats, window: Window) -> None:
        self._at_ms = at_ms
        self._window = window

    def per_s(self, values: Iterable[float]) -> float:
        """Return the growth of one counter, given with one value per sample."""
        edges_ms = (self._window.start_ms, self._window.end_ms)
        first, last = np.interp(edges_ms, self._at_ms, np.fromiter(values, dtype=np.float64))
        return float(last - first) / self._window.duration_s

    def longest_gap_s(self) -> float:
        """Return the longest stretch of the window without a sample; a sample just outside counts."""
        start_ms, end_ms = self._window.start_ms, self._window.end_ms
        before, after = self._at_ms[self._at_ms <= start_ms], self._at_ms[self._at_ms >= end_ms]
        within = self._at_ms[(self._at_ms > start_ms) & (self._at_ms < end_ms)]
        marks = np.concatenate((before[-1:], [start_ms] * (not len(before)), within))
        marks = np.concatenate((marks, [end_ms] * (not len(after)), after[:1]))
        return float(np.diff(marks).max()) / 1000.0


def _process(name: str, samples: list[_Sample], inside: list[_Sample], growth: _Growth) -> ProcessUse:
    nothing = _Use()
    here = [one.processes[name] for one in inside if name in one.processes]
    return ProcessUse(
        name=name,
        cpu_cores=growth.per_s(one.processes.get(name, nothing).cpu_s for one in samples),
        memory_peak_bytes=max((use.memory_bytes for use in here), default=0),
        threads=max((use.threads for use in here), default=0),
        allowed_cores=here[-1].allowed_cores if here else 0.0,
        waiting_cores=growth.per_s(one.processes.get(name, nothing).waited_s for one in samples),
        stopped_percent=100.0 * sum(use.stopped for use in here) / len(here) if here else 0.0,
    )


def _read(path: Path) -> Iterator[_Sample]:
    decoder = msgspec.json.Decoder(_Sample)
    try:
        for line in path.read_bytes().splitlines(keepends=True):
            # A run that was killed may have left half a line at the end.
            if line.endswith(b"\n"):
                yield decoder.decode(line)
    except FileNotFoundError:
        return
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidRunError(
            f"the machine samples in {path} cannot be read: {error}",
            remedy="run the load again; without them nobody knows what else used this machine",
            evidence=str(path),
        ) from error


def _sample(ledger: _Ledger, roots: Mapping[str, int]) -> _Sample:
    cpu = psutil.cpu_times()
    at_ms = time.time() * 1000.0
    # Fields that a platform does not have count as nothing; guest time is part of user time already.
    steal_s, iowait_s = getattr(cpu, "steal", 0.0), getattr(cpu, "iowait", 0.0)
    parts = ("user", "nice", "system", "irq", "softirq")
    busy_s = sum(getattr(cpu, part, 0.0) for part in parts)
    return _Sample(
        at_ms=at_ms,
        cores=psutil.cpu_count() or 1,
        busy_s=busy_s,
        steal_s=steal_s,
        iowait_s=iowait_s,
        total_s=busy_s + cpu.idle + steal_s + iowait_s,
        throttled_s=_throttled_s(),
        processes=ledger.update(_groups(roots)),
    )


def _groups(roots: Mapping[str, int]) -> dict[str, list[psutil.Process]]:
    """Return the processes below each root; one below two roots belongs to the nearer."""
    owners = {os.getpid(): OURSELVES} | {pid: name for name, pid in roots.items()}
    everybody = {process.pid: process for process in psutil.process_iter(["ppid"])}
    found: dict[str, list[psutil.Process]] = {name: [] for name in owners.values()}
    for pid, process in everybody.items():
        at: int | None = pid
        seen: set[int] = set()
        while at is not None and at not in owners and at not in seen:
            seen.add(at)
            above = everybody.get(at)
            at = above.info["ppid"] if above is not None else None
        if at in owners:
            found[owners[at]].append(process)
    return found


def _waited_s(pid: int) -> float:
    """Return how long the threads of a process stood in a run queue, where the kernel tells (Linux)."""
    waited_ns = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for task in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                waited_ns += int(Path(task.path, "schedstat").read_text().split()[1])
    return waited_ns / 1e9


def _allowed_cores(process: psutil.Process) -> float:
    """Return how many cores a process may use at once: its CPU set, and for a Go program GOMAXPROCS."""
    cores = float(psutil.cpu_count() or 1)
    with contextlib.suppress(psutil.Error, AttributeError):
        cores = min(cores, float(len(process.cpu_affinity())))
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        cores = min(cores, float(int(process.environ().get("GOMAXPROCS", "") or cores)))
    return max(1.0, cores)


def _throttled_s() -> float:
    """Return for how long the CPU quota of our control group has held it back; 0 where that is not told."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            base = Path("/sys/fs/cgroup", "cpu" if controllers else "")
            for folder in (base / group.lstrip("/"), base):
                if (folder / "cpu.stat").is_file():
                    return _throttled_of((folder / "cpu.stat").read_text())
    return 0.0


def _throttled_of(text: str) -> float:
    """Return the throttled seconds that a `cpu.stat` file tells: microseconds in v2, nanoseconds in v1."""
    facts = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    if "throttled_usec" in facts:
        return int(facts["throttled_usec"]) / 1e6
    return int(facts.get("throttled_time", 0)) / 1e9
