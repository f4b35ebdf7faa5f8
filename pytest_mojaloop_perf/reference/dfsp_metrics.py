"""A DFSP's counters as a Prometheus page."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

__all__ = ["DfspMetrics"]

_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class DfspMetrics:
    """Counts synchronous calls and messages, and how long callbacks take to come."""

    def __init__(self, fsp_id: str) -> None:
        self._fsp_id = fsp_id
        self._calls: Counter[tuple[str, str]] = Counter()
        self._messages: Counter[tuple[str, str, str]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._sums: Counter[str] = Counter()

    def called(self, call: str, outcome: str) -> None:
        """Count one synchronous call; `outcome` is ok, error-callback, timeout, refused or bad-request."""
        self._calls[call, outcome] += 1

    def waited(self, call: str, seconds: float) -> None:
        """Note the time from sending a request to its callback."""
        buckets = self._buckets.setdefault(call, [0] * (len(_BOUNDS_S) + 1))
        buckets[bisect_left(_BOUNDS_S, seconds)] += 1
        # In whole microseconds: a sum of many floats would drift.
        self._sums[call] += round(seconds * 1e6)

    def message(self, direction: str, method: str, resource: str) -> None:
        """Count an FSPIOP message; `direction` is in, out, refused or failed."""
        self._messages[direction, method, resource] += 1

    def page(self, *, waiting: int, quotes: int, transfers: int) -> bytes:
        """Return the page; the arguments are gauges."""
        own = f'fsp="{self._fsp_id}"'
        lines = ["# TYPE dfsp_calls_total counter"]
        for (call, outcome), count in sorted(self._calls.items()):
            lines.append(f'dfsp_calls_total{{{own},call="{call}",outcome="{outcome}"}} {count}')
        lines.append("# TYPE dfsp_messages_total counter")
        for (direction, method, resource), count in sorted(self._messages.items()):
            labels = f'{own},direction="{direction}",method="{method}",resource="{resource}"'
            lines.append(f"dfsp_messages_total{{{labels}}} {count}")
        lines.append("# TYPE dfsp_callback_seconds histogram")
        for call, buckets in sorted(self._buckets.items()):
            lines += self._histogram(f'{own},call="{call}"', call, buckets)
        for name, value in (("waiting_calls", waiting), ("quotes", quotes), ("transfers", transfers)):
            lines += [f"# TYPE dfsp_{name} gauge", f"dfsp_{name}{{{own}}} {value}"]
        return ("\n".join(lines) + "\n").encode()

    def _histogram(self, labels: str, call: str, buckets: list[int]) -> list[str]:
        lines = []
        total = 0
        for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), buckets, strict=True):
            total += count
            lines.append(f'dfsp_callback_seconds_bucket{{{labels},le="{bound}"}} {total}')
        lines.append(f"dfsp_callback_seconds_sum{{{labels}}} {self._sums[call] / 1e6:.6f}")
        lines.append(f"dfsp_callback_seconds_count{{{labels}}} {total}")
        return lines
