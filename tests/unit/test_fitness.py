from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pytest_mojaloop_perf.infra import fitness, machine_facts
from pytest_mojaloop_perf.infra.finding import Findings, tell
from pytest_mojaloop_perf.infra.fitness import ClockReading, Disk, LoadSample, PythonFacts
from pytest_mojaloop_perf.model import LoadShape, Matrix, Plan, Profile, ValidityLimits

PLAN = Plan(
    run_id="r",
    created="2026-01-01",
    target="embedded",
    target_reason="test",
    switch="reference",
    kind="perf",
    profile=Profile(
        name="p",
        summary="s",
        load=LoadShape(tps=100, duration_s=60, warmup_s=1, cooldown_s=1, request_timeout_s=10),
        objectives=(),
    ),
    matrix=Matrix(name="m", pairs=()),
    dfsps=(),
    seed=1,
    run_folder=Path("run"),
)
STEADY = tuple(ClockReading(wall_s=1000 + n, monotonic_s=5.0 + n) for n in range(4))
PYTHON = PythonFacts(implementation="cpython", debug_build=False, environment={"PYTHONPATH": "x"})
GIB = 1 << 30
LIMITS = ValidityLimits()
LOCAL = Disk(path=Path("/run"), free_bytes=10 * GIB, file_system="ext4")


@pytest.mark.parametrize(
    "findings",
    [
        fitness.check_cores(2.0),
        fitness.check_memory(2 * GIB, vus=500),
        fitness.check_open_files(None, vus=10**6, payers=4),
        fitness.check_open_files(4096, vus=500, payers=4),
        fitness.check_ports(32768, 60999, used=100, vus=500),
        fitness.check_clock_source("kvm-clock"),
        fitness.check_clock(STEADY),
        fitness.check_foreign_load(LoadSample(foreign_cores=0.4, steal_percent=4.0), LIMITS),
        fitness.check_k6("1.8.1"),
        fitness.check_k6("2.0.0"),
        fitness.check_loopback((0.0001, 0.0001, 0.5)),
        fitness.check_python(PYTHON),
        fitness.check_disk(LOCAL, 10**9),
    ],
)
def test_a_fit_machine_has_no_findings(findings: Findings) -> None:
    assert not findings


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        (fitness.check_cores(1.5), "1.5 CPU cores may be used, expected at least 2"),
        (fitness.check_memory(1 * GIB, vus=500), "1,024 MiB of memory are available, expected 1,500 MiB"),
        (fitness.check_open_files(1024, vus=500, payers=4), "may open 1024 files, expected 2512"),
        (
            fitness.check_ports(32768, 33999, used=100, vus=500),
            "1132 ephemeral ports are free .* expected 1500",
        ),
        (fitness.check_clock_source("hpet"), "clock source is hpet"),
        (fitness.check_clock_source(""), "clock source is unknown"),
        (
            fitness.check_clock((*STEADY, ClockReading(wall_s=1002.9, monotonic_s=9.0))),
            "time went back by 100.000 ms",
        ),
        (
            fitness.check_clock((*STEADY, ClockReading(wall_s=1004.5, monotonic_s=9.0))),
            r"moved \+500.0 ms against the monotonic clock in 4.0 s",
        ),
        (
            fitness.check_foreign_load(LoadSample(foreign_cores=0.6, steal_percent=0.0), LIMITS),
            "others use 0.60 CPU cores, expected at most 0.5",
        ),
        (
            fitness.check_foreign_load(LoadSample(foreign_cores=0.0, steal_percent=5.1), LIMITS),
            "5.1 % of the CPU time is stolen",
        ),
        (fitness.check_k6(None), "k6 was not found"),
        (fitness.check_k6("0.57.0"), "k6 is 0.57.0, expected 1.x or 2.x"),
        (fitness.check_loopback(()), "no connection to 127.0.0.1"),
        (fitness.check_loopback((0.01, 0.01, 0.0001)), "takes 10.0 ms, expected at most 5 ms"),
        (
            fitness.check_python(msgspec.structs.replace(PYTHON, implementation="pypy")),
            "Python is pypy, expected a release build of cpython",
        ),
        (fitness.check_python(msgspec.structs.replace(PYTHON, debug_build=True)), "a debug build of cpython"),
        (
            fitness.check_python(msgspec.structs.replace(PYTHON, environment={"PYTHONDEVMODE": "1"})),
            "PYTHONDEVMODE slows Python down",
        ),
        (fitness.check_disk(LOCAL, 11 * GIB), "/run has 10,240 MiB free, expected 11,264 MiB"),
        (
            fitness.check_disk(msgspec.structs.replace(LOCAL, file_system="nfs4"), 1),
            "is on nfs4, expected a local file system",
        ),
    ],
)
def test_a_machine_that_is_not_fit_is_told_why(findings: Findings, words: str) -> None:
    assert findings
    with pytest.raises(AssertionError, match=f"{words}.*Remedy: "):
        raise AssertionError(tell(findings))


def test_what_a_plan_wants_of_the_machine() -> None:
    assert fitness.vus_wanted(PLAN) == 1020
    load = msgspec.structs.replace(PLAN.profile.load, vus=7)
    plan = msgspec.structs.replace(PLAN, profile=msgspec.structs.replace(PLAN.profile, load=load))
    assert fitness.vus_wanted(plan) == 7
    assert fitness.disk_wanted_bytes(PLAN) == 200_000_000 + 6120 * 8_000


def test_a_containers_quota_limits_the_cores(tmp_path: Path) -> None:
    whole = machine_facts.usable_cores(tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine_facts.usable_cores(tmp_path) == 0.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine_facts.usable_cores(tmp_path) == whole


def test_this_machine_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    first, second = machine_facts.read_clock(count=2, interval_s=0.001)
    assert second.monotonic_s > first.monotonic_s
    assert len(machine_facts.loopback_round_trips(3)) == 3
    assert machine_facts.disk_of(tmp_path / "not" / "yet" / "made").path == tmp_path.resolve()
    assert machine_facts.disk_of(tmp_path).file_system != "unknown"
    assert machine_facts.python_facts().implementation == "cpython"
    sample = machine_facts.sample_load(0.2)
    assert sample.foreign_cores >= 0
    assert 0 <= sample.steal_percent <= 100


def test_our_own_work_is_not_foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four seconds of ours in one second of the machine leave nothing to be foreign."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    readings = iter([{1: 10.0, 2: 0.0}, {1: 14.0, 2: 0.0}])
    monkeypatch.setattr(machine_facts, "_our_cpu_s", lambda: next(readings))
    assert machine_facts.sample_load(0.1).foreign_cores == 0.0


def test_used_ports_are_counted_once_and_in_range_only() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert machine_facts.used_ports(port, port) == 1
        assert machine_facts.used_ports(port + 1, port) == 0
