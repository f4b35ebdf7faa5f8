"""The pytest hooks of the suite; hooks only.

Loading this module must cost a foreign test run next to nothing: whatever is heavy is imported where it
is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mojaloop_perf import hookspec
from pytest_mojaloop_perf.fixtures.live import (
    perf_environment,
    perf_hold,
    perf_outcome,
    perf_plan,
    perf_roster,
    perf_run,
    perf_session,
)
from pytest_mojaloop_perf.options import add_options, read_options, wants_plan

if TYPE_CHECKING:
    from pytest_mojaloop_perf.fixtures.session import PerfSession

__all__ = [
    "perf_environment",
    "perf_hold",
    "perf_outcome",
    "perf_plan",
    "perf_roster",
    "perf_run",
    "perf_session",
]

_MARKERS = {
    "perf": "a benchmark under load, judged against the objectives of its profile; runs when -m asks for it",
    "smoke": "the same benchmark for one minute at a low rate; runs when -m asks for it",
    "infra": "is the place fit to measure on; runs when -m asks for it",
    "deploy": "is the switch deployed, secured and onboarded as planned; runs when -m asks for it",
}
_WORKER_INPUT = "mojaloop_perf"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--tps` and the `--perf-*` options in all their forms."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the extension points of `hookspec`."""
    pluginmanager.add_hookspecs(hookspec)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Print the plan and stop, when that is all that was asked for."""
    if not wants_plan(config):
        return None
    from pytest_mojaloop_perf.fixtures.begin import print_plan

    return print_plan(config, read_options(config))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; begin the session when `-m` asks for live tests, refusing bad input."""
    for name, meaning in _MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if not _may_be_live(config):
        return
    from pytest_mojaloop_perf.fixtures.begin import begin

    begin(config, read_options(config), joined=getattr(config, "workerinput", {}).get(_WORKER_INPUT))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the session's plans to an xdist worker."""
    session = _session(node.config)
    if session is not None:
        node.workerinput[_WORKER_INPUT] = session.to_worker()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what will be measured, where, and why there."""
    session = _session(config)
    if session is None:
        return []
    from pytest_mojaloop_perf.fixtures.ending import header

    return header(session)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each objective of the profile."""
    if "perf_objective" in metafunc.fixturenames:
        from pytest_mojaloop_perf.fixtures.begin import objective_params

        metafunc.parametrize("perf_objective", objective_params(_session(metafunc.config)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a live session's tests on one xdist worker, so that nothing disturbs the measurement."""
    if _session(config) is None or config.getoption("dist") != "load":
        return None
    from pytest_mojaloop_perf.fixtures.workers import one_worker

    return one_worker(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that use a live fixture when nobody asked for any by name; other tests are not ours.

    When live tests were asked for and are there, see that what they need is there too.
    """
    ours = [item for item in items if "perf_session" in getattr(item, "fixturenames", ())]
    session = _session(config)
    if session is not None:
        if ours and not session.is_worker:
            from pytest_mojaloop_perf.fixtures.begin import check_reach

            check_reach(session)
        return
    unasked = pytest.mark.skip(reason="a benchmark starts only when it is asked for: add -m perf or -m smoke")
    for item in ours:
        item.add_marker(unasked)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Give INVALID and broken runs an exit status of their own, and JUnit the figures.

    A wrapper: the status is known only when the last fixture is torn down, which may be as late as here.
    """
    ours = _session(session.config)
    if ours is None or ours.is_worker:
        return (yield)
    from pytest_mojaloop_perf.fixtures.ending import finish

    finish(ours, session.config)
    try:
        return (yield)
    finally:
        session.exitstatus = ours.exit_status(int(exitstatus))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the verdict with its figures, and where the reports are."""
    session = _session(config)
    if session is not None and not session.is_worker:
        from pytest_mojaloop_perf.fixtures.ending import print_summary

        print_summary(session, terminalreporter)


def _session(config: pytest.Config) -> PerfSession | None:
    if not _may_be_live(config):
        return None
    from pytest_mojaloop_perf.fixtures.session import SESSION

    return config.stash.get(SESSION, None)


def _may_be_live(config: pytest.Config) -> bool:
    """Say, without importing anything, whether `-m` could ask for live tests."""
    return any(name in str(config.option.markexpr) for name in _MARKERS)
