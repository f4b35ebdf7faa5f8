"""Talk to the host of an embedded environment: attach, keep, stop, and list what is kept."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from pytest_mojaloop_perf.errors import BadInputError, InfrastructureError, WaitTimeoutError
from pytest_mojaloop_perf.infra.control_line import ControlLine, HostEndingError, connect
from pytest_mojaloop_perf.infra.host_state import (
    HostState,
    all_states,
    forget,
    host_lives,
    read_state,
    sweep_stale,
)
from pytest_mojaloop_perf.model import Environment
from pytest_mojaloop_perf.progress import Progress
from pytest_mojaloop_perf.wait import Pending, wait_for

__all__ = [
    "HostAttachment",
    "find_kept",
    "kept_environments",
    "living_environments",
    "release_session",
    "stop_kept",
]

_ANSWER_S = 10.0
_END_S = 15.0
_EMPTY: dict[str, Any] = {}


class HostAttachment:
    """A hold on a running host. Safe to use from several threads."""

    def __init__(self, state: HostState, line: ControlLine, environment: Environment) -> None:
        self.state = state
        self._line = line
        self._environment = environment
        self._failure: InfrastructureError | None = None
        self._closed = False
        self._lock = threading.RLock()

    @property
    def environment(self) -> Environment:
        """What there is."""
        return self._environment

    @classmethod
    def attach(cls, state: HostState, progress: Progress, *, timeout_s: float) -> HostAttachment:
        """Attach to a host and return when its environment is ready.

        Raises:
            HostEndingError: the host is ending, or gone.
            InfrastructureError: the environment could not be made.
        """
        line = connect(state)
        return cls.ready(state, line, progress, timeout_s=timeout_s)

    @classmethod
    def ready(
        cls, state: HostState, line: ControlLine, progress: Progress, *, timeout_s: float
    ) -> HostAttachment:
        """Return an attachment as soon as the host says what its environment is."""
        try:
            environment = _await_environment(state, line, progress, timeout_s)
            attachment = cls(state, line, environment)
            attachment.alive()
        except BaseException:
            # Leave in an orderly way, so that whoever is told of a failure finds nothing left behind.
            line.send({"do": "detach"})
            line.await_answer(("detached", "ended"), _END_S)
            line.close()
            raise
        return attachment

    def alive(self) -> None:
        """Return when the host and all its processes run.

        Raises:
            InfrastructureError: one of them ended.
        """
        with self._lock:
            assert not self._closed, "asked after close"
            while self._failure is None:
                message = self._line.receive(0.0)
                if message is None:
                    return
                self._note(message)
            raise self._failure

    def keep(self, ttl_s: float) -> None:
        """Let the environment stay for `ttl_s` seconds from now, whoever detaches."""
        assert ttl_s > 0
        with self._lock:
            self.alive()
            self._line.send({"do": "keep", "ttl_s": ttl_s})
            while True:
                message = self._line.receive(_ANSWER_S)
                if message and message["say"] == "kept":
                    return
                if message and message["say"] == "refused":
                    raise _refused(self.state, message)
                self._note(message or _EMPTY)
                if self._failure is not None:
                    raise self._failure

    def close(self) -> None:
        """Let go; when nobody else holds it, return after everything has been removed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._line.send({"do": "detach"})
            answer = self._line.await_answer(("detached", "ended"), _END_S)
            self._line.close()
            if answer != "detached":
                _see_the_end(self.state)

    def _note(self, message: dict[str, Any]) -> None:
        match message.get("say"):
            case "failed":
                self._failure = _failure(message)
            case None:
                self._failure = _gone(self.state)
            case "ended":
                self._failure = InfrastructureError(
                    f"the environment of run {self.state.run_id} was stopped from outside while in use",
                    remedy="run again, and let nobody run `mojaloop-perf down` meanwhile",
                    evidence=str(self.state.log),
                )


def kept_environments() -> list[HostState]:
    """Return the hosts that stay without anybody attached, and clear away what killed ones left behind."""
    sweep_stale()
    return [state for state in living_environments() if state.kept_until is not None]


def living_environments() -> list[HostState]:
    """Return every living host of this user, those of sessions under way included."""
    return [state for state in all_states() if host_lives(state)]


