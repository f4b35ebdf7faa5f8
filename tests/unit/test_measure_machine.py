from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pytest_mojaloop_perf.errors import InvalidRunError
from pytest_mojaloop_perf.measure import machine
from pytest_mojaloop_perf.measure.machine import MachineSampler, machine_use
from pytest_mojaloop_perf.model import Window
from pytest_mojaloop_perf.wait import Pending, wait_for
from tests.unit.stored_runs import T0, machine_lines

WINDOW = Window(start_ms=T0 + 5_000, end_ms=T0 + 35_000)
BUSY = "import sys\nsys.stdin.readline()\nn = 0\nwhile n < 30_000_000: n += 1\nsys.stdin.readline()\n"


def _stored(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "machine.jsonl"
    path.write_text(text)
    return path


def _without(text: str, first: int, last: int) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[:first] + lines[last:])


def test_use_is_the_growth_of_the_counters_over_the_window(tmp_path: Path) -> None:
    use = machine_use(_stored(tmp_path, machine_lines()), WINDOW)
    assert use.cores == 2
    assert use.samples == 31
    assert use.busy_cores == pytest.approx(0.7)
    assert use.foreign_cores == pytest.approx(0.1)
    assert use.steal_percent == pytest.approx(1.0)
    assert use.iowait_percent == pytest.approx(2.0)
    assert use.longest_gap_s == pytest.approx(1.0)
    hub, k6 = use.processes
    assert (hub.name, k6.name) == ("hub", "k6")
    assert (hub.cpu_cores, hub.waiting_cores) == pytest.approx((0.4, 0.01))
    assert (k6.cpu_cores, k6.allowed_cores) == pytest.approx((0.2, 2.0))
    assert hub.memory_peak_bytes == 1037


def test_edges_between_samples_are_interpolated(tmp_path: Path) -> None:
    path = _stored(tmp_path, machine_lines(from_s=-2.5))
    assert machine_use(path, WINDOW).busy_cores == pytest.approx(0.7)


def test_a_process_that_began_within_the_run_is_counted_from_its_beginning(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in machine_lines().splitlines()]
    for number, line in enumerate(lines):
        if number < 20:
            del line["processes"]["k6"]
        else:
            line["processes"]["k6"]["cpu_s"] = 0.2 * (number - 20)
    path = _stored(tmp_path, "".join(json.dumps(line) + "\n" for line in lines))
    k6 = machine_use(path, WINDOW).processes[1]
    assert k6.cpu_cores == pytest.approx(0.2 * 17 / 30)


def test_a_hole_in_the_samples_is_told(tmp_path: Path) -> None:
    use = machine_use(_stored(tmp_path, _without(machine_lines(), 15, 30)), WINDOW)
    assert use.longest_gap_s == pytest.approx(16.0)
    assert use.busy_cores == pytest.approx(0.7)


@pytest.mark.parametrize(("first", "last", "gap_s"), [(0, 12, 5.0), (30, 60, 8.0)])
def test_samples_that_begin_late_or_end_early_are_a_gap(
    tmp_path: Path, first: int, last: int, gap_s: float
) -> None:
    use = machine_use(_stored(tmp_path, _without(machine_lines(), first, last)), WINDOW)
    assert use.longest_gap_s == pytest.approx(gap_s)


@pytest.mark.parametrize("seconds", [0, 3])
def test_no_sample_in_the_window_is_no_observation(tmp_path: Path, seconds: int) -> None:
    use = machine_use(_stored(tmp_path, machine_lines(seconds=seconds)), WINDOW)
    assert use.samples == 0
    assert use.longest_gap_s == 30.0


def test_no_file_is_no_observation(tmp_path: Path) -> None:
    assert machine_use(tmp_path / "none.jsonl", WINDOW, cores=4).samples == 0


def test_half_a_line_at_the_end_is_left_out(tmp_path: Path) -> None:
    use = machine_use(_stored(tmp_path, machine_lines() + '{"at_ms": 17'), WINDOW)
    assert use.samples == 31


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRunError, match=r"machine samples in .* cannot be read"):
        machine_use(_stored(tmp_path, "something else\n"), WINDOW)


