"""What ran out? One clause, from what the machine and the generator were seen to do in the window."""

from __future__ import annotations

import re

from pytest_mojaloop_perf.model import (
    GENERATOR,
    LoadRun,
    MachineUse,
    Measurement,
    ProcessUse,
    ValidityLimits,
)
from pytest_mojaloop_perf.units import format_number

__all__ = ["slowest_leg", "what_ran_out"]

_MACHINE_FULL = 0.9
_CORE_FULL = 0.85
_THROTTLED_PERCENT = 5.0
_STOPPED_PERCENT = 5.0
_WORTH_NAMING_CORES = 0.15
_VUS_USED = 0.9
_OURSELVES = "pytest"


def what_ran_out(load: LoadRun, measurement: Measurement, limits: ValidityLimits) -> str:
    """Return a clause that names what ran out, or nothing when nothing visible did.

    The order is from outside to inside: somebody else's load, a quota, the machine, a process that can use
    one core only, the generator's VUs. Only the first that applies is named.
    """
    machine = measurement.machine
    found = _of_machine(machine, limits) if machine is not None and machine.samples else ""
    if not found and measurement.not_started_vus_busy and load.vus_peak >= _VUS_USED * load.vus_max:
        return f"all {format_number(load.vus_max)} VUs of the generator were waiting for answers"
    return found


def slowest_leg(measurement: Measurement) -> str:
    """Return a clause that names the leg with the highest p95; nothing when no leg has one."""
    known = [(one.p95_ms, name) for name, one in measurement.legs if one.p95_ms is not None]
    if not known:
        return ""
    p95_ms, name = max(known)
    return f"the slowest leg is {name} (p95 {format_number(p95_ms, digits=3)} ms)"


def _of_machine(machine: MachineUse, limits: ValidityLimits) -> str:
    generator = next((one for one in machine.processes if one.name == GENERATOR), None)
    if generator is not None and generator.stopped_percent > _STOPPED_PERCENT:
        return f"the generator was found stopped in {_cores(generator.stopped_percent)} % of the samples"
    if machine.foreign_cores > limits.foreign_cpu_max_cores:
        return f"other programs used {_cores(machine.foreign_cores)} of {machine.cores} cores"
    if machine.steal_percent > limits.steal_max_percent:
        return f"the hypervisor withheld {_cores(machine.steal_percent)} % of the CPU time"
    if machine.throttled_percent > _THROTTLED_PERCENT:
        held = _cores(machine.throttled_percent)
        return f"the CPU quota of this container ran out (held back {held} % of the time)"
    if machine.busy_cores >= _MACHINE_FULL * machine.cores:
        return f"{_users(machine)} of {machine.cores} cores: the machine ran out of CPU"
    return _full_process(machine)


def _users(machine: MachineUse) -> str:
    """Return `the 2 dfsps processes used 1.1 and the k6 process 0.5`, biggest first."""
    groups: dict[str, list[ProcessUse]] = {}
    for process in machine.processes:
        groups.setdefault(re.sub(r"[-_ ]\d+$", "", process.name), []).append(process)
    sums = {name: sum(one.cpu_cores for one in members) for name, members in groups.items()}
    biggest = sorted(sums, key=lambda name: sums[name], reverse=True)[:3]
    clauses: list[str] = []
    for name in biggest:
        if sums[name] >= _WORTH_NAMING_CORES:
            count = len(groups[name])
            who = f"the {count} {name} processes" if count > 1 else f"the {name} process"
            clauses.append(f"{who}{'' if clauses else ' used'} {_cores(sums[name])}")
    if not clauses:
        return f"all programs together used {_cores(machine.busy_cores)}"
    *front, last = clauses
    return f"{', '.join(front)} and {last}" if front else last


def _full_process(machine: MachineUse) -> str:
    """Name the busiest process that fills the one core it can use.

    A Python or Node.js process runs its own code on one core at a time; the generator is told how many it
    may use.
    """
    full = [
        process
        for process in machine.processes
        if process.name != _OURSELVES
        and process.cpu_cores
        >= _CORE_FULL * ((process.allowed_cores or machine.cores) if process.name == GENERATOR else 1.0)
    ]
    if not full:
        return ""
    worst = max(full, key=lambda process: process.cpu_cores)
    if worst.name == GENERATOR:
        return f"the generator used {_cores(worst.cpu_cores)} cores, all that it may use"
    return f"the {worst.name} process used {_cores(worst.cpu_cores)} of the one core that it can use"


def _cores(value: float) -> str:
    return format_number(value, digits=2)
