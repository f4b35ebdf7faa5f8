from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.model import Interval, Objective, ObjectiveResult, Second
from pytest_mojaloop_perf.report import axes, figures
from pytest_mojaloop_perf.report.bundle import RunBundle, read_bundle, write_bundle

Make = Callable[..., RunBundle]


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (499.98, 500.0, "499.98"),
        (499.999996, 500.0, "499.999996"),
        (500.0, 500.0, "500"),
        (172.21, 500.0, "172.2"),
        (49.9999, 50.0, "49.9999"),
        (math.nan, 1.0, "too few samples"),
    ],
)
def test_a_figure_is_told_apart_from_its_limit(value: float, limit: float, text: str) -> None:
    assert figures.apart(value, limit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(100.0, "100 %"), (99.9961, "99.996 %"), (99.5, "99.5 %"), (0.0, "0 %"), (None, "too few samples")],
)
def test_a_share_reads_100_only_when_it_is(value: float | None, text: str) -> None:
    assert figures.percent(value) == text


def test_an_interval_that_is_not_finite_is_a_dash() -> None:
    assert figures.interval_text(Interval(low=math.nan, high=3.0), unit=" ms") == "-"
    assert figures.interval_text(Interval(low=1.0, high=3.25), unit=" ms") == "1 to 3.25 ms"


def test_the_slowest_pair_is_not_just_the_only_one_with_a_p95(make_bundle: Make) -> None:
    short, long = make_bundle(), make_bundle(duration_s=1620)
    assert short.measurement
    assert long.measurement
    assert short.measurement.pairs[0].e2e.p95_ms is not None
    found = figures.slowest_pair(short.measurement)
    assert found
    assert (found[0].payer, found[0].payee, found[1]) == ("fsp207", "fsp208", "p50")
    found = figures.slowest_pair(long.measurement)
    assert found
    assert found[1] == "p95"
    assert figures.slowest_pair(msgspec.structs.replace(long.measurement, pairs=())) is None


def test_an_invalid_run_judges_no_objective(make_bundle: Make) -> None:
    assert {row.verdict for row in figures.objective_rows(make_bundle("INVALID"))} == {"not judged"}
    assert {row.state for row in figures.objective_rows(make_bundle("PASS"))} == {"met"}
    assert "missed" in {row.state for row in figures.objective_rows(make_bundle("FAIL"))}


def test_an_objective_without_enough_samples_says_so(make_bundle: Make) -> None:
    bundle = make_bundle("FAIL")
    assert bundle.verdict
    result = ObjectiveResult(
        objective=Objective(metric="e2e_p99_ms", op="<", limit=1000), measured=None, met=False
    )
    verdict = msgspec.structs.replace(bundle.verdict, objectives=(result,))
    (row,) = figures.objective_rows(msgspec.structs.replace(bundle, verdict=verdict))
    assert (row.title, row.wanted, row.measured) == ("End-to-end p99", "< 1,000 ms", "too few samples")


def test_a_count_that_nobody_made_is_not_called_too_few_samples(make_bundle: Make) -> None:
    bundle = make_bundle("FAIL")
    assert bundle.verdict
    result = ObjectiveResult(
        objective=Objective(metric="money_defects", op="<=", limit=0), measured=None, met=False
    )
    verdict = msgspec.structs.replace(bundle.verdict, objectives=(result,))
    (row,) = figures.objective_rows(msgspec.structs.replace(bundle, verdict=verdict))
    assert (row.title, row.measured, row.verdict) == ("Money defects", "not known", "missed")


