"""What can be seen of a running k6: its own pid, the records so far, and how many arrivals it dropped."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path

import psutil

from pytest_mojaloop_perf.load.records import DropCount

__all__ = ["DropWatch", "RecordTail", "program_pid"]

_API_TIMEOUT_S = 0.15
_EVERY_S = 0.5


def program_pid(guard_pid: int) -> int | None:
    """Return the pid of the program that a guard runs, or None while there is none."""
    try:
        guard = psutil.Process(guard_pid)
        own = guard.exe()
        # Between fork and exec the child still is the guard's own interpreter.
        return next((child.pid for child in guard.children() if child.exe() != own), None)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


class RecordTail:
    """Count the record lines of a growing file, reading each byte once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.lines = 0
        self.began_ms: float | None = None

    def read(self) -> int:
        """Return how many whole lines there are by now."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                fresh = file.read()
        except OSError:
            return self.lines
        if self.began_ms is None:
            fields = fresh.split(b"\n", 1)[0].split(b",", 2)
            if b"\n" in fresh and len(fields) == 3 and fields[1].isdigit():
                self.began_ms = float(fields[1])
        self._offset += len(fresh)
        self.lines += fresh.count(b"\n")
        return self.lines


class DropWatch:
    """Ask k6 now and then how many arrivals it has dropped; it keeps no other trace of when it did."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._next_s = 0.0
        self.counts: list[DropCount] = []

    def poll(self) -> None:
        """Ask, if it is time to; no answer is no news."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _EVERY_S
        dropped = self._ask()
        at_ms = time.time() * 1000.0
        if dropped and dropped != (self.counts[-1].dropped if self.counts else 0):
            self.counts.append(DropCount(at_ms=at_ms, dropped=dropped))

    @property
    def dropped(self) -> int:
        """The last known number of dropped arrivals."""
        return self.counts[-1].dropped if self.counts else 0

    def _ask(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_API_TIMEOUT_S)
        try:
            connection.request("GET", "/v1/metrics/dropped_iterations")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != http.HTTPStatus.OK:
                return 0
            return int(json.loads(body)["data"]["attributes"]["sample"]["count"])
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            return 0
        finally:
            connection.close()
