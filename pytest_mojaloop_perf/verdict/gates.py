"""May this run be judged at all? Each gate that does not hold makes it INVALID, and says why.

The rule behind them: what the generator or somebody else's programs did wrong makes a run INVALID; what the
switch did wrong is measured and makes it FAIL, however badly the run went because of it.
"""

from __future__ import annotations

import msgspec

from pytest_mojaloop_perf.metrics import parse_metric, samples_needed
from pytest_mojaloop_perf.model import (
    ARRIVAL_BLUR_MS,
    GENERATOR,
    Gate,
    LoadRun,
    MachineUse,
    Measurement,
    Plan,
    Reconciliation,
)
from pytest_mojaloop_perf.units import apart, format_duration_s, format_number
from pytest_mojaloop_perf.verdict.objectives import limit_text

__all__ = ["validity_gates", "vus_run_out_above_ms"]

_SLOW_MS = 1000.0
"""Slower than this is slow, where no objective on end-to-end or service latency says what slow is."""
_CLOCK_STEP_MS = 50.0
_STOPPED_MAX_PERCENT = 5.0
_SAMPLE_GAP_MAX_S = 5.0


def validity_gates(
    plan: Plan, load: LoadRun, measurement: Measurement, reconciliation: Reconciliation | None
) -> tuple[Gate, ...]:
    """Return all gates, the ones that explain most first."""
    gates = [
        _ended(load),
        _records(load, measurement),
        _window(plan, load, measurement),
        _offered(plan, load),
        *_machine(plan, measurement),
        _lateness(plan, load, measurement),
        _clock(measurement),
        _arrivals(plan, load, measurement),
        _interrupted(plan, load),
        _samples(plan, measurement),
        _objective_samples(plan, measurement),
    ]
    if plan.switch == "reference" or plan.target == "embedded":
        gates.append(_ledger(reconciliation))
    # What a gate would say if it did not hold is false of one that does.
    return tuple(msgspec.structs.replace(gate, explanation="") if gate.ok else gate for gate in gates)


def vus_run_out_above_ms(load: LoadRun) -> float:
    """Return the mean time per transaction above which all VUs are in use (Little's law)."""
    return 1000.0 * load.vus_max / load.offered_tps


def _ended(load: LoadRun) -> Gate:
    detail = f" ({load.ended_detail})" if load.ended_detail else ""
    return Gate(
        name="generator-ended",
        wanted="k6 ended by itself, status 0",
        observed=f"{load.ended}{detail}",
        ok=load.ended == "ok",
        explanation=f"the load generator did not end well: {load.ended}{detail}",
    )


def _records(load: LoadRun, measurement: Measurement) -> Gate:
    absent = max(0, load.iterations - load.records_lost - measurement.records)
    lost = load.records_lost + absent
    problems = {
        "lost": lost,
        "repeated": measurement.records_repeated,
        "contradictory": measurement.records_broken,
    }
    found = ", ".join(f"{format_number(count)} {name}" for name, count in problems.items() if count)
    return Gate(
        name="records",
        wanted="one sound record for each of the generator's iterations",
        observed=found or f"{format_number(measurement.records)} records",
        ok=not found,
        explanation=f"records of transactions were {found}, so no figure is known to be right",
    )


def _window(plan: Plan, load: LoadRun, measurement: Measurement) -> Gate:
    wanted_s = plan.profile.validity.window_min_s
    accounted = load.iterations + load.interrupted + load.dropped
    issued = 100.0 * accounted / load.planned_arrivals if load.planned_arrivals > 0 else 0.0
    lasted = load.ended_ms >= measurement.window.end_ms
    complete = issued >= plan.profile.validity.arrivals_min_percent and lasted
    length_s = measurement.window.duration_s
    observed = f"{format_duration_s(length_s)}, {format_number(issued)} % of the arrivals issued"
    if not complete:
        explanation = (
            f"the generator issued {format_number(accounted)} of {format_number(load.planned_arrivals)} "
            "planned arrivals, so the steady window is not complete"
        )
    else:
        explanation = f"a steady window of {format_duration_s(length_s)} is too short to judge by"
    return Gate(
        name="steady-window",
        wanted=f"at least {format_duration_s(wanted_s)}, complete",
        observed=observed if lasted else f"{observed}, ended before the window did",
        ok=complete and length_s >= wanted_s,
        explanation=explanation,
    )


