from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_mojaloop_perf.model import (
    Latency,
    MachineUse,
    Objective,
    ProbeResult,
    ProcessUse,
    ReconciliationDefect,
    SecurityObserved,
    ValidityLimits,
)
from pytest_mojaloop_perf.units import apart
from pytest_mojaloop_perf.verdict import explain
from pytest_mojaloop_perf.verdict.bottleneck import slowest_leg, what_ran_out
from tests.unit.stored_runs import MACHINE, RECONCILIATION, SECURITY, Rows, Run, rows


def _objective(run: Run, metric: str, op: str, limit: float) -> Run:
    wanted = msgspec.convert({"metric": metric, "op": op, "limit": limit}, Objective)
    return run.profile(objectives=(wanted,))


# --- objectives ---


@pytest.mark.parametrize(
    ("op", "measured", "met"),
    [
        (">=", 50.0, True),
        (">=", 49.999, False),
        (">", 50.0, False),
        (">", 50.001, True),
        ("<=", 50.0, True),
        ("<=", 50.001, False),
        ("<", 50.0, False),
        ("<", 49.999, True),
    ],
)
@pytest.mark.parametrize("metric", ["tps", "success_percent"])
def test_operators_mean_what_they_say(
    tmp_path: Path, metric: str, op: str, measured: float, met: bool
) -> None:
    run = _objective(Run(tmp_path), metric, op, 50.0)
    run.changes[metric] = measured
    assert run.verdict.objectives[0].met is met
    assert run.verdict.outcome == ("PASS" if met else "FAIL")


@pytest.mark.parametrize("what", ["e2e", "service", "discovery", "quote", "transfer"])
@pytest.mark.parametrize("stat", ["p50", "p90", "p95", "p99", "max"])
def test_every_latency_can_be_an_objective(tmp_path: Path, what: str, stat: str) -> None:
    run = _objective(Run(tmp_path), f"{what}_{stat}_ms", "<", 1.0)
    measured = run.measurement
    latencies: dict[str, Latency] = {"e2e": measured.e2e, "service": measured.service, **dict(measured.legs)}
    result = run.verdict.objectives[0]
    assert result.measured == getattr(latencies[what], f"{stat}_ms")
    assert not result.met
    assert (result.interval is not None) == (what == "e2e" and stat == "p95")


def test_a_refused_figure_meets_nothing(tmp_path: Path) -> None:
    run = _objective(Run(tmp_path), "e2e_p95_ms", "<", 1e9)
    run.changes["e2e"] = Latency(count=199)
    (result, *_) = run.verdict.objectives
    assert result.measured is None
    assert not result.met
    assert "199 committed transactions, and it takes 200" in result.explanation
    assert run.verdict.outcome == "FAIL"


def _unanswered(columns: Rows) -> None:
    columns["outcome"][300:376] = "quote:timeout"  # 76 of 1,500: more than 5 %


def test_a_percentile_of_the_others_does_not_hide_what_was_never_answered(tmp_path: Path) -> None:
    run = _objective(Run(tmp_path, rows(change=_unanswered)), "e2e_p95_ms", "<", 500)
    (result, *_) = run.verdict.objectives
    assert result.measured == pytest.approx(90.5)
    assert not result.met
    assert "5.067 % of the transactions have no answer" in result.explanation
    for metric, met in (("e2e_p90_ms", True), ("quote_p95_ms", False), ("transfer_p95_ms", True)):
        assert _objective(run, metric, "<", 500).verdict.objectives[0].met is met


def test_a_few_unanswered_do_not_spoil_a_percentile_but_the_maximum(tmp_path: Path) -> None:
    def change(columns: Rows) -> None:
        columns["outcome"][300] = "transfer:timeout"

    run = Run(tmp_path, rows(change=change))
    assert _objective(run, "e2e_p99_ms", "<", 500).verdict.objectives[0].met
    assert not _objective(run, "e2e_max_ms", "<", 500).verdict.objectives[0].met


