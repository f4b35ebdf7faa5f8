from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from pytest_mojaloop_perf.model import Gate, LoadShape, MachineUse, Objective, ValidityLimits
from pytest_mojaloop_perf.verdict.judge import judge
from tests.unit.stored_runs import MACHINE, OBJECTIVES, SHAPE, Rows, Run, rows


def _machine(**changes: Any) -> MachineUse:
    return msgspec.structs.replace(MACHINE, **changes)


def _k6(**changes: Any) -> MachineUse:
    processes = tuple(
        msgspec.structs.replace(one, **changes) if one.name == "k6" else one for one in MACHINE.processes
    )
    return _machine(processes=processes)


def _load(run: Run, **changes: Any) -> None:
    run.load = msgspec.structs.replace(run.load, **changes)


def _limits(run: Run, **changes: Any) -> None:
    run.profile(validity=msgspec.structs.replace(ValidityLimits(), **changes))


def _ended(run: Run) -> None:
    _load(run, ended="threshold", ended_detail="exit status 99")


def _lost(run: Run) -> None:
    _load(run, records_lost=1)


def _truncated(run: Run) -> None:
    _load(run, iterations=2001)


def _repeated(run: Run) -> None:
    run.changes["records_repeated"] = 1


def _broken(run: Run) -> None:
    run.changes["records_broken"] = 1


def _ended_early(run: Run) -> None:
    _load(run, planned_arrivals=2100)


def _gone_before_the_window_ended(run: Run) -> None:
    _load(run, ended_ms=run.measurement.window.end_ms - 1)
    run.changes = {"records_broken": 0, "records": 2000}


def _short_window(run: Run) -> None:
    _limits(run, window_min_s=31)


def _too_low_an_offer(run: Run) -> None:
    run.load = msgspec.structs.replace(run.load, offered_tps=49.999)
    run.changes = {"tps": 50.0}


def _unsampled(run: Run) -> None:
    run.machine = None


def _sampled_once(run: Run) -> None:
    run.machine = _machine(samples=1)


def _gap(run: Run) -> None:
    run.machine = _machine(longest_gap_s=5.1)


def _busy_generator(run: Run) -> None:
    run.machine = _k6(cpu_cores=0.91, allowed_cores=1.0)


def _stopped_generator(run: Run) -> None:
    run.machine = _k6(stopped_percent=20.0)


def _unseen_generator(run: Run) -> None:
    run.machine = _machine(processes=tuple(one for one in MACHINE.processes if one.name != "k6"))


def _foreign(run: Run) -> None:
    run.machine = _machine(foreign_cores=0.6)


def _steal(run: Run) -> None:
    run.machine = _machine(steal_percent=5.1)


def _late(run: Run) -> None:
    run.changes["start_lateness_p99_ms"] = 100.1


def _clock(run: Run) -> None:
    run.changes["started_early_ms"] = 51.0


def _not_started(run: Run) -> None:
    run.changes |= {"not_started": 16, "arrivals_percent": 98.93}


def _cut_off(run: Run) -> None:
    _load(run, interrupted=1)
    run.profile(load=msgspec.structs.replace(SHAPE, drain_s=9.9))


def _few(run: Run) -> None:
    _limits(run, samples_min=1501)


def _few_for_a_percentile(run: Run) -> None:
    run.changes |= {"scheduled": 999}
    run.profile(objectives=(*OBJECTIVES, Objective(metric="transfer_p99_ms", op="<", limit=500)))


def _no_ledger(run: Run) -> None:
    run.reconciliation = None


