"""How the plugin behaves in a pytest run: quiet in a foreign one, clear in a live one."""

from __future__ import annotations

import msgspec
import pytest

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import InfrastructureError, InvalidRunError
from pytest_mojaloop_perf.exits import INFRASTRUCTURE, INVALID
from pytest_mojaloop_perf.fixtures.hold import reported
from pytest_mojaloop_perf.fixtures.session import Breakage, PerfSession, join_session
from pytest_mojaloop_perf.model import Verdict
from pytest_mojaloop_perf.options import OPTIONS, Options
from pytest_mojaloop_perf.plan import asked_markers, make_plans
from tests.plugin.plans import NOW, options

LIVE = """
    import pytest

    @pytest.mark.perf
    def test_live(perf_run):
        raise AssertionError("it ran")

    def test_foreign():
        pass
"""


def test_a_foreign_run_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_foreign():\n    pass\n")
    result = pytester.runpytest_inprocess("--strict-markers", "-W", "error")
    result.assert_outcomes(passed=1)
    assert "mojaloop perf:" not in result.stdout.str()
    assert not (pytester.path / "perf-runs").exists()


@pytest.mark.parametrize("words", [(), ("-m", "not slow"), ("-k", "test")])
def test_a_live_test_that_nobody_asked_for_is_skipped_with_the_reason(
    pytester: pytest.Pytester, words: tuple[str, ...]
) -> None:
    pytester.makepyfile(LIVE)
    result = pytester.runpytest_inprocess("-rs", *words)
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["*add -m perf or -m smoke*"])
    assert not (pytester.path / "perf-runs").exists()


@pytest.mark.parametrize("words", [(), ("-m", "smoke"), ("-m", "not smoke")])
def test_tests_of_others_under_the_same_marker_are_theirs(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.smoke\ndef test_theirs():\n    pass\n")
    monkeypatch.setenv("PATH", str(pytester.path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path))
    result = pytester.runpytest_inprocess(*words)
    result.assert_outcomes(passed=0 if "not smoke" in words else 1)


def test_what_cannot_be_read_makes_a_run_invalid_not_broken(pytester: pytest.Pytester) -> None:
    plans = make_plans(options(perf_output=str(pytester.path)), run_id="r", created=NOW)
    folder = RunFolder.create(plans[0].run_folder)
    with pytest.raises(pytest.fail.Exception, match=r"INVALID: the ledger cannot be read"), reported(folder):
        raise InvalidRunError("the ledger cannot be read", remedy="look at the disk")
    session = PerfSession(options=Options(values={}), plans=plans)
    assert session.exit_status(1) == INVALID
    assert session.verdicts()[0].outcome == "INVALID"


@pytest.mark.parametrize("error", [InfrastructureError("the hub died", remedy="x"), OSError("disk full")])
def test_what_breaks_is_infrastructure_whatever_it_is(pytester: pytest.Pytester, error: Exception) -> None:
    plans = make_plans(options(perf_output=str(pytester.path)), run_id="r", created=NOW)
    folder = RunFolder.create(plans[0].run_folder)
    with pytest.raises((pytest.fail.Exception, OSError)), reported(folder):
        raise error
    assert PerfSession(options=Options(values={}), plans=plans).exit_status(1) == INFRASTRUCTURE


def test_a_plan_with_a_bad_k6_is_refused_in_one_line(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--perf-plan", "--perf-k6=./no-k6")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "no-k6" in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


def test_help_and_markers_name_everything(pytester: pytest.Pytester) -> None:
    told = pytester.runpytest_inprocess("--help").stdout.str()
    assert all(option.flag in told and option.env in told for option in OPTIONS)
    told = pytester.runpytest_inprocess("--markers").stdout.str()
    assert all(f"@pytest.mark.{name}: " in told for name in ("perf", "smoke", "infra", "deploy"))


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        (("--tps=7", "8", "9"), "7"),
        (("", "8", "9"), "8"),
        (("", "", "9"), "9"),
        (("", "", ""), "50"),
    ],
)
def test_the_command_line_overrules_the_environment_which_overrules_ini(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forms: tuple[str, str, str], expected: str
) -> None:
    word, environment, ini = forms
    monkeypatch.setenv("MOJALOOP_PERF_TPS", environment)
    pytester.makeini(f"[pytest]\nperf_tps = {ini}\n")
    result = pytester.runpytest_inprocess("--perf-plan", *([word] if word else []))
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"*to prove {expected} TPS*"])