def _samples(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _wait_for_samples(path: Path, count: int) -> None:
    wait_for(
        f"{count} samples",
        lambda: len(_samples(path)) if len(_samples(path)) >= count else Pending(str(len(_samples(path)))),
        timeout_s=30,
        remedy="look at the sampler",
    )


def test_the_sampler_accounts_for_a_process_that_is_added_and_its_children(tmp_path: Path) -> None:
    path = tmp_path / "machine.jsonl"
    sampler = MachineSampler({}, path, interval_s=0.05)
    sampler.start()
    # The busy one is a child of the named one, as k6 is of its guard.
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {BUSY!r}], stdin=0)\nsys.exit(child.wait())\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        sampler.add("k6", process.pid)
        _wait_for_samples(path, 4)
        process.stdin.write(b"go\n")
        process.stdin.flush()

        def spent() -> float | Pending:
            children = psutil.Process(process.pid).children()
            used = sum(child.cpu_times().user for child in children)
            return used if used >= 0.3 else Pending(f"{used} s")

        used_s = wait_for("a busy child", spent, timeout_s=60, remedy="none")
        _wait_for_samples(path, len(_samples(path)) + 2)
        sampler.stop()
        sampler.stop()
        process.kill()
        for child in psutil.Process(os.getpid()).children(recursive=True):
            child.kill()
    lines = _samples(path)
    last = lines[-1]["processes"]
    assert isinstance(last, dict)
    assert last["k6"]["cpu_s"] >= used_s - 0.02
    assert last["k6"]["threads"] >= 2
    assert last["k6"]["memory_bytes"] > 5_000_000
    assert last["k6"]["allowed_cores"] >= 1
    assert last["pytest"]["cpu_s"] >= 0
    busy = [line["busy_s"] for line in lines]
    assert busy == sorted(busy)  # type: ignore[type-var]
    assert lines[-1]["cores"] == psutil.cpu_count()


def test_a_process_that_is_gone_keeps_what_it_used(tmp_path: Path) -> None:
    path = tmp_path / "machine.jsonl"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        sampler = MachineSampler({"hub": process.pid}, path, interval_s=0.05)
        sampler.start()
        _wait_for_samples(path, 3)
        process.kill()
    _wait_for_samples(path, len(_samples(path)) + 3)
    sampler.stop()
    uses = [line["processes"]["hub"]["cpu_s"] for line in _samples(path)]  # type: ignore[index]
    assert uses == sorted(uses)


def test_stop_before_start_is_harmless(tmp_path: Path) -> None:
    MachineSampler({}, tmp_path / "machine.jsonl").stop()
    assert not (tmp_path / "machine.jsonl").exists()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not tell")
def test_a_stopped_process_is_seen_as_stopped(tmp_path: Path) -> None:
    path = tmp_path / "machine.jsonl"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        psutil.Process(process.pid).suspend()
        sampler = MachineSampler({"k6": process.pid}, path, interval_s=0.05)
        sampler.start()
        _wait_for_samples(path, 3)
        sampler.stop()
        process.kill()
    assert all(line["processes"]["k6"]["stopped"] for line in _samples(path))  # type: ignore[index]


def test_gomaxprocs_bounds_what_a_go_program_may_use() -> None:
    environment = {**os.environ, "GOMAXPROCS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        # Its environment can be read only once it runs.
        assert process.stdout is not None
        process.stdout.readline()
        assert machine._allowed_cores(psutil.Process(process.pid)) == 1.0
        process.kill()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("nr_periods 10\nnr_throttled 3\nthrottled_time 2500000000\n", 2.5),
        ("usage_usec 7\nnr_throttled 3\nthrottled_usec 1500000\n", 1.5),
        ("usage_usec 7\n", 0.0),
    ],
)
def test_both_versions_of_control_groups_tell_throttling(text: str, seconds: float) -> None:
    assert machine._throttled_of(text) == seconds