def _offered(plan: Plan, load: LoadRun) -> Gate:
    limits = [one.limit for one in plan.profile.objectives if one.metric == "tps"]
    needed = max(limits, default=0.0)
    return Gate(
        name="offered-rate",
        wanted=f"at least {limit_text(needed)} TPS",
        observed=f"{format_number(load.offered_tps)} TPS",
        ok=load.offered_tps >= needed,
        explanation=f"{format_number(load.offered_tps)} TPS were offered, "
        f"which cannot show {limit_text(needed)} TPS",
    )


def _machine(plan: Plan, measurement: Measurement) -> list[Gate]:
    machine = measurement.machine
    if machine is None and plan.target != "embedded":
        return []
    if machine is None or machine.samples < 2 or machine.longest_gap_s > _SAMPLE_GAP_MAX_S:
        return [_unobserved(machine)]
    limits = plan.profile.validity
    foreign = apart(machine.foreign_cores, limits.foreign_cpu_max_cores, digits=2)
    steal = apart(machine.steal_percent, limits.steal_max_percent, digits=2)
    return [
        Gate(
            name="machine-observed",
            wanted=f"a sample at least every {format_duration_s(_SAMPLE_GAP_MAX_S)}",
            observed=f"{machine.samples} samples",
            ok=True,
        ),
        _generator_cpu(machine, limits.generator_busy_max_percent),
        Gate(
            name="foreign-cpu",
            wanted=f"at most {limit_text(limits.foreign_cpu_max_cores)} cores",
            observed=f"{foreign} cores",
            ok=machine.foreign_cores <= limits.foreign_cpu_max_cores,
            explanation=f"programs that are not part of the run used {foreign} of {machine.cores} cores",
        ),
        Gate(
            name="steal",
            wanted=f"at most {limit_text(limits.steal_max_percent)} %",
            observed=f"{steal} %",
            ok=machine.steal_percent <= limits.steal_max_percent,
            explanation=f"the hypervisor gave {steal} % of this machine's CPU time to somebody else",
        ),
    ]


def _unobserved(machine: MachineUse | None) -> Gate:
    gap = f", {format_duration_s(machine.longest_gap_s)} without one" if machine else ""
    return Gate(
        name="machine-observed",
        wanted=f"a sample at least every {format_duration_s(_SAMPLE_GAP_MAX_S)}",
        observed=f"{machine.samples if machine else 0} samples{gap}",
        ok=False,
        explanation="nobody knows what else used this machine: it was not sampled throughout the window",
    )


def _generator_cpu(machine: MachineUse, most_percent: float) -> Gate:
    use = next((one for one in machine.processes if one.name == GENERATOR), None)
    allowed = (use.allowed_cores or machine.cores) if use else machine.cores
    busy = 100.0 * use.cpu_cores / allowed if use else 0.0
    stopped = use.stopped_percent if use else 0.0
    if use is None:
        explanation = "the load generator was not among the processes that were sampled"
    elif stopped > _STOPPED_MAX_PERCENT:
        explanation = (
            f"the load generator was found stopped in {format_number(stopped, digits=2)} % of the samples"
        )
    else:
        explanation = (
            f"the load generator used {format_number(busy, digits=2)} % of the CPU that it may use "
            f"({limit_text(allowed)} cores), so it was the limit itself"
        )
    return Gate(
        name="generator-cpu",
        wanted=f"k6 at most {limit_text(most_percent)} % busy, never stopped",
        observed=f"{format_number(busy, digits=2)} % busy, "
        f"stopped in {format_number(stopped, digits=2)} % of the samples"
        if use
        else "not sampled",
        ok=use is not None and busy <= most_percent and stopped <= _STOPPED_MAX_PERCENT,
        explanation=explanation,
    )


def _lateness(plan: Plan, load: LoadRun, measurement: Measurement) -> Gate:
    limit_ms = plan.profile.validity.start_lateness_p99_max_ms
    blurred = _blamed_on_switch(plan, load, measurement) > 0
    # After a drop a start can look later than it was; that much must not be held against the generator.
    allowed_ms = limit_ms + (ARRIVAL_BLUR_MS if blurred else 0.0)
    late = f"{apart(measurement.start_lateness_p99_ms, allowed_ms, digits=3)} ms"
    return Gate(
        name="start-lateness",
        wanted=f"p99 at most {limit_text(allowed_ms)} ms",
        observed=late,
        ok=measurement.start_lateness_p99_ms <= allowed_ms,
        explanation=f"the load generator started transactions late (p99 {late}, "
        f"limit {limit_text(allowed_ms)} ms), so it did not offer the load that was planned",
    )