def test_money_and_security_are_objectives_of_every_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert [result.objective.metric for result in run.verdict.objectives][-2:] == [
        "money_defects",
        "security_breaches",
    ]
    defect = ReconciliationDefect(check="booked-once", name="booked twice", count=3, sample=("a", "b"))
    run.reconciliation = msgspec.structs.replace(RECONCILIATION, defects=(defect,))
    assert run.verdict.sentence == "FAIL: 3 money defects"
    assert run.verdict.bottleneck == ""


@pytest.mark.parametrize(
    ("changes", "breaches"),
    [({"refused": False}, 1), ({"moved_money": True}, 1), ({"refused": False, "ran": False}, 1)],
)
def test_a_bad_message_that_is_let_through_fails_the_run(
    tmp_path: Path, changes: dict[str, Any], breaches: int
) -> None:
    run = Run(tmp_path)
    (probe,) = SECURITY[0].probes
    changed = SecurityObserved(when="after", probes=(msgspec.structs.replace(probe, **changes),))
    run.security = (SECURITY[0], changed)
    assert run.verdict.outcome == ("FAIL" if breaches else "PASS")
    assert run.verdict.objectives[-1].measured == breaches


def test_without_ledger_or_probes_there_is_no_such_objective(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.plan = msgspec.structs.replace(run.plan, target="existing", switch="installed")
    run.reconciliation, run.security = None, ()
    assert len(run.verdict.objectives) == 4


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [(499.98, 500, "499.98"), (500, 500, "500"), (99.99996, 100, "99.99996"), (148.21, 1000, "148.2")],
)
def test_a_printed_figure_never_reads_like_its_limit(value: float, limit: float, text: str) -> None:
    assert apart(value, limit) == text


# --- the sentence ---


def test_a_pass_says_what_was_shown(tmp_path: Path) -> None:
    assert Run(tmp_path).verdict.sentence == (
        "PASS: 50 TPS (wanted >= 50), success 100 % (wanted > 99.5 %), "
        "end-to-end p95 90.5 ms (wanted < 500 ms)"
    )


def _use(name: str, cores: float, **more: Any) -> ProcessUse:
    return ProcessUse(name=name, cpu_cores=cores, memory_peak_bytes=1, **more)


def _machine(*processes: ProcessUse, busy: float, **more: Any) -> MachineUse:
    return msgspec.structs.replace(MACHINE, processes=processes, busy_cores=busy, **more)


def test_a_failure_says_what_ran_out(tmp_path: Path) -> None:
    run = Run(tmp_path, offered_tps=50.0)
    run.machine = _machine(
        _use("dfsps-1", 0.8), _use("dfsps-2", 0.8), _use("hub", 0.1), _use("k6", 0.2), busy=1.95
    )
    run.changes["tps"] = 14.8
    assert run.verdict.sentence == (
        "FAIL: 14.8 of 50 TPS; the 2 dfsps processes used 1.6 and the k6 process 0.2 of 2 cores: "
        "the machine ran out of CPU"
    )


MACHINES = [
    (_machine(_use("k6", 0.5, stopped_percent=75.0), busy=2.0), "found stopped in 75 % of the samples"),
    (_machine(_use("hub", 0.5), busy=2.0, foreign_cores=1.3), "other programs used 1.3 of 2 cores"),
    (_machine(_use("hub", 0.5), busy=1.0, steal_percent=12.0), "hypervisor withheld 12 % of the CPU time"),
    (_machine(_use("hub", 0.5), busy=1.0, throttled_percent=40.0), "CPU quota of this container ran out"),
    (_machine(_use("hub", 0.05), busy=1.9), "all programs together used 1.9 of 2 cores"),
    (_machine(_use("hub", 0.97), _use("k6", 0.2), busy=1.3), "the hub process used 0.97 of the one core"),
    (_machine(_use("k6", 0.95, allowed_cores=1.0), busy=1.3), "the generator used 0.95 cores, all that"),
    (_machine(_use("k6", 0.95, allowed_cores=2.0), busy=1.3), ""),
    (_machine(_use("pytest", 0.95), busy=1.3), ""),
    (_machine(_use("hub", 0.5), busy=1.0), ""),
]


