"""Progress while a stage works: one live line on a terminal, sparse plain lines elsewhere."""

from __future__ import annotations

import threading
import time
import unicodedata
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from pytest_mojaloop_perf.progress import Progress, Silent
from pytest_mojaloop_perf.report.figures import clean
from pytest_mojaloop_perf.units import format_duration_s

__all__ = ["TerminalProgress", "progress_for"]

T = TypeVar("T")

_REDRAW_S = 0.1
_PLAIN_STEP = 0.1
_PLAIN_STEP_S = 10.0
_HEARTBEAT_S = 60.0
_BAR = 16


class _Stage:
    """What is known about the stage that is under way."""

    def __init__(self, name: str, began_s: float, first: float) -> None:
        self.name = name
        self.began_s = began_s
        self.first = first
        self.shown_share = 0.0
        self.shown_s = began_s


class TerminalProgress:
    """A `progress.Progress` for people.

    Args:
        write: takes text as it is and shows it at once, whatever captures standard output.
        tty: draw one line over and over (at most ten times a second); otherwise a line is printed when a
            stage begins and ends, when a tenth of it and ten seconds have passed, and as a sign of life
            every minute.
        width: columns of the terminal.
        start_line: called before the first text after a pause, to leave a line that another wrote half.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        tty: bool,
        width: int = 80,
        start_line: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._tty = tty
        self._width = max(20, width)
        self._start_line = start_line or (lambda: None)
        self._clock = clock
        self._lock = threading.Lock()
        self._stage: _Stage | None = None
        self._live = ""
        self._drawn_s = float("-inf")

    def say(self, text: str) -> None:
        """Print one line that stays, above the live one."""
        with self._lock:
            live = self._live
            self._clear()
            self._start_line()
            self._write(f"{clean(text)}\n")
            if live:
                self._draw(live)

    def advance(self, stage: str, done: float, total: float, note: str = "") -> None:
        """Show how far a stage is, with the time that it will probably still take."""
        with self._lock:
            now_s = self._clock()
            current = self._stage
            if current is None or current.name != stage or done < current.first:
                current = self._stage = _Stage(stage, now_s, done)
                self._drawn_s = float("-inf")
                is_first = True
            else:
                is_first = False
            share = min(1.0, max(0.0, done / total)) if total > 0 else 1.0
            text = self._text(stage, share, self._timing(current, done, total, now_s), note)
            if self._tty:
                self._advance_live(text, share, now_s)
            else:
                self._advance_plain(current, text, share, now_s, is_first=is_first)
            if share >= 1.0:
                self._stage = None

    def close(self) -> None:
        """Remove the live line, if one stands; harmless when repeated."""
        with self._lock:
            self._clear()
            self._stage = None

    def _timing(self, stage: _Stage, done: float, total: float, now_s: float) -> str:
        elapsed_s = now_s - stage.began_s
        if done >= total:
            return f"done in {format_duration_s(elapsed_s)}"
        if done > stage.first and elapsed_s > 0:
            return f"ETA {format_duration_s(elapsed_s * (total - done) / (done - stage.first))}"
        return "ETA unknown"

    def _text(self, stage: str, share: float, timing: str, note: str) -> str:
        full = int(share * _BAR)
        bar = f"[{'#' * full}{'.' * (_BAR - full)}] " if self._tty else ""
        return clean(f"{stage} {bar}{share * 100:.0f} % {timing}{', ' + note if note else ''}")

    def _advance_live(self, text: str, share: float, now_s: float) -> None:
        if share >= 1.0:
            self._clear()
        elif now_s - self._drawn_s >= _REDRAW_S:
            if not self._live:
                self._start_line()
            self._draw(text)
            self._drawn_s = now_s

    def _advance_plain(self, stage: _Stage, text: str, share: float, now_s: float, *, is_first: bool) -> None:
        waited_s = now_s - stage.shown_s
        due = share - stage.shown_share >= _PLAIN_STEP and waited_s >= _PLAIN_STEP_S
        if is_first or share >= 1.0 or due or waited_s >= _HEARTBEAT_S:
            stage.shown_share, stage.shown_s = share, now_s
            self._start_line()
            self._write(f"{text}\n")

    def _draw(self, text: str) -> None:
        """Overwrite the live line; one column stays free, because a full line would wrap."""
        cut = _cut(text, self._width - 1)
        self._write(f"\r\x1b[K{cut}")
        self._live = cut

    def _clear(self) -> None:
        if self._live:
            self._write("\r\x1b[K")
            self._live = ""


def progress_for(config: Any) -> Progress:
    """Return a progress that writes through pytest's terminal reporter, past its capture.

    In an xdist worker, with `-p no:terminal` and with `-qq` there is nobody to tell.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.verbose < -1 or hasattr(config, "workerinput"):
        return Silent()
    known: Progress | None = getattr(config, "_mojaloop_perf_progress", None)
    if known is None:
        known = _past_capture(config, reporter)
        config._mojaloop_perf_progress = known  # noqa: SLF001 - one live line for the whole session
    return known


def _past_capture(config: Any, reporter: Any) -> Progress:
    capture = config.pluginmanager.get_plugin("capturemanager")
    writer = reporter._tw  # noqa: SLF001 - pytest offers no other way to its file and to its column

    def outside(action: Callable[[], T]) -> T:
        if capture is None:
            return action()
        with capture.global_and_fixture_disabled():
            return action()

    def write(text: str) -> None:
        # Not through the writer: it adds up what it thinks is one line, and a live line never ends.
        writer._file.write(text)  # noqa: SLF001 - see above
        writer._file.flush()  # noqa: SLF001 - see above

    def start_line() -> None:
        reporter.ensure_newline()
        if writer.width_of_current_line:
            writer.line()

    progress = TerminalProgress(
        lambda text: outside(lambda: write(text)),
        tty=bool(getattr(reporter, "isatty", False)),
        width=outside(lambda: int(writer.fullwidth)),
        start_line=lambda: outside(start_line),
    )
    config.add_cleanup(progress.close)
    config.pluginmanager.register(_Clearing(progress))
    return progress


class _Clearing:
    """Removes a live line that a broken stage left, before pytest prints the outcome of the test."""

    def __init__(self, progress: TerminalProgress) -> None:
        self._progress = progress

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Clear the line; the report itself is the reporter's business."""
        assert report.nodeid
        self._progress.close()


def _cut(text: str, columns: int) -> str:
    """Return as much of the text as fits, wide characters counted twice and combining ones not at all."""
    used = 0
    for index, character in enumerate(text):
        wide = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        used += 0 if unicodedata.combining(character) else wide
        if used > columns:
            return text[:index]
    return text
