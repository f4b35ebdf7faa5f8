"""What k6's exit status and its machine-readable summary say, for k6 1.x and 2.x."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

from pytest_mojaloop_perf.model import Value

__all__ = ["Ended", "SummaryCounts", "classify_exit", "read_status_line", "read_summary"]

Ended = Literal["ok", "threshold", "script-error", "setup-failed", "aborted", "killed", "failed"]

# k6's documented exit codes; a status that is not here is `failed`.
_EXITS: dict[int, tuple[Ended, str]] = {
    0: ("ok", ""),
    97: ("failed", "k6 says that a cloud run failed"),
    98: ("failed", "k6 lost sight of a cloud run"),
    99: ("threshold", "a k6 threshold was crossed"),
    100: ("setup-failed", "the script's setup timed out"),
    101: ("failed", "the script's teardown timed out"),
    102: ("failed", "k6 ran into a time limit of its own"),
    103: ("aborted", "k6 was stopped through its REST API"),
    104: ("setup-failed", "k6 refused its configuration"),
    105: ("aborted", "k6 was told to stop by a signal"),
    106: ("setup-failed", "k6 could not open its REST API's port"),
    107: ("script-error", "the k6 script threw an exception"),
    108: ("aborted", "the k6 script aborted the run"),
    109: ("failed", "k6 crashed"),
    110: ("failed", "the script marked the run as failed"),
}
_SIGNALLED = 128
_STATUS_LINE = re.compile(r"(\d+) complete and (\d+) interrupted iterations")


class SummaryCounts(Value, frozen=True, kw_only=True):
    """Counts of k6's own end-of-test summary."""

    iterations: int
    dropped: int
    vus_peak: int
    vus_max: int


def classify_exit(status: int) -> tuple[Ended, str]:
    """Return how k6 ended and a sentence about it.

    A negative status, or one of 128 and more (the guard's way of saying it), is a signal.
    """
    if status < 0 or status > _SIGNALLED:
        number = -status if status < 0 else status - _SIGNALLED
        return "killed", f"k6 was killed by signal {number}"
    return _EXITS.get(status, ("failed", f"k6 ended with status {status}"))


def read_summary(path: Path) -> SummaryCounts | None:
    """Return the counts, or None when k6 left no whole summary (it was killed, or never started).

    k6 1.x gives `{"metrics": {name: {"values": {...}}}}`; with `--new-machine-readable-summary` 1.x, and
    2.x where it does so by default, gives `{"results": {"metrics": [{"name": ..., "values": {...}}]}}`.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    values = _metric_values(document)
    if values is None:
        return None
    return SummaryCounts(
        iterations=int(values.get("iterations", {}).get("count", 0)),
        dropped=int(values.get("dropped_iterations", {}).get("count", 0)),
        vus_peak=int(values.get("vus", {}).get("max", 0)),
        vus_max=int(values.get("vus_max", {}).get("max", 0)),
    )


def read_status_line(log: Path) -> tuple[int, int] | None:
    """Return the last (complete, interrupted) counts that k6 printed, or None when it printed none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return None
    found = _STATUS_LINE.findall(text)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def _metric_values(document: Any) -> dict[str, dict[str, Any]] | None:
    if not isinstance(document, dict):
        return None
    old = document.get("metrics")
    if isinstance(old, dict):
        return {name: metric.get("values", {}) for name, metric in old.items()}
    results = document.get("results")
    new = results.get("metrics") if isinstance(results, dict) else None
    if isinstance(new, list):
        return {metric["name"]: metric.get("values", {}) for metric in new}
    return None
