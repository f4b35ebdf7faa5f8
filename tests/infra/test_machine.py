"""Is this machine fit to measure on? What a benchmark of the embedded target needs of it.

Run it with `-m infra`. Nothing is started. Each test is one requirement, and its message names the remedy.
"""

from __future__ import annotations

import psutil
import pytest
import testinfra

from pytest_mojaloop_perf.infra import fitness, machine_facts
from pytest_mojaloop_perf.infra.finding import tell
from pytest_mojaloop_perf.load.k6 import find_k6
from pytest_mojaloop_perf.model import Plan

pytestmark = pytest.mark.infra

CLOCK_SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"


@pytest.fixture(scope="module")
def machine(perf_plan: Plan) -> testinfra.host.Host:
    """Return this machine; what is asked of it holds for the embedded target only."""
    if perf_plan.target != "embedded":
        pytest.skip(f"on {perf_plan.target} the load does not come from this machine alone")
    return testinfra.get_host("local://")


@pytest.mark.usefixtures("machine")
def test_at_least_two_cores_may_be_used() -> None:
    findings = fitness.check_cores(machine_facts.usable_cores())
    assert not findings, tell(findings)


@pytest.mark.usefixtures("machine")
def test_memory_is_available_for_the_switch_and_the_generator(perf_plan: Plan) -> None:
    findings = fitness.check_memory(psutil.virtual_memory().available, fitness.vus_wanted(perf_plan))
    assert not findings, tell(findings)


@pytest.mark.usefixtures("machine")
def test_enough_files_may_be_open_for_every_connection(perf_plan: Plan) -> None:
    payers = len({pair.payer for pair in perf_plan.matrix.pairs})
    limit = machine_facts.hard_open_files_limit()
    findings = fitness.check_open_files(limit, fitness.vus_wanted(perf_plan), payers)
    assert not findings, tell(findings)


def test_enough_ephemeral_ports_are_free(machine: testinfra.host.Host, perf_plan: Plan) -> None:
    first, last = _port_range(machine)
    used = machine_facts.used_ports(first, last)
    findings = fitness.check_ports(first, last, used, fitness.vus_wanted(perf_plan))
    assert not findings, tell(findings)


def test_the_clock_is_cheap_to_read(machine: testinfra.host.Host) -> None:
    source = machine.file(CLOCK_SOURCE)
    if not source.exists:
        pytest.skip(f"this system has no {CLOCK_SOURCE}")
    findings = fitness.check_clock_source(source.content_string.strip())
    assert not findings, tell(findings)


@pytest.mark.usefixtures("machine")
def test_time_goes_forward_evenly() -> None:
    findings = fitness.check_clock(machine_facts.read_clock(count=50, interval_s=0.02))
    assert not findings, tell(findings)


@pytest.mark.usefixtures("machine")
def test_nobody_else_uses_the_cpu(perf_plan: Plan) -> None:
    findings = fitness.check_foreign_load(machine_facts.sample_load(3.0), perf_plan.profile.validity)
    assert not findings, tell(findings)


@pytest.mark.usefixtures("machine")
def test_the_load_generator_is_there_in_a_known_version(perf_plan: Plan) -> None:
    k6 = find_k6(perf_plan.k6)
    if k6 is None and perf_plan.k6_install:
        pytest.skip("k6 is not here yet; the first benchmark installs it")
    findings = fitness.check_k6(k6.version if k6 else None)
    assert not findings, tell(findings)


@pytest.mark.usefixtures("machine")
def test_loopback_answers_at_once() -> None:
    findings = fitness.check_loopback(machine_facts.loopback_round_trips(200))
    assert not findings, tell(findings)


@pytest.mark.usefixtures("machine")
def test_python_runs_at_full_speed() -> None:
    findings = fitness.check_python(machine_facts.python_facts())
    assert not findings, tell(findings)


@pytest.mark.usefixtures("machine")
def test_the_run_folder_has_room_on_a_local_disk(perf_plan: Plan) -> None:
    disk = machine_facts.disk_of(perf_plan.run_folder)
    findings = fitness.check_disk(disk, fitness.disk_wanted_bytes(perf_plan))
    assert not findings, tell(findings)


def _port_range(machine: testinfra.host.Host) -> tuple[int, int]:
    file = machine.file(PORT_RANGE)
    if file.exists:
        first, last = file.content_string.split()
        return int(first), int(last)
    names = ("net.inet.ip.portrange.first", "net.inet.ip.portrange.last")
    return int(machine.sysctl(names[0])), int(machine.sysctl(names[1]))
