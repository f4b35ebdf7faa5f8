from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pytest_mojaloop_perf.model import Fault
from pytest_mojaloop_perf.progress import Silent
from pytest_mojaloop_perf.report import html
from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.report.live import TerminalProgress, progress_for
from pytest_mojaloop_perf.report.terminal import header_lines, summary_lines

Make = Callable[..., RunBundle]


def test_the_header_is_one_line_with_everything_that_was_decided(make_bundle: Make) -> None:
    plan = make_bundle().plan
    (line,) = header_lines(plan)
    for word in ("target embedded (docker, kind", "switch reference", "50 TPS for 1m00s", "profile embedded"):
        assert word in line
    assert "mTLS, JWS RS256, ILP v1; k6 " in line


def test_faults_are_announced(make_bundle: Make) -> None:
    faults = (Fault(name="slow-leg", parameter="transfer:600"), Fault(name="no-jws-check"))
    lines = header_lines(msgspec.structs.replace(make_bundle().plan, faults=faults))
    assert lines[1].endswith("FAULTS switched on: slow-leg=transfer:600, no-jws-check")


@pytest.mark.parametrize("outcome", ["PASS", "FAIL", "INVALID"])
def test_the_summary_reads_well_at_80_columns(make_bundle: Make, outcome: str) -> None:
    bundle = make_bundle(outcome, tps=1000, duration_s=1620)
    lines = summary_lines(bundle, 80)
    for line in lines:
        assert len(line) <= 80 or str(bundle.run_folder) in line, line
    assert lines[0].startswith(f"{outcome}  ")
    head = next(line for line in lines if "objective" in line and "wanted" in line)
    assert head.split() == ["objective", "wanted", "measured", "95", "%", "interval", "verdict"]
    rows = lines[lines.index(head) + 1 :]
    at = head.index("verdict")
    assert rows[0][at:] in ("met", "missed", "not judged")


def test_the_summary_names_what_went_wrong(make_bundle: Make) -> None:
    text = "\n".join(summary_lines(make_bundle("FAIL"), 80))
    assert "what ran out: the hub's CPU" in text
    assert "slowest pair: fsp207 -> fsp208, p50 " in text
    assert "failures: transfer:4001 61 (" in text
    assert "money: NOT conserved: booked-once 2" in text
    assert "MOVED MONEY" in text
    assert "not of Mojaloop" in text


def test_an_invalid_run_shows_the_gates_that_failed_and_no_others(make_bundle: Make) -> None:
    text = "\n".join(summary_lines(make_bundle("INVALID"), 80))
    assert "gate arrivals delivered\n    wanted >= 99 %, observed 93.7 %" in text
    assert "gate no record lost" not in text


def test_only_five_failure_classes_are_shown(make_bundle: Make) -> None:
    bundle = make_bundle()
    assert bundle.measurement
    failures = tuple((f"transfer:{4000 + index}", 9 - index) for index in range(8))
    measurement = msgspec.structs.replace(bundle.measurement, failures=failures)
    text = " ".join(summary_lines(msgspec.structs.replace(bundle, measurement=measurement), 80))
    assert "transfer:4004" in text
    assert "transfer:4005" not in text
    assert "3 more classes 9" in " ".join(text.split())


def test_the_summary_of_a_broken_run_says_why(make_bundle: Make) -> None:
    whole = make_bundle()
    bundle = RunBundle(plan=whole.plan, run_folder=whole.run_folder, broke="the hub did not start.")
    lines = summary_lines(bundle, 80)
    assert lines[0].startswith("NO VERDICT  The run broke before it could be judged: the hub did not")
    assert any("money: not reconciled" in line for line in lines)


def test_colour_changes_nothing_but_colour(make_bundle: Make) -> None:
    bundle = make_bundle("FAIL")
    plain, painted = summary_lines(bundle, 80), summary_lines(bundle, 80, color=True)
    assert "\x1b[31;1mFAIL\x1b[0m" in painted[0]
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in painted] == plain
    assert not any("\x1b" in line for line in plain)


def test_the_report_is_named_once_it_is_there(make_bundle: Make) -> None:
    bundle = make_bundle()
    assert not any(line.startswith("  report:") for line in summary_lines(bundle))
    html.write(bundle)
    assert f"  report: {bundle.run_folder / 'report.html'}" in summary_lines(bundle)