def find_kept(run: str) -> HostState:
    """Return the living host of a run, kept or in use, given by its id or its run folder.

    Raises:
        BadInputError: there is none, or it was killed (then its leavings are removed).
    """
    stale = {state.run_id: state for state in sweep_stale()}
    kept = living_environments()
    folder = Path(run).expanduser().resolve()
    for state in kept:
        if run == state.run_id or folder == state.run_folder.resolve():
            return state
    names = ", ".join(state.run_id for state in kept) or "none"
    for state in stale.values():
        if run == state.run_id or folder == state.run_folder.resolve():
            raise BadInputError(
                f"the environment of run {run} is gone: its host (pid {state.pid}) was killed",
                remedy=f"start a new one with --perf-keep=always; there are now: {names}",
                evidence=str(state.log),
            )
    raise BadInputError(
        f"no kept environment is named {run!r}, expected one of those there are: {names}",
        remedy="start one with --perf-keep=always, or give the run id that it printed",
    )


def stop_kept(run: str) -> None:
    """End a kept environment, by run id or run folder, and return when nothing of it is left.

    Raises:
        BadInputError: no such environment.
        InfrastructureError: it did not end; the message names the process to kill.
    """
    _stop(find_kept(run))


def release_session(run_id: str) -> None:
    """End the session's environment from the controller of parallel workers, unless it is to be kept.

    Nothing happens when there is none (any more).
    """
    state = read_state(run_id)
    if state is None:
        return
    if not host_lives(state):
        forget(state)
    elif state.kept_until is None:
        _stop(state)


def _stop(state: HostState) -> None:
    try:
        line = ControlLine(state)
    except HostEndingError:
        _see_the_end(state)
        return
    line.send({"do": "stop"})
    line.await_answer(("ended",), _END_S)
    line.close()
    _see_the_end(state)


def _await_environment(
    state: HostState, line: ControlLine, progress: Progress, timeout_s: float
) -> Environment:
    deadline = time.monotonic() + timeout_s
    last = "nothing yet"
    while True:
        message = line.receive(max(0.0, deadline - time.monotonic()))
        if message is None:
            raise WaitTimeoutError(
                f"the environment of run {state.run_id} was not ready in {timeout_s:g}s; last seen: {last}",
                remedy=f"read {state.log}",
                evidence=str(state.log),
            )
        match message.get("say"):
            case "progress":
                last = str(message["note"])
                progress.advance("environment", message["done"], message["total"], last)
            case "environment":
                return msgspec.convert(
                    message["value"], Environment, dec_hook=lambda kind, value: kind(value)
                )
            case "failed":
                raise _failure(message)
            case "ended":
                raise HostEndingError(
                    f"the host of run {state.run_id} (pid {state.pid}) is ending",
                    remedy="start the environment anew (leave --perf-reuse away)",
                )
            case "refused":
                raise _refused(state, message)
            case None:
                raise _gone(state)


def _see_the_end(state: HostState) -> None:
    """Wait until a host is gone, and remove what it left when it was killed."""

    def look() -> bool | Pending:
        return Pending(f"pid {state.pid} runs") if host_lives(state) else True

    wait_for(
        f"the end of the environment of run {state.run_id}",
        look,
        timeout_s=_END_S,
        interval_s=0.02,
        remedy=f"kill {state.pid}",
        evidence=str(state.log),
    )
    forget(state)


def _failure(message: dict[str, Any]) -> InfrastructureError:
    return InfrastructureError(
        str(message["problem"]), remedy=str(message["remedy"]), evidence=message.get("evidence")
    )


def _refused(state: HostState, message: dict[str, Any]) -> InfrastructureError:
    return InfrastructureError(
        f"the host of run {state.run_id} refused a request: {message.get('why')}",
        remedy=f"end it with `mojaloop-perf down {state.run_id}` and start anew",
        evidence=str(state.log),
    )


def _gone(state: HostState) -> InfrastructureError:
    try:
        lines = state.log.read_text(errors="replace").splitlines()[-10:]
    except OSError:
        lines = []
    return InfrastructureError(
        f"the host of the environment (pid {state.pid}) was killed, expected it to run until all detach",
        remedy=f"read {state.log} (out of memory? killed?), then run again",
        evidence="\n".join([str(state.log), *lines]),
    )
