"""Each documented fault turns exactly its test red; without one, everything is green."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chain.live import SHORT, run_live

FAULTS = {
    "no-jws-check": {"test_security_is_enforced[perf-jws]"},
    "no-client-certificate-check": {"test_security_is_enforced[perf-mtls]"},
    "error-callbacks=1": {"test_objective[perf-success > 99.5]"},
    "slow-leg=transfer:600": {"test_objective[perf-end-to-end p95 < 500]"},
    "lost-callbacks=0.1": {"test_objective[perf-unanswered < 0.05]"},
    "booked-twice": {"test_money_is_conserved[perf-every transfer is booked exactly once]"},
    "not-reversed": {"test_money_is_conserved[perf-an aborted transfer leaves no trace on a position]"},
}


def test_without_a_fault_everything_is_green(tmp_path: Path) -> None:
    ended = run_live(tmp_path, *SHORT)
    assert ended.status == 0, ended.output
    assert ended.verdict() == "PASS"
    assert not ended.failed | ended.errors
    assert len(ended.passed) >= 13


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_turns_exactly_its_test_red(tmp_path: Path, fault: str) -> None:
    ended = run_live(tmp_path, *SHORT, f"--perf-fault={fault}")
    assert ended.failed == FAULTS[fault], ended.output
    assert not ended.errors, ended.output
    assert ended.status == pytest.ExitCode.TESTS_FAILED
    assert ended.verdict() == "FAIL"


def test_a_starved_generator_makes_the_run_invalid(tmp_path: Path) -> None:
    ended = run_live(tmp_path, *SHORT, "--perf-fault=starved-generator")
    assert ended.status == 10, ended.output
    assert ended.verdict() == "INVALID"
    assert "INVALID" in ended.output
    assert not ended.passed | ended.failed
    assert ended.errors
