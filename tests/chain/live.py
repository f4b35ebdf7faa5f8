"""Run the live suite in a pytest of its own, and read how each of its tests ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
SHORT = (
    "--tps=40",
    "--perf-duration=16s",
    "--perf-warmup=3s",
    "--perf-cooldown=1s",
    "--perf-request-timeout=4s",
)
"""A run that is just long enough to be judged."""
DISTURBED = {"foreign-cpu", "steal", "start-lateness"}
"""Gates that fail when somebody else uses this machine: then, and only then, a session is tried again."""
TRIES = 3


class Ended:
    """How a session ended: exit status, output, tests by outcome, and the run folder."""

    def __init__(self, *, status: int, output: str, junit: Path, runs: Path) -> None:
        self.status = status
        self.output = output
        self.failed: set[str] = set()
        self.errors: set[str] = set()
        self.passed: set[str] = set()
        if junit.exists():
            for case in ET.parse(junit).iter("testcase"):  # noqa: S314 - our own file
                self._sort(case)
        folders = sorted(path for path in runs.iterdir() if path.is_dir()) if runs.exists() else []
        self.run = folders[-1] if folders else runs

    def _sort(self, case: ET.Element) -> None:
        name = case.get("name", "")
        if case.find("failure") is not None:
            self.failed.add(name)
        elif case.find("error") is not None:
            self.errors.add(name)
        elif case.find("skipped") is None:
            self.passed.add(name)

    def was_disturbed(self) -> bool:
        """Say whether the run is INVALID because of other programs on this machine, and of nothing else."""
        value = self._verdict()
        if value is None or value["outcome"] != "INVALID":
            return False
        return {gate["name"] for gate in value["gates"] if not gate["ok"]} <= DISTURBED

    def verdict(self) -> str | None:
        """Return the stored outcome, or None when there is no verdict."""
        value = self._verdict()
        return None if value is None else str(value["outcome"])

    def sentence(self) -> str:
        """Return the sentence of the stored verdict, empty when there is none."""
        value = self._verdict()
        return "" if value is None else str(value["sentence"])

    def _verdict(self) -> dict[str, Any] | None:
        path = self.run / "verdict.json"
        if not path.exists():
            return None
        value: dict[str, Any] = json.loads(path.read_text())["value"]
        return value


def command(tmp_path: Path, *words: str, marker: str = "perf", suite: str = "tests/perf") -> list[str]:
    """Return the command line of a live session that leaves everything under `tmp_path`."""
    return [
        sys.executable,
        "-m",
        "pytest",
        str(ROOT / suite),
        "-m",
        marker,
        "-c",
        str(ROOT / "pyproject.toml"),
        "-p",
        "no:cacheprovider",
        "--perf-target=embedded",
        f"--perf-output={tmp_path / 'runs'}",
        f"--junitxml={tmp_path / 'junit.xml'}",
        "--perf-allure=never",
        *words,
    ]


def signals_as_by_default() -> None:
    """Undo, in a child about to start, what a shell's background job may have set: an ignored SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def environment() -> dict[str, str]:
    """Return our environment without what a surrounding pytest put there."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MOJALOOP_"))
    }


def run_live(tmp_path: Path, *words: str, marker: str = "perf", suite: str = "tests/perf") -> Ended:
    """Run a live session to its end, again when other programs on this machine disturbed it."""
    for _ in range(TRIES):
        done = subprocess.run(
            command(tmp_path, *words, marker=marker, suite=suite),
            capture_output=True,
            text=True,
            timeout=400,
            env=environment(),
            cwd=tmp_path,
            check=False,
        )
        ended = Ended(
            status=done.returncode,
            output=done.stdout + done.stderr,
            junit=tmp_path / "junit.xml",
            runs=tmp_path / "runs",
        )
        if not ended.was_disturbed():
            break
    return ended


def processes_of(runs: Path) -> list[psutil.Process]:
    """Return every living process of the sessions whose runs are in that folder, and nobody else's.

    Those whose command line names the folder (pytest, k6 and its guard), and those that an environment lists.
    """
    listed = {pid for pids in environment_pids(runs).values() for pid in pids}
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid in listed or any(str(runs) in word for word in words):
            found.append(process)
    return found


def environment_pids(runs: Path) -> dict[str, list[int]]:
    """Return the process ids that the environments under a folder list, by role: hub, dfsp, host."""
    pids: dict[str, list[int]] = {"hub": [], "dfsp": [], "host": []}
    for path in runs.glob("*/environment.json"):
        for process in json.loads(path.read_text())["value"]["processes"]:
            pids[process["role"]].append(process["pid"])
    return pids


def gone_within(runs: Path, seconds: float, *, but: Sequence[int] = ()) -> list[str]:
    """Return the command lines that are still there after that time; empty as soon as all are gone."""
    deadline = time.monotonic() + seconds
    while True:
        left = [process for process in processes_of(runs) if process.pid not in but]
        if not left or time.monotonic() > deadline:
            return [f"{process.pid} {process.name()}" for process in left if process.is_running()]
        time.sleep(0.1)