@pytest.mark.parametrize(
    ("machine", "words"), MACHINES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_ran_out_is_named(tmp_path: Path, machine: MachineUse, words: str) -> None:
    run = Run(tmp_path)
    run.machine = machine
    said = what_ran_out(run.load, run.measurement, ValidityLimits())
    assert words in said
    assert bool(words) == bool(said)


def test_when_nothing_ran_out_the_slowest_leg_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path, rows(spent_ms=1000.0))
    assert slowest_leg(run.measurement) == "the slowest leg is transfer (p95 500 ms)"
    assert run.verdict.sentence == (
        "FAIL: end-to-end p95 1,000.5 ms (wanted < 500 ms); the slowest leg is transfer (p95 500 ms)"
    ).replace("1,000.5", apart(1000.5, 500))


def test_a_failure_of_success_says_what_failed_most_often(tmp_path: Path) -> None:
    def change(columns: Rows) -> None:
        columns["outcome"][300:320:2] = "transfer:5001"
        columns["outcome"][300] = "quote:3100"

    sentence = (
        Run(tmp_path, rows(change=change))
        .profile(objectives=(Objective(metric="success_percent", op=">", limit=99.5),))
        .verdict.sentence
    )
    assert sentence == "FAIL: success 99.33 % (wanted > 99.5 %), most often transfer:5001 (9)"


def test_an_invalid_run_says_what_kept_the_generator_from_its_work(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.machine = _machine(_use("dfsps-1", 1.2), _use("k6", 0.7), busy=1.98)
    run.changes["start_lateness_p99_ms"] = 850.0
    sentence = run.verdict.sentence
    assert sentence.startswith("INVALID: the load generator started transactions late (p99 850 ms")
    assert sentence.endswith("of 2 cores: the machine ran out of CPU")


def test_several_gates_are_all_named(tmp_path: Path) -> None:
    run = Run(tmp_path, records_lost=2)
    run.changes["started_early_ms"] = 900.0
    assert "(also: clock)" in run.verdict.sentence


# --- assertion messages ---


def test_an_assertion_names_number_objective_slowest_parts_and_file(tmp_path: Path) -> None:
    run = Run(tmp_path, rows(spent_ms=1000.0))
    verdict = run.verdict
    result = explain.objective_result(verdict, "e2e_p95_ms")
    assert result is not None
    text = explain.objective(run.plan, run.measurement, result, verdict)
    assert "end-to-end p95: 1,000" in text
    assert "wanted < 500 ms (profile synthetic)" in text
    assert "95 % interval" in text
    assert "the slowest leg is transfer (p95 500 ms)" in text
    assert "the slowest pair is fsp20" in text
    assert f"open: {tmp_path / 'report.html'}" in text
    assert explain.objective_result(verdict, "quote_p50_ms") is None


def test_messages_about_gates_probes_and_money(tmp_path: Path) -> None:
    run = Run(tmp_path, records_lost=2)
    assert "gate records: 2 lost, wanted one sound record" in explain.gates(run.verdict)
    probe = ProbeResult(name="forged JWS", control="jws", expected="400", observed="202", refused=False)
    text = explain.probes("jws", [probe, msgspec.structs.replace(probe, ran=False)], run.plan)
    assert "forged JWS was let through: expected 400, observed 202" in text
    assert "forged JWS was not sent" in text
    defect = ReconciliationDefect(check="booked-once", name="booked twice", count=3, sample=("id1",))
    assert "booked twice, 3 times; for example id1" in explain.money([defect], run.plan)


def test_the_table_has_a_line_for_each_objective_and_judges_none_of_an_invalid_run(tmp_path: Path) -> None:
    good = explain.verdict_lines(Run(tmp_path).verdict)
    assert len(good) == 2 + 6
    assert all(line.endswith("met") for line in good[2:])
    bad = explain.verdict_lines(Run(tmp_path, records_lost=1).verdict)
    assert sum(line.endswith("not judged") for line in bad) == 6
    assert any("gate records" in line for line in bad)
