"""What it means: gates, objectives met or missed, and the verdict."""

from __future__ import annotations

from typing import Literal

from pytest_mojaloop_perf.model.core import Value
from pytest_mojaloop_perf.model.happened import Interval
from pytest_mojaloop_perf.model.wanted import Objective

__all__ = ["Gate", "ObjectiveResult", "Verdict"]


class Gate(Value, frozen=True, kw_only=True):
    """A condition under which the run may be judged at all. `ok=False` makes the run INVALID."""

    name: str
    wanted: str
    observed: str
    ok: bool
    explanation: str = ""


class ObjectiveResult(Value, frozen=True, kw_only=True):
    """An objective and what was measured; `measured` is None when too few samples forbid a figure."""

    objective: Objective
    measured: float | None
    met: bool
    interval: Interval | None = None
    explanation: str = ""


class Verdict(Value, frozen=True, kw_only=True):
    """PASS, FAIL or INVALID, and why, in one sentence."""

    outcome: Literal["PASS", "FAIL", "INVALID"]
    sentence: str
    gates: tuple[Gate, ...]
    objectives: tuple[ObjectiveResult, ...]
    bottleneck: str = ""
