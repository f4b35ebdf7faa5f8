from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from pytest_mojaloop_perf.model import Latency
from pytest_mojaloop_perf.report import summary
from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.report.junit import junit_properties

Make = Callable[..., RunBundle]


def test_properties_are_plain_decimals(make_bundle: Make) -> None:
    bundle = make_bundle("FAIL", tps=1000, duration_s=1620)
    facts = dict(junit_properties(bundle))
    assert bundle.measurement
    assert facts["mojaloop_verdict"] == "FAIL"
    assert float(facts["mojaloop_tps"]) == pytest.approx(bundle.measurement.tps, abs=1e-6)
    assert facts["mojaloop_window_s"] == "1200"
    assert facts["mojaloop_slowest_pair"] == "fsp207->fsp208"
    assert facts["mojaloop_slowest_leg"] == "transfer"
    assert facts["mojaloop_money_defects"] == "2"
    assert (facts["mojaloop_security_probes"], facts["mojaloop_security_probes_refused"]) == ("18", "14")
    assert all(float(value) > 0 for name, value in facts.items() if name.endswith("_ms"))


def test_a_figure_that_does_not_exist_is_left_out(make_bundle: Make) -> None:
    bundle = make_bundle()
    assert bundle.measurement
    few = msgspec.structs.replace(bundle.measurement, e2e=Latency(count=4), e2e_p95_interval=None)
    facts = dict(junit_properties(msgspec.structs.replace(bundle, measurement=few)))
    assert "mojaloop_e2e_p95_ms" not in facts
    assert "mojaloop_tps" in facts
    only_plan = RunBundle(plan=bundle.plan, run_folder=bundle.run_folder)
    facts = dict(junit_properties(only_plan))
    assert facts["mojaloop_verdict"] == "NO VERDICT"
    assert "mojaloop_tps" not in facts


@pytest.mark.parametrize("outcome", ["PASS", "FAIL", "INVALID"])
def test_the_job_summary_has_verdict_tables_and_facts(make_bundle: Make, outcome: str) -> None:
    bundle = make_bundle(outcome)
    text = summary.markdown(bundle)
    assert text.splitlines()[0].endswith(f" {outcome}: 50 TPS for 1m00s on embedded")
    assert "| Objective | Wanted | Measured | 95 % interval | Verdict |" in text
    assert "- Money: " in text
    assert "> These are figures of the reference switch" in text
    assert ("| Gate that failed |" in text) == (outcome == "INVALID")
    for line in text.splitlines():
        assert not line.startswith("|") or line.count("|") in (4, 6)


def test_markdown_and_html_in_foreign_text_do_nothing(make_bundle: Make) -> None:
    bundle = make_bundle()
    assert bundle.verdict
    verdict = msgspec.structs.replace(bundle.verdict, sentence="<script>|[x](javascript:y)`# @everyone")
    text = summary.markdown(msgspec.structs.replace(bundle, verdict=verdict))
    assert "&lt;script&gt;\\|\\[x\\]\\(javascript:y\\)\\`\\# \\@everyone" in text
    assert "<script>" not in text


def test_a_broken_run_has_a_summary(make_bundle: Make) -> None:
    whole = make_bundle()
    text = summary.markdown(RunBundle(plan=whole.plan, run_folder=whole.run_folder))
    assert "NO VERDICT" in text
    assert "not judged" in text
    assert "not reconciled" in text


def test_the_summary_is_written_into_the_run_folder(make_bundle: Make) -> None:
    bundle = make_bundle()
    assert summary.write(bundle).read_text(encoding="utf-8") == summary.markdown(bundle)
