"""The only door to processes: `run` for a command that ends, `start` for one that goes on.

Nothing here uses a shell. A process from `start` gets a group and ends with us; with `guarded=True`
a small guard process stands between (`pytest_mojaloop_perf.guard`), which ends it even when we are killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pytest_mojaloop_perf.errors import CommandError, MissingToolError
from pytest_mojaloop_perf.model import Value

__all__ = ["Completed", "Process", "run", "start", "which"]

_EXCERPT = 2000


class Completed(Value, frozen=True, kw_only=True):
    """How a command ended. `stdout` and `stderr` are text, undecodable bytes replaced."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    took_s: float


def which(name: str, *, remedy: str) -> Path:
    """Return the path of a program on PATH.

    Raises:
        MissingToolError: not there; `remedy` says how to get it.
    """
    found = shutil.which(name)
    if found is None:
        raise MissingToolError(f"{name} is not on PATH, expected it to be installed", remedy=remedy)
    return Path(found)


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    remedy: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    check: bool = True,
) -> Completed:
    """Run a command to its end and return how it ended; `env` is added to our environment.

    Raises:
        CommandError: it could not be started, ran longer than `timeout_s` (it is killed), or, with
            `check`, ended with another status than 0.
    """
    words = tuple(str(word) for word in argv)
    began = time.monotonic()
    try:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(
            f"{' '.join(words[:3])} ran longer than {timeout_s:g}s and was killed", remedy=remedy
        ) from error
    except OSError as error:
        raise CommandError(f"{words[0]} could not be started: {error.strerror}", remedy=remedy) from error
    completed = Completed(
        argv=words,
        returncode=done.returncode,
        stdout=done.stdout,
        stderr=done.stderr,
        took_s=time.monotonic() - began,
    )
    if check and completed.returncode != 0:
        tail = (completed.stderr.strip() or completed.stdout.strip())[-_EXCERPT:]
        raise CommandError(
            f"{' '.join(words[:3])} ended with status {completed.returncode}", remedy=remedy, evidence=tail
        )
    return completed


class Process:
    """A process that goes on beside us, in a group of its own."""

    def __init__(self, popen: subprocess.Popen[bytes], *, name: str, log: Path) -> None:
        self._popen = popen
        self.name = name
        self.log = log

    @property
    def pid(self) -> int:
        """The process id (of the guard, when guarded)."""
        return self._popen.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs. A negative status is a signal."""
        return self._popen.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit status, or None when it still runs after `timeout_s`."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; nothing when it has ended."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)

    def stop(self, *, grace_s: float = 3.0) -> int:
        """End the process and its group: SIGTERM, then after `grace_s` SIGKILL. Return its exit status."""
        if self._popen.poll() is None:
            self._popen.terminate()
            if self.wait(grace_s) is None:
                _signal_group(self._popen.pid, signal.SIGKILL)
        status = self._popen.wait()
        _signal_group(self._popen.pid, signal.SIGKILL)
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        return status

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    argv: Sequence[str | Path],
    *,
    name: str,
    log: Path,
    remedy: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    drop_env: Collection[str] = (),
    guarded: bool = False,
) -> Process:
    """Start a process whose output goes to `log` (appended); it holds our end of a pipe as its stdin.

    The pipe closes when we end in whatever way, so a child of ours can notice; a foreign program is started
    with `guarded=True`, and the guard notices for it. Variables named in `drop_env` are not inherited.

    Raises:
        CommandError: it could not be started.
    """
    words = [str(word) for word in argv]
    if guarded:
        words = [sys.executable, "-m", "pytest_mojaloop_perf.guard", *words]
    log.parent.mkdir(parents=True, exist_ok=True)
    sink: IO[bytes]
    with log.open("ab") as sink:
        try:
            popen = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**{k: v for k, v in os.environ.items() if k not in drop_env}, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(f"{words[0]} could not be started: {error.strerror}", remedy=remedy) from error
    return Process(popen, name=name, log=log)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return
