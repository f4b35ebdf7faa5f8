"""The pytest hooks of the suite; hooks only.

Loading this module must cost a foreign test run next to nothing: whatever is heavy is imported where it
is used.
"""

from __future__ import annotations

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
from pytest_mojaloop_perf.options import add_options, read_options

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
    options = read_options(config)
    if not options.plan_only:
        return None
    from pytest_mojaloop_perf.fixtures.begin import print_plan

    return print_plan(config, options)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; begin the session when `-m` asks for live tests, refusing bad input."""
    for name, meaning in _MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    options = read_options(config)
    if not any(name in options.markexpr for name in _MARKERS):
        return
    from pytest_mojaloop_perf.fixtures.begin import begin

    begin(config, options, joined=getattr(config, "workerinput", {}).get(_WORKER_INPUT))


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
    """Skip live tests that nobody asked for by name."""
    if _session(config) is not None:
        return
    unasked = pytest.mark.skip(reason="a benchmark starts only when it is asked for: add -m perf or -m smoke")
    for item in items:
        if any(item.get_closest_marker(name) is not None for name in _MARKERS):
            item.add_marker(unasked)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Give INVALID and broken runs an exit status of their own, and JUnit the figures."""
    ours = _session(session.config)
    if ours is not None and not ours.is_worker:
        from pytest_mojaloop_perf.fixtures.ending import finish

        finish(ours, session.config)
        session.exitstatus = ours.exit_status(int(exitstatus))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the verdict with its figures, and where the reports are."""
    session = _session(config)
    if session is not None and not session.is_worker:
        from pytest_mojaloop_perf.fixtures.ending import print_summary

        print_summary(session, terminalreporter)


def _session(config: pytest.Config) -> PerfSession | None:
    if not any(name in str(config.option.markexpr) for name in _MARKERS):
        return None
    from pytest_mojaloop_perf.fixtures.session import SESSION

    return config.stash.get(SESSION, None)
