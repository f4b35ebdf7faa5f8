"""Every way in which a real k6 can end, and what is left of the run then."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest

from pytest_mojaloop_perf.assets import asset
from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.load import K6
from pytest_mojaloop_perf.load.invocation import SCRIPT
from tests.unit.load_world import (
    World,
    load,
    make_plan,
    usable_k6,
)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.fixture(scope="module")
def k6() -> K6:
    return usable_k6()


def test_a_broken_environment_ends_k6_at_once(world: World, k6: K6, tmp_path: Path) -> None:
    started: list[int] = []

    def alive() -> None:
        if started and world.asked:
            raise InfrastructureError("the hub died", remedy="look")

    with pytest.raises(InfrastructureError, match="the hub died"):
        load(make_plan(tmp_path, duration_s=60.0), world, k6, alive=alive, on_started=started.append)
    assert not psutil.pid_exists(started[0])


def test_ctrl_c_ends_k6_at_once(world: World, k6: K6, tmp_path: Path) -> None:
    started: list[int] = []

    def alive() -> None:
        if started:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(make_plan(tmp_path, duration_s=60.0), world, k6, alive=alive, on_started=started.append)
    assert not psutil.pid_exists(started[0])


@pytest.mark.parametrize(
    ("number", "ended"), [(signal.SIGKILL, "killed"), (signal.SIGTERM, "aborted"), (signal.SIGINT, "aborted")]
)
def test_a_k6_that_is_signalled_is_told_apart(
    world: World, k6: K6, tmp_path: Path, number: signal.Signals, ended: str
) -> None:
    started: list[int] = []
    sent: list[int] = []

    def alive() -> None:
        if started and not sent and sum(path == "quotes" for _, path, _ in world.asked) > 10:
            sent.append(1)
            os.kill(started[0], number)

    run = load(make_plan(tmp_path, duration_s=30.0), world, k6, alive=alive, on_started=started.append)
    assert run.ended == ended
    rows = pl.read_parquet(run.transactions)
    assert 5 <= rows.height < 1500
    assert run.iterations == rows.height
    assert run.records_lost == 0


SCRIPTS = {
    "script-error": "throw new Error('this script is broken');",
    "setup-failed": "export const options = { setupTimeout: '100ms' };\n"
    "export function setup() { const until = Date.now() + 2000; while (Date.now() < until); }\n"
    "export default function () {}",
    "threshold": "import { Counter } from 'k6/metrics'; const c = new Counter('counted');\n"
    "export const options = { thresholds: { counted: ['count>5'] } };\n"
    "export default function () { c.add(1); }",
    "aborted": "import exec from 'k6/execution';\nexport default function () { exec.test.abort('enough'); }",
    "failed": "import exec from 'k6/execution';\nexport default function () { exec.test.fail('no'); }",
    "ok": "export default function () {}",
}


@pytest.mark.parametrize("ended", SCRIPTS)
def test_exit_codes_are_kept_apart(
    world: World, k6: K6, tmp_path: Path, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "other.js"
    script.write_text(SCRIPTS[ended])
    if ended == "threshold":
        # Our own command line switches thresholds off; the mapping must hold all the same.
        monkeypatch.setattr("pytest_mojaloop_perf.load.invocation.NO_THRESHOLDS", "--no-color")
    run = load(make_plan(tmp_path), world, k6, script=script)
    assert run.ended == ended
    assert pl.read_parquet(run.transactions).height == 0
    assert bool(run.ended_detail) == (ended != "ok")
    if ended == "script-error":
        assert "this script is broken" in run.ended_detail


def test_an_exception_in_a_transaction_is_a_lost_record(world: World, k6: K6, tmp_path: Path) -> None:
    script = tmp_path / "other.js"
    text = asset(SCRIPT).read_text()
    script.write_text(text.replace("const pair =", "if (iteration === 3) throw new Error('x'); const pair ="))
    run = load(make_plan(tmp_path, tps=8.0, duration_s=1.25), world, k6, script=script)
    assert (run.iterations, run.records_lost) == (10, 1)
    assert (tmp_path / "load" / "records.csv").exists(), "the evidence is kept"