@pytest.mark.parametrize(
    ("explanation", "shown"),
    [
        ("end-to-end p95 is 678.5 ms, wanted < 500 ms", ""),
        ("end-to-end p95 is 678.5 ms, wanted < 500 ms; 61 went unanswered", None),
        ("more went unanswered than the percentile leaves out", None),
    ],
)
def test_an_explanation_that_repeats_the_row_is_left_out(
    make_bundle: Make, explanation: str, shown: str | None
) -> None:
    bundle = make_bundle("FAIL")
    assert bundle.verdict
    result = msgspec.structs.replace(bundle.verdict.objectives[2], explanation=explanation)
    verdict = msgspec.structs.replace(bundle.verdict, objectives=(result,))
    (row,) = figures.objective_rows(msgspec.structs.replace(bundle, verdict=verdict))
    assert row.explanation == (explanation if shown is None else shown)


def test_the_outcome_is_not_said_twice(make_bundle: Make) -> None:
    assert make_bundle("INVALID").sentence.startswith("The generator was starved")


def test_money_that_is_lost_is_said_first(make_bundle: Make) -> None:
    assert figures.money_text(make_bundle("FAIL").reconciliation).startswith("NOT conserved: booked-once 2")
    assert figures.money_text(make_bundle().reconciliation).startswith("conserved: ")
    assert figures.money_text(None) == "not reconciled"


def test_a_probe_that_was_not_sent_is_not_counted_as_refused(make_bundle: Make) -> None:
    observed = make_bundle().security[0]
    unsent = msgspec.structs.replace(observed.probes[0], ran=False, refused=True)
    changed = msgspec.structs.replace(observed, probes=(unsent, *observed.probes[1:]))
    assert figures.security_text((changed,)) == "8 of 9 probes refused before the load"


def test_text_for_a_terminal_cannot_steer_it() -> None:
    assert figures.clean("a\x1b[31mb\r\nc\x07 \u202e") == "a[31mb c"


def test_condensed_seconds_keep_the_worst_latency() -> None:
    seconds = [
        Second(at_s=float(at), arrivals=10, committed=10, failed=0, e2e_p95_ms=900.0 if at == 7 else 10.0)
        for at in range(100)
    ]
    few, step = axes.condense(seconds, 10)
    assert (len(few), step) == (10, 10)
    assert next(second.e2e_p95_ms for second in few) == 900.0
    assert {second.committed for second in few} == {10}
    assert axes.condense(seconds, 100)[1] == 1


def test_ticks_cover_what_they_must() -> None:
    assert axes.nice_ticks(52, 5) == [0, 20, 40, 60]
    assert axes.nice_ticks(0, 5)[-1] >= 1
    assert axes.log_ticks(1, 100, 8) == [1, 2, 5, 10, 20, 50, 100]
    assert axes.time_ticks(1621, 9)[:2] == [0, 300]
    assert axes.line_path([(0, 1), (1, None), (2, 3)]) == "M0.0 1.0M2.0 3.0"


def test_a_bundle_is_read_back_from_its_folder(make_bundle: Make) -> None:
    bundle = make_bundle("FAIL")
    write_bundle(bundle)
    assert read_bundle(RunFolder(bundle.run_folder)) == bundle


def test_only_the_plan_is_needed(make_bundle: Make) -> None:
    whole = make_bundle()
    write_bundle(RunBundle(plan=whole.plan, run_folder=whole.run_folder))
    (whole.run_folder / "breakage.json").write_text(
        '{"schema": 1, "value": {"what": "the port is taken.", "remedy": "free it"}}'
    )
    bundle = read_bundle(RunFolder(whole.run_folder))
    assert bundle.outcome == "NO VERDICT"
    assert bundle.broke == "the port is taken. Remedy: free it."
    assert bundle.measurement is None


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="Remedy: name a complete run folder"):
        read_bundle(RunFolder(tmp_path))


def test_versions_that_are_not_an_object_are_refused(make_bundle: Make) -> None:
    bundle = make_bundle()
    write_bundle(bundle)
    (bundle.run_folder / "versions.json").write_text("{broken")
    with pytest.raises(BadInputError, match=r"versions.json is not a JSON object"):
        read_bundle(RunFolder(bundle.run_folder))
