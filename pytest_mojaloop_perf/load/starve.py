"""The fault `starved-generator`: k6 really gets CPU only a share of the time, so that arrivals are late."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

__all__ = ["Starvation"]

_CYCLE_S = 1.0


class Starvation:
    """Stop and continue a process in a duty cycle; in every ending it is left running.

    Args:
        pid: the process.
        percent: the share of each second in which it may run.
    """

    def __init__(self, pid: int, percent: float) -> None:
        assert 0 < percent <= 100
        self._process = psutil.Process(pid)
        self._run_s = _CYCLE_S * percent / 100.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._cycle, name="starved-generator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Let the process run again, for good."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        self._resume()

    def _cycle(self) -> None:
        try:
            while not self._done.wait(self._run_s):
                self._process.suspend()
                self._done.wait(_CYCLE_S - self._run_s)
                self._process.resume()
        except psutil.NoSuchProcess:
            return

    def _resume(self) -> None:
        try:
            self._process.resume()
        except psutil.NoSuchProcess:
            return