def test_a_plan_starts_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(LIVE)
    result = pytester.runpytest_inprocess("--perf-plan", "-m", "perf or smoke")
    assert result.ret == 0
    assert "it ran" not in result.stdout.str()
    result.stdout.fnmatch_lines(["profile*embedded*", "profile*smoke*"])
    assert not (pytester.path / "perf-runs").exists()


def test_a_hook_may_change_the_plan(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        import msgspec

        def pytest_mojaloop_perf_plan(plan):
            load = msgspec.structs.replace(plan.profile.load, drain_s=99)
            return msgspec.structs.replace(
                plan, seed=77, profile=msgspec.structs.replace(plan.profile, load=load)
            )
    """)
    result = pytester.runpytest_inprocess("--perf-plan")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*seed 77*"])


NOT_A_PLAN = """
def pytest_mojaloop_perf_plan(plan):
    return 5
"""
NO_RATE = """
import msgspec

def pytest_mojaloop_perf_plan(plan):
    load = msgspec.structs.replace(plan.profile.load, tps=-1)
    return msgspec.structs.replace(plan, profile=msgspec.structs.replace(plan.profile, load=load))
"""


@pytest.mark.parametrize(
    ("conftest", "told"),
    [
        (NOT_A_PLAN, "returned int, expected a Plan or None"),
        (NO_RATE, "tps in the plan that a hook changed is -1"),
    ],
)
def test_a_hook_that_makes_a_bad_plan_is_refused(pytester: pytest.Pytester, conftest: str, told: str) -> None:
    pytester.makeconftest(conftest)
    result = pytester.runpytest_inprocess("--perf-plan")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert told in result.stderr.str()


def test_a_worker_joins_with_the_same_plans() -> None:
    plans = make_plans(options(markexpr="perf or smoke"), run_id="r", created=NOW)
    session = PerfSession(options=options(markexpr="perf or smoke"), plans=plans)
    joined = join_session(session.to_worker())
    assert joined.plans == plans
    assert joined.options == session.options
    assert joined.is_worker
    assert not session.is_worker


@pytest.mark.parametrize(
    ("outcome", "own", "expected"),
    [
        ("PASS", 0, 0),
        ("FAIL", 1, 1),
        ("FAIL", 0, 1),
        ("INVALID", 1, INVALID),
        ("INVALID", 2, 2),
        ("broken", 1, INFRASTRUCTURE),
    ],
)
def test_the_exit_status_tells_the_outcome(
    pytester: pytest.Pytester, outcome: str, own: int, expected: int
) -> None:
    plans = make_plans(options(perf_output=str(pytester.path)), run_id="r", created=NOW)
    folder = RunFolder.create(plans[0].run_folder)
    if outcome == "broken":
        folder.write(Breakage(what="the hub died", remedy="look at its log"))
    else:
        verdict = {"outcome": outcome, "sentence": "x", "gates": [], "objectives": []}
        folder.write(msgspec.convert(verdict, Verdict))
    assert PerfSession(options=Options(values={}), plans=plans).exit_status(own) == expected


@pytest.mark.parametrize(
    ("markexpr", "asked"),
    [
        ("perf", ("perf",)),
        ("infra or deploy", ("infra", "deploy")),
        ("perf and not slow", ("perf",)),
        ("not perf", ()),
        ("not slow", ()),
        ("", ()),
        ("perf and (", ()),
    ],
)
def test_what_a_marker_expression_asks_for(markexpr: str, asked: tuple[str, ...]) -> None:
    assert asked_markers(markexpr) == asked