def _clock(measurement: Measurement) -> Gate:
    early = f"{format_number(measurement.started_early_ms, digits=3)} ms"
    return Gate(
        name="clock",
        wanted="no transaction starts before its scheduled arrival",
        observed=f"at most {early} early",
        ok=measurement.started_early_ms <= _CLOCK_STEP_MS,
        explanation=f"a transaction seems to have started {early} before its time: the clock was changed",
    )


def _arrivals(plan: Plan, load: LoadRun, measurement: Measurement) -> Gate:
    least = plan.profile.validity.arrivals_min_percent
    blamed = _blamed_on_switch(plan, load, measurement)
    # An interrupted transaction was started; it has no record, but its arrival was delivered.
    unexplained = max(0, measurement.not_started - blamed - load.interrupted)
    scheduled = measurement.scheduled
    delivered = 100.0 * (scheduled - unexplained) / scheduled if scheduled else 0.0
    observed = f"{format_number(measurement.arrivals_percent)} % started"
    if blamed:
        observed += f"; {format_number(blamed)} not, as every VU was waiting for the switch"
    return Gate(
        name="arrivals",
        wanted=f"at least {limit_text(least)} % of those scheduled, but for what the switch held up",
        observed=observed,
        ok=delivered >= least,
        explanation=f"{format_number(unexplained)} of {format_number(scheduled)} scheduled arrivals were not "
        "started, and not because the switch was slow: the load generator (or its number of VUs, "
        f"{format_number(load.vus_max)}) was too small",
    )


def _blamed_on_switch(plan: Plan, load: LoadRun, measurement: Measurement) -> int:
    """Return how many arrivals were not started because the switch held on to all VUs.

    All VUs busy is the switch's fault only if there were enough of them: when they run out at a mean time
    per transaction that the objectives still allow, there were too few.
    """
    allowed_ms = [
        one.limit for one in plan.profile.objectives if parse_metric(one.metric).what in ("e2e", "service")
    ]
    enough = vus_run_out_above_ms(load) >= max(allowed_ms, default=_SLOW_MS)
    return measurement.not_started_vus_busy if enough else 0


def _interrupted(plan: Plan, load: LoadRun) -> Gate:
    shape = plan.profile.load
    waited = shape.drain_s >= shape.request_timeout_s
    return Gate(
        name="interrupted",
        wanted="none, or each given as long as a request may take",
        observed=f"{format_number(load.interrupted)} after a drain of {format_duration_s(shape.drain_s)}",
        ok=load.interrupted == 0 or waited,
        explanation=f"{format_number(load.interrupted)} transactions were cut off after a drain of "
        f"{format_duration_s(shape.drain_s)}, shorter than one request may take",
    )


def _samples(plan: Plan, measurement: Measurement) -> Gate:
    least = plan.profile.validity.samples_min
    return Gate(
        name="samples",
        wanted=f"at least {limit_text(least)} transactions",
        observed=format_number(measurement.scheduled),
        ok=measurement.scheduled >= least,
        explanation=f"{format_number(measurement.scheduled)} transactions are too few to judge by",
    )


def _objective_samples(plan: Plan, measurement: Measurement) -> Gate:
    """Refuse a run that is too small for its own objectives, even if every transaction had succeeded.

    Too few latencies because too few transactions *succeeded* is another matter: the switch missed it.
    """
    metrics = [parse_metric(one.metric) for one in plan.profile.objectives]
    short = [
        metric
        for metric in metrics
        if metric.kind == "latency" and measurement.scheduled < samples_needed(metric.stat)
    ]
    names = ", ".join(f"{one.label} takes {format_number(samples_needed(one.stat))}" for one in short)
    return Gate(
        name="objective-samples",
        wanted="enough transactions for every percentile among the objectives",
        observed=f"{format_number(measurement.scheduled)}" + (f"; {names}" if short else ""),
        ok=not short,
        explanation=f"{format_number(measurement.scheduled)} transactions are too few: {names}",
    )


def _ledger(reconciliation: Reconciliation | None) -> Gate:
    return Gate(
        name="ledger",
        wanted="the hub's ledger read and compared with what the payers saw",
        observed="not read" if reconciliation is None else ", ".join(reconciliation.sources),
        ok=reconciliation is not None,
        explanation="the ledger could not be read, so nobody knows whether the money moved",
    )