BREAKS: list[tuple[str, Callable[[Run], None], str]] = [
    ("generator-ended", _ended, "threshold"),
    ("records", _lost, "1 lost"),
    ("records", _truncated, "1 lost"),
    ("records", _repeated, "1 repeated"),
    ("records", _broken, "1 contradictory"),
    ("steady-window", _ended_early, "2,000 of 2,100 planned arrivals"),
    ("steady-window", _gone_before_the_window_ended, "not complete"),
    ("steady-window", _short_window, "30s is too short"),
    ("offered-rate", _too_low_an_offer, "cannot show 50 TPS"),
    ("machine-observed", _unsampled, "not sampled throughout"),
    ("machine-observed", _sampled_once, "not sampled throughout"),
    ("machine-observed", _gap, "not sampled throughout"),
    ("generator-cpu", _busy_generator, "used 91 % of the CPU that it may use (1 cores)"),
    ("generator-cpu", _stopped_generator, "was found stopped in 20 % of the samples"),
    ("generator-cpu", _unseen_generator, "not among the processes"),
    ("foreign-cpu", _foreign, "used 0.6 of 2 cores"),
    ("steal", _steal, "hypervisor gave 5.1 %"),
    ("start-lateness", _late, "p99 100.1 ms, limit 100 ms"),
    ("clock", _clock, "clock was changed"),
    ("arrivals", _not_started, "16 of 1,500 scheduled arrivals were not started"),
    ("interrupted", _cut_off, "1 transactions were cut off"),
    ("samples", _few, "1,500 transactions are too few"),
    ("objective-samples", _few_for_a_percentile, "transfer p99 takes 1,000"),
    ("ledger", _no_ledger, "the ledger could not be read"),
]


def test_a_sound_run_passes_every_gate(tmp_path: Path) -> None:
    verdict = Run(tmp_path).verdict
    assert verdict.outcome == "PASS", verdict.sentence
    assert {gate.name for gate in verdict.gates} == {name for name, _, _ in BREAKS}
    assert not any(gate.explanation for gate in verdict.gates)


@pytest.mark.parametrize(
    ("name", "damage", "words"), BREAKS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_gate_that_does_not_hold_makes_the_run_invalid_and_nothing_else(
    tmp_path: Path, name: str, damage: Callable[[Run], None], words: str
) -> None:
    run = Run(tmp_path)
    damage(run)
    verdict = run.verdict
    assert verdict.outcome == "INVALID"
    assert [gate.name for gate in verdict.gates if not gate.ok] == [name]
    assert words in verdict.sentence
    assert all(result.met for result in verdict.objectives if result.measured is not None)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("start-lateness", "start_lateness_p99_ms", 100.0),
        ("clock", "started_early_ms", 50.0),
        ("arrivals", "not_started", 15),
    ],
)
def test_a_gate_holds_at_its_limit(tmp_path: Path, name: str, field: str, value: float) -> None:
    run = Run(tmp_path)
    run.changes[field] = value
    assert next(gate for gate in run.verdict.gates if gate.name == name).ok


