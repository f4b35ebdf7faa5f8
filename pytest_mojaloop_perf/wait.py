"""The one place that waits. Every wait has a bound, names what it waits for, and tells its last state."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pytest_mojaloop_perf.errors import WaitTimeoutError
from pytest_mojaloop_perf.units import format_duration_s

__all__ = ["Pending", "pause", "wait_for"]

T = TypeVar("T")


class Pending:
    """The answer of a probe that has not seen what it waits for; `state` goes into the error."""

    def __init__(self, state: str) -> None:
        self.state = state


def wait_for(
    what: str,
    probe: Callable[[], T | Pending],
    *,
    timeout_s: float,
    interval_s: float = 0.05,
    remedy: str,
    evidence: str | None = None,
) -> T:
    """Call `probe` until it returns anything but `Pending`, and return that.

    A definite failure is raised by the probe itself and ends the wait at once.

    Raises:
        WaitTimeoutError: still pending after `timeout_s` seconds.
    """
    assert timeout_s > 0
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if not isinstance(answer, Pending):
            return answer
        left = deadline - time.monotonic()
        if left <= 0:
            raise WaitTimeoutError(
                f"{what} did not come about within {format_duration_s(timeout_s)}; last seen: {answer.state}",
                remedy=remedy,
                evidence=evidence,
            )
        time.sleep(min(interval_s, left))


def pause(seconds: float) -> None:
    """Sleep for a fixed, short time; only where there is nothing to look at."""
    assert 0 <= seconds <= 5
    time.sleep(seconds)
