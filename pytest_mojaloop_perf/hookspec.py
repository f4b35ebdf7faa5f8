"""Extension points. Implement any of them in a `conftest.py` or a plugin of your own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_mojaloop_perf.model import Gate, LoadRun, Measurement, Plan

__all__ = [
    "pytest_mojaloop_perf_attachments",
    "pytest_mojaloop_perf_gates",
    "pytest_mojaloop_perf_plan",
]


@pytest.hookspec(firstresult=True)
def pytest_mojaloop_perf_plan(plan: Plan, config: pytest.Config) -> Plan | None:
    """Return a changed plan, or None to leave it; called once per plan before anything is started.

    The first implementation that returns a plan decides; its profile and matrix are checked
    like those of any other plan.

    Example, a longer drain for a slow link::

        import msgspec

        def pytest_mojaloop_perf_plan(plan):
            load = msgspec.structs.replace(plan.profile.load, drain_s=120)
            return msgspec.structs.replace(plan, profile=msgspec.structs.replace(plan.profile, load=load))
    """


@pytest.hookspec
def pytest_mojaloop_perf_gates(plan: Plan, load: LoadRun, measurement: Measurement) -> Iterable[Gate] | None:
    """Return further conditions under which the run may be judged; one that is not ok makes it INVALID.

    Example, at least a million transactions::

        from pytest_mojaloop_perf.model import Gate

        def pytest_mojaloop_perf_gates(measurement):
            enough = measurement.committed >= 1_000_000
            seen = str(measurement.committed)
            return [Gate(name="a million", wanted=">= 1,000,000", observed=seen, ok=enough)]
    """


@pytest.hookspec
def pytest_mojaloop_perf_attachments(plan: Plan, folder: Path) -> Iterable[tuple[str, Path]] | None:
    """Return (title, file) pairs to attach to the Allure report, after the verdict, whatever it is.

    Example, the hub's log::

        def pytest_mojaloop_perf_attachments(folder):
            return [("hub log", folder / "logs" / "hub.log")]
    """
