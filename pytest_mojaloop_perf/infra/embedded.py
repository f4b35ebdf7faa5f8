"""The embedded target: the reference switch as processes of this machine, one environment per session."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys

from filelock import FileLock, Timeout

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import BadInputError, CommandError, InfrastructureError
from pytest_mojaloop_perf.faults import FAULTS
from pytest_mojaloop_perf.infra.control_line import ControlLine, HostEndingError, connect
from pytest_mojaloop_perf.infra.host_client import HostAttachment, find_kept
from pytest_mojaloop_perf.infra.host_state import (
    HostConfig,
    HostState,
    forget,
    host_lives,
    make_private_folder,
    new_private_path,
    read_state,
    sweep_stale,
)
from pytest_mojaloop_perf.infra.placement import dfsp_process_count
from pytest_mojaloop_perf.model import Fault, Plan
from pytest_mojaloop_perf.progress import Progress
from pytest_mojaloop_perf.wait import Pending, wait_for

__all__ = ["REFERENCE_COMMAND", "EmbeddedBackend", "refuse_other_plan"]

_ATTEMPTS = 5
"""How often a host that happens to be ending may be met before we give up."""

REFERENCE_COMMAND = (sys.executable, "-m", "pytest_mojaloop_perf.reference")
"""What starts a process of the reference switch; the role and a configuration file are added."""


class EmbeddedBackend:
    """Makes the environment at the first `attach` of a session, and finds it at every later one.

    Args:
        session_key: the same in all processes of one pytest session; None: the plan's run id.
        session_pid: a process that holds the environment as long as it lives, besides those attached: the
            controller of parallel workers, which itself attaches to nothing. None: attached ones only.
        child_command: what starts a reference process.
        start_timeout_s: bound for each process to get ready.
    """

    def __init__(
        self,
        session_key: str | None = None,
        *,
        session_pid: int | None = None,
        child_command: tuple[str, ...] = REFERENCE_COMMAND,
        start_timeout_s: float = 60.0,
    ) -> None:
        self._key = session_key
        self._session_pid = session_pid
        self._child_command = child_command
        self._start_timeout_s = start_timeout_s

    def attach(self, plan: Plan, folder: RunFolder, progress: Progress) -> HostAttachment:
        """Return a hold on the session's environment, made by whoever comes first.

        Raises:
            InfrastructureError: it could not be made; the message names the process and its last words.
            BadInputError: `plan.reuse` names no kept environment, or one that differs from the plan.
        """
        if plan.reuse is not None:
            state = find_kept(plan.reuse)
            refuse_other_plan(state, plan)
            return HostAttachment.attach(state, progress, timeout_s=self._start_timeout_s)
        try:
            return self._attach_own(plan, folder, progress)
        except OSError as error:
            raise InfrastructureError(
                f"the environment could not be made: {error.strerror}: {error.filename}",
                remedy="name a writable folder with --perf-output",
            ) from error

    def _attach_own(self, plan: Plan, folder: RunFolder, progress: Progress) -> HostAttachment:
        sweep_stale()
        key = re.sub(r"[^A-Za-z0-9._-]", "-", self._key or plan.run_id)
        lock = FileLock(folder.file(f".environment-{key}.lock"), timeout=self._start_timeout_s)
        for _ in range(_ATTEMPTS):
            try:
                with lock:
                    # Connected inside the lock: from now on the host has somebody to live for.
                    state, line = self._hold(plan, folder)
            except Timeout as error:
                raise InfrastructureError(
                    f"another worker holds {lock.lock_file} for more than {self._start_timeout_s:g}s",
                    remedy="end that worker, or remove the file when no session runs",
                ) from error
            try:
                return HostAttachment.ready(state, line, progress, timeout_s=4 * self._start_timeout_s)
            except HostEndingError as error:
                ending = error
        raise ending

    def _hold(self, plan: Plan, folder: RunFolder) -> tuple[HostState, ControlLine]:
        """Return the session's host and a connection to it; start it when there is none."""

        def look() -> tuple[HostState, ControlLine] | Pending:
            state = read_state(plan.run_id)
            if state is None or not host_lives(state):
                if state is not None:
                    forget(state)
                state = self._create(plan, folder)
            try:
                return state, connect(state)
            except HostEndingError:
                return Pending(f"pid {state.pid} runs and does not answer: it is ending")

        return wait_for(
            f"a host for run {plan.run_id}",
            look,
            timeout_s=20.0,
            remedy=f"mojaloop-perf down {plan.run_id}, then run again",
            evidence=str(folder.log("host")),
        )

    def _create(self, plan: Plan, folder: RunFolder) -> HostState:
        private = new_private_path()
        config = HostConfig(
            plan=plan,
            private=private,
            token=secrets.token_hex(16),
            child_command=self._child_command,
            dfsp_processes=dfsp_process_count(os.cpu_count() or 1, len(plan.dfsps)),
            session_pid=self._session_pid,
            start_timeout_s=self._start_timeout_s,
        )
        folder.journal("create", what="private folder", path=private)
        make_private_folder(private)
        try:
            path = RunFolder(private).write(config, name="host")
            folder.journal("create", what="host process", config=path)
            command.run(
                [sys.executable, "-m", "pytest_mojaloop_perf.infra.host", path],
                timeout_s=30.0,
                remedy="check that the run folder and TMPDIR can be written",
            )
            state = read_state(plan.run_id)
        except CommandError as error:
            shutil.rmtree(private, ignore_errors=True)
            raise InfrastructureError(
                f"the host of the environment could not be started: {error.problem}",
                remedy=error.remedy,
                evidence=error.evidence,
            ) from error
        if state is None:
            raise InfrastructureError(
                "the host of the environment left no state file",
                remedy="set XDG_STATE_HOME to a folder of yours that can be written",
                evidence=str(folder.log("host")),
            )
        return state


def refuse_other_plan(state: HostState, plan: Plan) -> None:
    """Refuse a kept environment that is not what this run wants.

    Raises:
        BadInputError: its DFSPs, security or faults are not those of the plan.
    """
    wanted = {
        "DFSPs": (state.dfsps, plan.dfsps),
        "security": (state.security, plan.profile.security),
        "faults": (_switch_faults(state.faults), _switch_faults(plan.faults)),
    }
    for what, (there, here) in wanted.items():
        if there != here:
            raise BadInputError(
                f"the kept environment of run {state.run_id} has other {what}: {there}",
                remedy="leave --perf-reuse away, or use the options that it was started with",
            )


def _switch_faults(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Return the faults that the environment shows; the generator's are none of its business."""
    return tuple(
        fault for fault in faults if fault.name not in FAULTS or FAULTS[fault.name].where != "generator"
    )
