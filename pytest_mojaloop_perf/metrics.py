"""The names of what an objective may be about: `tps`, `success_percent`, `e2e_p95_ms` and the like."""

from __future__ import annotations

import math
from typing import Literal

from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.model import LEGS, Objective, Value

__all__ = [
    "LATENCY_OF",
    "STATS",
    "Metric",
    "check_objective",
    "describe_metric",
    "parse_metric",
    "samples_needed",
]

LATENCY_OF: tuple[str, ...] = ("e2e", "service", *LEGS)
STATS: tuple[str, ...] = ("p50", "p90", "p95", "p99", "max")
_COUNTED: dict[str, tuple[str, str]] = {
    "tps": ("completed TPS", ""),
    "success_percent": ("success", " %"),
    "unanswered_percent": ("unanswered", " %"),
    "money_defects": ("money defects", ""),
    "security_breaches": ("security breaches", ""),
}
_SAMPLES_BEYOND = 10
_SAMPLES_NEEDED = {"p50": 20, "max": 1}
_HIGHER_IS_BETTER = ("tps", "success_percent")


class Metric(Value, frozen=True, kw_only=True):
    """A parsed metric name; `what` and `stat` are empty unless it is a latency."""

    name: str
    kind: Literal["counted", "latency"]
    what: str = ""
    stat: str = ""
    label: str
    unit: str


def parse_metric(name: str) -> Metric:
    """Return what a metric name means.

    Raises:
        BadInputError: no such metric; the remedy lists those that there are.
    """
    if name in _COUNTED:
        label, unit = _COUNTED[name]
        return Metric(name=name, kind="counted", label=label, unit=unit)
    what, _, rest = name.partition("_")
    stat = rest.removesuffix("_ms")
    if what in LATENCY_OF and stat in STATS and rest.endswith("_ms"):
        label = "end-to-end" if what == "e2e" else what
        return Metric(name=name, kind="latency", what=what, stat=stat, label=f"{label} {stat}", unit=" ms")
    raise BadInputError(
        f"there is no metric named {name!r}",
        remedy=f"use {', '.join(_COUNTED)}, or one of {', '.join(LATENCY_OF)} with one of {', '.join(STATS)} "
        "like e2e_p95_ms",
    )


def describe_metric(name: str) -> str:
    """Return the metric as a person says it, for example `end-to-end p95`."""
    return parse_metric(name).label


def samples_needed(stat: str) -> int:
    """Return the fewest samples that support a statistic: ten beyond the percentile, so 1,000 for p99.

    With fewer, a percentile is decided by a handful of values and is refused rather than printed.
    """
    if stat in _SAMPLES_NEEDED:
        return _SAMPLES_NEEDED[stat]
    beyond_percent = 100 - int(stat.removeprefix("p"))
    return -(-_SAMPLES_BEYOND * 100 // beyond_percent)


def check_objective(objective: Objective) -> None:
    """Check that an objective names a metric, has a limit that can be met, and looks the right way.

    Raises:
        BadInputError: it does not.
    """
    metric = parse_metric(objective.metric)
    if not math.isfinite(objective.limit) or objective.limit < 0:
        raise BadInputError(
            f"the limit of {metric.name} is {objective.limit}, expected a finite number that is not negative",
            remedy=f"give {metric.name} another limit",
        )
    if metric.unit == " %" and objective.limit > 100:
        raise BadInputError(
            f"the limit of {metric.name} is {objective.limit}, expected at most 100",
            remedy=f"give {metric.name} a limit in percent",
        )
    if metric.name in ("money_defects", "security_breaches") and objective.limit != 0:
        raise BadInputError(
            f"the limit of {metric.name} is {objective.limit:g}, expected 0: none is ever allowed",
            remedy=f"leave {metric.name} out of the profile; it is judged in every run",
        )
    wants_high = objective.op in (">=", ">")
    if wants_high != (metric.name in _HIGHER_IS_BETTER):
        raise BadInputError(
            f"the objective {metric.name} {objective.op} {objective.limit:g} looks the wrong way",
            remedy="use >= or > for tps and success_percent, <= or < for everything else",
        )