def test_a_hostile_sentence_cannot_steer_the_terminal(make_bundle: Make) -> None:
    bundle = make_bundle()
    assert bundle.verdict
    verdict = msgspec.structs.replace(bundle.verdict, sentence="all \x1b[2J is\r\nwell\x07")
    assert "\x1b" not in "".join(summary_lines(msgspec.structs.replace(bundle, verdict=verdict)))


class Terminal:
    """Takes what is written and keeps the time by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.written: list[str] = []
        self.begun = 0

    def progress(self, *, tty: bool, width: int = 80) -> TerminalProgress:
        return TerminalProgress(
            self.written.append, tty=tty, width=width, start_line=self._begin, clock=lambda: self.now_s
        )

    def _begin(self) -> None:
        self.begun += 1


def test_the_live_line_is_redrawn_at_most_ten_times_a_second() -> None:
    terminal = Terminal()
    progress = terminal.progress(tty=True)
    for tick in range(1000):
        terminal.now_s = tick / 1000
        progress.advance("load", tick, 2000)
    assert 9 <= len(terminal.written) <= 11
    assert terminal.begun == 1
    assert all(text.startswith("\r\x1b[K") and "\n" not in text for text in terminal.written)
    assert "ETA 1s" in terminal.written[-1]


def test_the_live_line_fits_and_is_cleared_at_the_end() -> None:
    terminal = Terminal()
    progress = terminal.progress(tty=True, width=30)
    progress.advance("provision", 1, 10, "the \u6f22\u5b57 of a very long note \x1b[31m that goes on")
    (drawn,) = terminal.written
    shown = drawn.removeprefix("\r\x1b[K")
    assert len(shown) <= 29
    assert "\x1b" not in shown
    progress.advance("provision", 10, 10)
    assert terminal.written[-1] == "\r\x1b[K"
    count = len(terminal.written)
    progress.close()
    progress.close()
    assert len(terminal.written) == count


def test_wide_characters_count_twice() -> None:
    terminal = Terminal()
    terminal.progress(tty=True, width=21).advance("\u6f22" * 30, 1, 10)
    assert terminal.written[0] == "\r\x1b[K" + "\u6f22" * 10


def test_a_line_that_stays_goes_above_the_live_one() -> None:
    terminal = Terminal()
    progress = terminal.progress(tty=True)
    progress.advance("load", 1, 10)
    live = terminal.written[-1]
    progress.say("the hub listens")
    assert terminal.written[1:] == ["\r\x1b[K", "the hub listens\n", live]


def test_plain_lines_are_few() -> None:
    terminal = Terminal()
    progress = terminal.progress(tty=False)
    for tick in range(601):
        terminal.now_s = tick / 10
        progress.advance("load", tick, 600, f"{tick} sent")
    assert all(text.endswith("\n") and "\x1b" not in text and "\r" not in text for text in terminal.written)
    assert len(terminal.written) <= 7
    assert terminal.written[0] == "load 0 % ETA unknown, 0 sent\n"
    assert terminal.written[-1] == "load 100 % done in 1m00s, 600 sent\n"


def test_a_slow_stage_shows_a_sign_of_life_every_minute() -> None:
    terminal = Terminal()
    progress = terminal.progress(tty=False)
    for second in range(301):
        terminal.now_s = float(second)
        progress.advance("load", second, 36_000)
    assert len(terminal.written) == 6


def test_a_stage_may_come_again() -> None:
    terminal = Terminal()
    progress = terminal.progress(tty=False)
    for done in (0, 1, 0, 1):
        progress.advance("probe", done, 1)
    assert len(terminal.written) == 4


class _Config:
    """As much of pytest's configuration as `progress_for` looks at."""

    def __init__(self, plugins: dict[str, Any], verbose: int = 0) -> None:
        self.pluginmanager = self
        self.option = self
        self.verbose = verbose
        self._plugins = plugins
        self.cleanups: list[Callable[[], None]] = []

    def get_plugin(self, name: str) -> Any:
        return self._plugins.get(name)

    def add_cleanup(self, cleanup: Callable[[], None]) -> None:
        self.cleanups.append(cleanup)


def test_without_a_terminal_there_is_silence() -> None:
    assert isinstance(progress_for(_Config({})), Silent)


def test_progress_goes_past_pytests_capture(pytestconfig: pytest.Config) -> None:
    progress = progress_for(pytestconfig)
    if hasattr(pytestconfig, "workerinput"):
        assert isinstance(progress, Silent)
    else:
        assert isinstance(progress, TerminalProgress)
        assert progress is progress_for(pytestconfig)
