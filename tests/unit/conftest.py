"""The real reference switch for tests that talk to it from outside: its processes, on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.infra.host_state import HostConfig
from pytest_mojaloop_perf.infra.supervisor import Supervisor
from pytest_mojaloop_perf.model import (
    Dfsp,
    Environment,
    Fault,
    LoadShape,
    Matrix,
    Pair,
    Plan,
    Profile,
    SecurityProfile,
)

Switch = tuple[Plan, Environment]


def _say_nothing(_done: int, _steps: int, _text: str) -> None:
    return


@contextmanager
def reference_switch(
    folder: Path, *, security: SecurityProfile | None = None, faults: tuple[Fault, ...] = ()
) -> Iterator[Switch]:
    """Run a hub and two DFSPs, not onboarded; all of it has ended afterwards."""
    load = LoadShape(tps=1, duration_s=10, warmup_s=1, cooldown_s=1, request_timeout_s=1.0)
    chosen = security or SecurityProfile(jws="ES256")
    plan = Plan(
        run_id="test",
        created="2026-01-01T00:00:00",
        target="embedded",
        target_reason="test",
        switch="reference",
        kind="smoke",
        profile=Profile(name="test", summary="test", load=load, objectives=(), security=chosen),
        matrix=Matrix(name="test", pairs=(Pair(payer="fsp201", payee="fsp202", weight_percent=100),)),
        dfsps=(
            Dfsp(fsp_id="fsp201", roles=("payer",), msisdn_first="17039811918"),
            Dfsp(fsp_id="fsp202", roles=("payee",), msisdn_first="17039811929", msisdn_count=20),
        ),
        seed=1,
        run_folder=folder / "run",
        faults=faults,
    )
    private = folder / "private"
    private.mkdir(mode=0o700, parents=True)
    config = HostConfig(
        plan=plan,
        private=private,
        token="-",
        child_command=(sys.executable, "-m", "pytest_mojaloop_perf.reference"),
        dfsp_processes=1,
    )
    supervisor = Supervisor(config, RunFolder.create(plan.run_folder))
    try:
        yield plan, supervisor.start(_say_nothing)
    finally:
        supervisor.stop()


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switch]:
    """A reference switch for the tests of one module, in the order in which they stand."""
    with reference_switch(tmp_path_factory.mktemp("switch")) as started:
        yield started


class StartSwitch(Protocol):
    """Start a switch of one's own: `with start_switch(faults=...) as (plan, environment)`."""

    def __call__(
        self, *, security: SecurityProfile | None = None, faults: tuple[Fault, ...] = ()
    ) -> AbstractContextManager[Switch]: ...


@pytest.fixture
def start_switch(tmp_path: Path) -> StartSwitch:
    return partial(reference_switch, tmp_path)
