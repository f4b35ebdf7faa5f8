"""Read what the fitness checks look at on this machine."""

from __future__ import annotations

import os
import platform
import resource
import socket
import sys
import threading
import time
from pathlib import Path

import psutil

from pytest_mojaloop_perf.infra.fitness import ClockReading, Disk, LoadSample, PythonFacts
from pytest_mojaloop_perf.infra.host_client import living_environments
from pytest_mojaloop_perf.wait import pause

__all__ = [
    "disk_of",
    "hard_open_files_limit",
    "loopback_round_trips",
    "python_facts",
    "read_clock",
    "sample_load",
    "usable_cores",
    "used_ports",
]


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Return how many cores we may use, by affinity and by the container's quota."""
    cores = float(psutil.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        cores = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else min(cores, int(quota) / int(period))


def hard_open_files_limit() -> int | None:
    """Return the hard limit of open files per process, or None when there is none."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def used_ports(first: int, last: int) -> int:
    """Return how many TCP ports of a range are in use, as far as we may see them."""
    try:
        local = [each.laddr for each in psutil.net_connections(kind="tcp")]
    except psutil.AccessDenied:  # macOS shows them to root only
        local = [each.laddr for each in psutil.Process().net_connections(kind="tcp")]
    return len({address.port for address in local if address and first <= address.port <= last})


def read_clock(count: int, interval_s: float) -> tuple[ClockReading, ...]:
    """Read both clocks, `count` times."""
    readings = []
    for _ in range(count):
        readings.append(ClockReading(wall_s=time.time(), monotonic_s=time.monotonic()))
        pause(interval_s)
    return tuple(readings)


def sample_load(seconds: float) -> LoadSample:
    """Watch the machine for a moment: what others than us and our environments do, and what is stolen."""
    before, ours_before, began = psutil.cpu_times(), _our_cpu_s(), time.monotonic()
    pause(seconds)
    after, ours_after, elapsed = psutil.cpu_times(), _our_cpu_s(), time.monotonic() - began
    spent = {name: getattr(after, name) - getattr(before, name) for name in after._fields}
    # Linux counts a guest's time in user and nice as well; waiting for a disk is not work.
    idle = spent["idle"] + spent.get("iowait", 0.0)
    total = sum(spent.values()) - spent.get("guest", 0.0) - spent.get("guest_nice", 0.0)
    steal = spent.get("steal", 0.0)
    ours = sum(ours_after.get(pid, cpu_s) - cpu_s for pid, cpu_s in ours_before.items())
    return LoadSample(
        foreign_cores=max(0.0, total - idle - steal - ours) / elapsed,
        steal_percent=100.0 * steal / total if total > 0 else 0.0,
    )


def loopback_round_trips(count: int) -> tuple[float, ...]:
    """Send a byte to ourselves and back over 127.0.0.1, and return the seconds of each round trip.

    Nothing is returned when no connection comes about.
    """
    took = []
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            echo = threading.Thread(target=_echo, args=(server,), daemon=True)
            echo.start()
            with socket.create_connection(server.getsockname(), timeout=2.0) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(count):
                    began = time.perf_counter()
                    client.sendall(b".")
                    client.recv(1)
                    took.append(time.perf_counter() - began)
            echo.join(2.0)
    except OSError:
        return ()
    return tuple(took)


def disk_of(path: Path) -> Disk:
    """Return the file system that holds a path, or will hold it when it is made."""
    there = next(folder for folder in (path, *path.parents) if folder.exists()).resolve()
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    nearest = next((folder for folder in (there, *there.parents) if folder in mounts), None)
    return Disk(
        path=there,
        free_bytes=psutil.disk_usage(str(there)).free,
        file_system=mounts[nearest] if nearest else "unknown",
    )


def python_facts() -> PythonFacts:
    """Return what matters of this interpreter."""
    return PythonFacts(
        implementation=platform.python_implementation().lower(),
        debug_build=hasattr(sys, "gettotalrefcount"),
        environment={name: value for name, value in os.environ.items() if name.startswith("PYTHON")},
    )


def _echo(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(64):
            connection.sendall(data)


def _our_cpu_s() -> dict[int, float]:
    """Return the CPU seconds so far of this process, of environments of this user, and of their children."""
    found: dict[int, float] = {}
    for pid in (os.getpid(), *(state.pid for state in living_environments())):
        try:
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return found
