"""The hub's numbers as a Prometheus page, under the names that a Mojaloop deployment exports.

A registry of our own: an observation costs well under a microsecond, so that the counters do not change what
they count. Message counters carry the name of Kafka's, so that the same gate reads either switch: each counts
the messages that Mojaloop would have put on that topic.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable

import psutil

__all__ = ["TOPICS", "Histogram", "HubMetrics"]

TOPICS = (
    "topic-transfer-prepare",
    "topic-transfer-position",
    "topic-transfer-fulfil",
    "topic-transfer-get",
    "topic-notification-event",
    "topic-admin-transfer",
    "topic-quotes-post",
    "topic-quotes-put",
    "topic-quotes-get",
)
_EDGES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_MESSAGES = "kafka_server_brokertopicmetrics_messagesinpersec_count"


class Histogram:
    """Durations in seconds."""

    __slots__ = ("buckets", "total_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_EDGES_S) + 1)
        self.total_s = 0.0

    def since(self, started_s: float) -> None:
        """Record the time from `started_s` (of `time.perf_counter`) until now."""
        elapsed_s = time.perf_counter() - started_s
        self.buckets[bisect_left(_EDGES_S, elapsed_s)] += 1
        self.total_s += elapsed_s


class HubMetrics:
    """All counters and histograms of one hub."""

    def __init__(self) -> None:
        self.messages: dict[str, int] = dict.fromkeys(TOPICS, 0)
        self.errors: Counter[tuple[str, str]] = Counter()
        self.dropped = 0
        self._histograms: dict[str, dict[str, Histogram]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._process = psutil.Process()

    def histogram(self, name: str, **labels: str) -> Histogram:
        """Return the histogram of that name and labels; keep it, the search costs more than a use."""
        text = ",".join(f'{key}="{value}"' for key, value in labels.items())
        return self._histograms.setdefault(name, {}).setdefault(text, Histogram())

    def counter(self, name: str, read: Callable[[], float]) -> None:
        """Show a number that something else counts."""
        self._gauges[name] = read

    def error(self, operation: str, code: str) -> None:
        """Count an FSPIOP error that was answered or sent."""
        self.errors[operation, code] += 1

    def page(self) -> bytes:
        """Return the page in Prometheus text format 0.0.4."""
        lines = [f"# TYPE {_MESSAGES} counter"]
        lines += [f'{_MESSAGES}{{topic="{topic}"}} {count}' for topic, count in self.messages.items()]
        lines.append("# TYPE errorCount counter")
        lines += [
            f'errorCount{{operation="{operation}",code="{code}"}} {count}'
            for (operation, code), count in self.errors.items()
        ]
        for name, by_labels in self._histograms.items():
            lines.append(f"# TYPE {name} histogram")
            for labels, histogram in by_labels.items():
                lines += _histogram_lines(name, labels, histogram)
        for name, read in self._gauges.items():
            lines += [f"# TYPE {name} counter", f"{name} {read()}"]
        lines += self._process_lines()
        return ("\n".join(lines) + "\n").encode()

    def _process_lines(self) -> list[str]:
        use = os.times()
        return [
            "# TYPE process_cpu_seconds_total counter",
            f"process_cpu_seconds_total {use.user + use.system}",
            "# TYPE process_resident_memory_bytes gauge",
            f"process_resident_memory_bytes {self._process.memory_info().rss}",
        ]


def _histogram_lines(name: str, labels: str, histogram: Histogram) -> list[str]:
    lead = f"{labels}," if labels else ""
    wrapped = f"{{{labels}}}" if labels else ""
    lines = []
    running = 0
    for edge, count in zip((*_EDGES_S, "+Inf"), histogram.buckets, strict=True):
        running += count
        lines.append(f'{name}_bucket{{{lead}le="{edge}"}} {running}')
    lines += [f"{name}_sum{wrapped} {histogram.total_s}", f"{name}_count{wrapped} {running}"]
    return lines
