"""Is this machine fit to measure on? Each check takes what was observed and returns findings.

The checks are pure; what they look at is read by `machine_facts` and by the live tests, so that each of them
can be shown a machine that is not fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from pytest_mojaloop_perf.infra.finding import Finding, Findings
from pytest_mojaloop_perf.model import Plan, ValidityLimits, Value
from pytest_mojaloop_perf.units import format_number

__all__ = [
    "ClockReading",
    "Disk",
    "LoadSample",
    "PythonFacts",
    "check_clock",
    "check_clock_source",
    "check_cores",
    "check_disk",
    "check_foreign_load",
    "check_k6",
    "check_loopback",
    "check_memory",
    "check_open_files",
    "check_ports",
    "check_python",
    "disk_wanted_bytes",
    "vus_wanted",
]

CORES_MIN = 2.0
MEMORY_MIN_BYTES = 1 << 30
"""Hub, DFSPs and host take about 0.4 GiB, k6 about as much again at the default load."""
MEMORY_PER_VU_BYTES = 1_000_000
"""What a k6 VU takes with its JavaScript engine and its connections (k6's documentation: 1 to 5 MB)."""
OPEN_FILES_BASE = 512
PORTS_SPARE = 1000
DISK_BASE_BYTES = 200_000_000
DISK_PER_TRANSACTION_BYTES = 8_000
"""Ledger rows, write-ahead log, records and logs of one transaction."""
CLOCK_DRIFT_MAX_S = 0.01
LOOPBACK_MEDIAN_MAX_S = 0.005
_SLOW_CLOCKS = ("acpi_pm", "hpet", "jiffies", "refined-jiffies", "pit")
_NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb", "smbfs", "smb3", "9p", "afpfs", "fuse.sshfs", "webdav")
_SLOWING_VARIABLES = ("PYTHONDEVMODE", "PYTHONASYNCIODEBUG", "PYTHONTRACEMALLOC", "PYTHONPROFILEIMPORTTIME")


class ClockReading(Value, frozen=True, kw_only=True):
    """Both clocks of this machine at one moment, seconds."""

    wall_s: float
    monotonic_s: float


class LoadSample(Value, frozen=True, kw_only=True):
    """What the machine did over a moment: cores of work of everybody but us, and stolen CPU time."""

    foreign_cores: float
    steal_percent: float


class Disk(Value, frozen=True, kw_only=True):
    """The file system that will hold the run folder."""

    path: Path
    free_bytes: int
    file_system: str


class PythonFacts(Value, frozen=True, kw_only=True):
    """What matters of the Python that runs the switch, with the `PYTHON...` variables that it obeys."""

    implementation: str
    debug_build: bool
    environment: Mapping[str, str]


def vus_wanted(plan: Plan) -> int:
    """Return how many transactions may be in flight in the generator when the switch stops answering."""
    load = plan.profile.load
    return load.vus or max(1, round(load.offered_tps * load.request_timeout_s))


def check_cores(usable: float) -> Findings:
    """Want two cores at least; `usable` respects affinity and the container's quota."""
    if usable >= CORES_MIN:
        return ()
    return (
        Finding(
            problem=f"{format_number(usable)} CPU cores may be used, expected at least {CORES_MIN:g}",
            remedy="use a larger machine, or raise the container's CPU limit (docker run --cpus)",
        ),
    )


def check_memory(available_bytes: int, vus: int) -> Findings:
    """Want room for the switch and for every VU of the generator."""
    wanted = MEMORY_MIN_BYTES + vus * MEMORY_PER_VU_BYTES
    if available_bytes >= wanted:
        return ()
    return (
        Finding(
            problem=f"{_mib(available_bytes)} MiB of memory are available, "
            f"expected {_mib(wanted)} MiB ({vus} VUs)",
            remedy="end other programs, or lower --tps",
        ),
    )


def check_open_files(hard_limit: int | None, vus: int, payers: int) -> Findings:
    """Want a file for each connection that the generator may hold: each VU may talk to every payer.

    The processes raise their soft limit themselves; only the hard limit binds them (None: unlimited).
    """
    wanted = OPEN_FILES_BASE + vus * payers
    if hard_limit is None or hard_limit >= wanted:
        return ()
    return (
        Finding(
            problem=f"a process may open {hard_limit} files, expected {wanted} ({vus} VUs, {payers} payers)",
            remedy=f"raise the limit: ulimit -Hn {wanted} as root, or docker run --ulimit nofile={wanted}",
        ),
    )


def check_ports(first: int, last: int, used: int, vus: int) -> Findings:
    """Want an ephemeral port for each connection to the busiest DFSP, and some to spare."""
    free = last - first + 1 - used
    wanted = vus + PORTS_SPARE
    if free >= wanted:
        return ()
    return (
        Finding(
            problem=f"{free} ephemeral ports are free ({first} to {last}, {used} used), expected {wanted}",
            remedy="sysctl -w net.ipv4.ip_local_port_range='15000 65000', or lower --tps",
        ),
    )


def check_clock_source(source: str) -> Findings:
    """Want a clock that is cheap to read: a slow one costs microseconds at every time stamp."""
    if source and source not in _SLOW_CLOCKS:
        return ()
    return (
        Finding(
            problem=f"the kernel's clock source is {source or 'unknown'}, which is slow to read",
            remedy="choose another of /sys/devices/system/clocksource/clocksource0/available_clocksource",
        ),
    )


def check_clock(readings: Sequence[ClockReading]) -> Findings:
    """Want time to go forward, and the wall clock to go as fast as the monotonic one."""
    assert len(readings) >= 2
    remedy = "let the time service settle (chronyc tracking, timedatectl), then run again"
    findings = []
    for before, after in pairwise(readings):
        if after.wall_s < before.wall_s or after.monotonic_s < before.monotonic_s:
            step_s = min(after.wall_s - before.wall_s, after.monotonic_s - before.monotonic_s)
            findings.append(Finding(problem=f"time went back by {-step_s * 1000:.3f} ms", remedy=remedy))
    first, last = readings[0], readings[-1]
    elapsed_s = last.monotonic_s - first.monotonic_s
    drift_s = (last.wall_s - first.wall_s) - elapsed_s
    if abs(drift_s) > CLOCK_DRIFT_MAX_S:
        findings.append(
            Finding(
                problem=f"the wall clock moved {drift_s * 1000:+.1f} ms against the monotonic clock "
                f"in {elapsed_s:.1f} s, expected at most {CLOCK_DRIFT_MAX_S * 1000:g} ms",
                remedy=remedy,
            )
        )
    return tuple(findings)


def check_foreign_load(sample: LoadSample, limits: ValidityLimits) -> Findings:
    """Want the machine to ourselves, by the very limits that make a run INVALID."""
    findings = []
    if sample.foreign_cores > limits.foreign_cpu_max_cores:
        findings.append(
            Finding(
                problem=f"others use {sample.foreign_cores:.2f} CPU cores, "
                f"expected at most {limits.foreign_cpu_max_cores:g}",
                remedy="end other work (see top), then run again",
            )
        )
    if sample.steal_percent > limits.steal_max_percent:
        findings.append(
            Finding(
                problem=f"{sample.steal_percent:.1f} % of the CPU time is stolen by the hypervisor, "
                f"expected at most {limits.steal_max_percent:g} %",
                remedy="use a machine whose cores are not shared, or another time of day",
            )
        )
    return tuple(findings)


def check_k6(version: str | None) -> Findings:
    """Want k6 1.x or 2.x; None: there is none."""
    remedy = (
        "install k6 1.x (https://grafana.com/docs/k6/latest/set-up/install-k6), or name it with --perf-k6"
    )
    if version is None:
        return (Finding(problem="k6 was not found, expected 1.x or 2.x", remedy=remedy),)
    if version.lstrip("v").split(".")[0] in ("1", "2"):
        return ()
    return (Finding(problem=f"k6 is {version}, expected 1.x or 2.x", remedy=remedy),)


def check_loopback(round_trips_s: Sequence[float] | None) -> Findings:
    """Want 127.0.0.1 to answer, and fast; None: no connection."""
    remedy = "bring the loopback interface up (ip link set lo up), and let no firewall filter it"
    if not round_trips_s:
        return (Finding(problem="no connection to 127.0.0.1 came about", remedy=remedy),)
    median_s = sorted(round_trips_s)[len(round_trips_s) // 2]
    if median_s <= LOOPBACK_MEDIAN_MAX_S:
        return ()
    return (
        Finding(
            problem=f"a round trip over 127.0.0.1 takes {median_s * 1000:.1f} ms, "
            f"expected at most {LOOPBACK_MEDIAN_MAX_S * 1000:g} ms",
            remedy=remedy,
        ),
    )


def check_python(facts: PythonFacts) -> Findings:
    """Want an interpreter at full speed; the processes of the switch inherit it and its environment."""
    findings = []
    if facts.implementation != "cpython" or facts.debug_build:
        kind = "a debug build of " if facts.debug_build else ""
        findings.append(
            Finding(
                problem=f"Python is {kind}{facts.implementation}, expected a release build of cpython",
                remedy="make the virtual environment with another Python",
            )
        )
    slowing = [name for name in _SLOWING_VARIABLES if facts.environment.get(name)]
    if slowing:
        findings.append(
            Finding(problem=f"{', '.join(slowing)} slows Python down", remedy=f"unset {' '.join(slowing)}")
        )
    return tuple(findings)


def disk_wanted_bytes(plan: Plan) -> int:
    """Return how much a run writes at most."""
    load = plan.profile.load
    return DISK_BASE_BYTES + round(load.offered_tps * load.duration_s) * DISK_PER_TRANSACTION_BYTES


def check_disk(disk: Disk, wanted_bytes: int) -> Findings:
    """Want room for the run folder, on a disk of this machine: the ledger's log needs shared memory."""
    findings = []
    if disk.free_bytes < wanted_bytes:
        findings.append(
            Finding(
                problem=f"{disk.path} has {_mib(disk.free_bytes)} MiB free, "
                f"expected {_mib(wanted_bytes)} MiB",
                remedy="make room, or name another folder with --perf-output",
            )
        )
    if disk.file_system in _NETWORK_FILE_SYSTEMS:
        findings.append(
            Finding(
                problem=f"{disk.path} is on {disk.file_system}, expected a local file system",
                remedy="name a folder on a local disk with --perf-output",
            )
        )
    return tuple(findings)


def _mib(size_bytes: int) -> str:
    return format_number(size_bytes // (1 << 20), digits=9)