def test_limits_of_the_machine_hold_at_their_limit(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.machine = msgspec.structs.replace(
        _k6(cpu_cores=0.9, allowed_cores=1.0, stopped_percent=5.0),
        foreign_cores=0.5,
        steal_percent=5.0,
        longest_gap_s=5.0,
        samples=2,
    )
    assert run.verdict.outcome == "PASS", run.verdict.sentence


def test_a_run_elsewhere_needs_neither_machine_samples_nor_a_ledger(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.plan = msgspec.structs.replace(run.plan, target="existing", switch="installed")
    run.machine, run.reconciliation = None, None
    assert run.verdict.outcome == "PASS", run.verdict.sentence


def test_a_gate_of_a_hook_counts_like_any_other(tmp_path: Path) -> None:
    run = Run(tmp_path)
    verdict = judge(
        run.plan,
        run.load,
        run.measurement,
        reconciliation=run.reconciliation,
        further_gates=(Gate(name="disk", wanted="1 GB free", observed="none", ok=False),),
    )
    assert verdict.outcome == "INVALID"
    assert verdict.sentence == "INVALID: disk is none, wanted 1 GB free"


def test_an_invalid_run_is_not_a_failed_one_even_if_objectives_are_missed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.changes["tps"] = 3.0
    _lost(run)
    assert run.verdict.outcome == "INVALID"


# --- who is to blame when arrivals are not started ---


def _drop(first_s: float, last_s: float) -> npt.NDArray[np.bool_]:
    at = np.arange(2000) * 20.0
    kept: npt.NDArray[np.bool_] = ~(
        (at >= first_s * 1000) & (at < last_s * 1000) & (np.arange(2000) % 2 == 1)
    )
    return kept


def _stuck(columns: Rows) -> None:
    """From 10 s to 20 s everything waits until 21 s: 500 arrivals, more than there are VUs."""
    at = (columns["scheduled_ms"] - columns["scheduled_ms"][0]) / 1000.0
    stuck = (at >= 10) & (at < 20)
    columns["ended_ms"][stuck] = columns["scheduled_ms"][0] + 21_000


def test_arrivals_that_found_every_vu_waiting_for_the_switch_make_it_fail(tmp_path: Path) -> None:
    run = Run(tmp_path, rows(change=_stuck, keep=_drop(15, 20)), vus_max=250, vus_peak=250)
    measured = run.measurement
    assert measured.not_started == 125
    assert measured.not_started_vus_busy == 125
    verdict = run.verdict
    assert verdict.outcome == "FAIL", verdict.sentence
    assert verdict.sentence.startswith("FAIL: ")
    assert "all 250 VUs of the generator were waiting for answers" in verdict.sentence


def test_arrivals_that_were_not_started_while_vus_were_free_make_it_invalid(tmp_path: Path) -> None:
    run = Run(tmp_path, rows(keep=_drop(15, 20)), vus_max=250, vus_peak=20)
    assert run.measurement.not_started_vus_busy == 0
    assert run.verdict.outcome == "INVALID"
    assert [gate.name for gate in run.verdict.gates if not gate.ok] == ["arrivals"]


def test_too_few_vus_for_the_objectives_are_the_generators_fault(tmp_path: Path) -> None:
    # 10 VUs at 50 TPS run out at 200 ms per transaction, and p95 < 500 ms allows 400.
    run = Run(tmp_path, rows(spent_ms=400.0, keep=_drop(15, 20)), vus_max=10, vus_peak=10)
    assert run.measurement.not_started_vus_busy == 125
    assert run.verdict.outcome == "INVALID"
    assert "its number of VUs, 10" in run.verdict.sentence


def test_a_start_that_only_looks_late_after_a_drop_is_not_held_against_the_generator(tmp_path: Path) -> None:
    run = Run(tmp_path, rows(change=_stuck, keep=_drop(15, 20)), vus_max=250, vus_peak=250)
    for late_ms, outcome in ((1600.0, "FAIL"), (1600.1, "INVALID")):
        run.changes["start_lateness_p99_ms"] = late_ms
        assert run.verdict.outcome == outcome


def test_interrupted_transactions_were_delivered(tmp_path: Path) -> None:
    keep = np.ones(2000, dtype=bool)
    keep[1000:1100] = False
    run = Run(tmp_path, rows(keep=keep), dropped=0, interrupted=100)
    assert run.verdict.outcome == "FAIL"
    assert "success" in run.verdict.sentence


def test_a_switch_that_answers_nothing_fails_and_is_not_excused_for_want_of_samples(tmp_path: Path) -> None:
    def change(columns: Rows) -> None:
        columns["outcome"][:] = "discovery:connection"

    verdict = Run(tmp_path, rows(change=change)).verdict
    assert verdict.outcome == "FAIL"
    assert "0 of 50 TPS" in verdict.sentence
    assert "end-to-end p95 not known" in verdict.sentence


def test_a_short_run_cannot_be_judged_by_a_high_percentile(tmp_path: Path) -> None:
    shape = LoadShape(tps=10, offered_percent=100, duration_s=40, warmup_s=5, cooldown_s=5, drain_s=12)
    run = Run(tmp_path, rows(shape=shape), offered_tps=10.0, planned_arrivals=400, dropped=0)
    run.profile(
        load=shape,
        objectives=(
            Objective(metric="tps", op=">=", limit=10),
            Objective(metric="e2e_p99_ms", op="<", limit=500),
        ),
    )
    verdict = run.verdict
    assert verdict.outcome == "INVALID"
    assert "end-to-end p99 takes 1,000" in verdict.sentence
