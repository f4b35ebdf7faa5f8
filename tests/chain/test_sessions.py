"""Sessions of every kind: a rate that no laptop holds, several workers, a kept environment, the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.chain.live import ROOT, SHORT, environment, gone_within, run_live


def test_a_thousand_tps_on_one_machine_says_what_ran_out(tmp_path: Path) -> None:
    ended = run_live(tmp_path, "--tps=1000", "--perf-duration=20s", "--perf-request-timeout=4s")
    assert ended.status in (1, 10), ended.output
    assert ended.verdict() in ("FAIL", "INVALID")
    assert re.search(r"ran out of|CPU", ended.sentence()), ended.output


def test_several_workers_share_one_environment(tmp_path: Path) -> None:
    ended = run_live(tmp_path, "-n", "4", *SHORT)
    assert ended.status == 0, ended.output
    journal = (ended.run / "journal.jsonl").read_text()
    assert journal.count('"onboard"') == 1
    assert not gone_within(tmp_path / "runs", 5)


def test_infra_and_deploy_suites(tmp_path: Path) -> None:
    for marker in ("infra", "deploy"):
        ended = run_live(tmp_path, marker=marker, suite=f"tests/{marker}")
        assert ended.status == 0, ended.output
        assert ended.passed


def test_a_kept_environment_is_used_again(tmp_path: Path) -> None:
    first = run_live(
        tmp_path, "--perf-keep=always", "--perf-keep-for=3m", marker="deploy", suite="tests/deploy"
    )
    assert first.status == 0, first.output
    run_id = first.run.name
    try:
        again = run_live(tmp_path, f"--perf-reuse={run_id}", marker="deploy", suite="tests/deploy")
        assert again.status == 0, again.output
    finally:
        down = subprocess.run(
            [sys.executable, "-m", "pytest_mojaloop_perf.cli", "down", run_id],
            capture_output=True,
            text=True,
            check=False,
        )
    assert down.returncode == 0, down.stderr
    assert not gone_within(tmp_path / "runs", 5)


def test_the_smoke_marker_runs_the_smoke_profile(tmp_path: Path) -> None:
    ended = run_live(tmp_path, *SHORT, marker="smoke")
    assert ended.status == 0, ended.output
    assert "test_the_run_is_valid[smoke]" in ended.passed
    assert not any("[perf" in name for name in ended.passed)


def test_the_wheel_brings_the_suite(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    # Unpacked over what is installed: the suite and its data must come from the wheel, not from a checkout.
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=False)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (site / "others.pth").write_text(
        os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    )
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [
            str(tmp_path / "venv" / "bin" / "python"),
            "-m",
            "pytest",
            "--pyargs",
            "pytest_mojaloop_perf.suite",
            "-m",
            "perf",
            "--perf-target=embedded",
            "-p",
            "no:cacheprovider",
            *SHORT,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=empty,
        env=environment(),
        check=False,
    )
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert "perf/test_benchmark.py" in done.stdout
    assert str(ROOT) not in done.stdout
