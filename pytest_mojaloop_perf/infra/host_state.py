"""How hosts of environments are found: one private file per living host in a per-user state folder.

A file `<run_id>.json` (mode 0600) names the host's process, its control socket and the token that opens it.
The host removes it when it ends; one whose host was killed is stale, is never attached to, and is cleared
away together with the private folder that it names.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

import msgspec
import psutil

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import BadInputError, InfrastructureError
from pytest_mojaloop_perf.model import Dfsp, Fault, Plan, SecurityProfile, Value

__all__ = [
    "HostConfig",
    "HostState",
    "all_states",
    "forget",
    "host_lives",
    "make_private_folder",
    "new_private_path",
    "read_state",
    "state_folder",
    "sweep_stale",
    "write_state",
]

_PRIVATE_PREFIX = "mjp-"
_SOCKET_PATH_MAX_BYTES = 100
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class HostConfig(Value, frozen=True, kw_only=True):
    """What a host is told when it starts.

    `private` is a folder of mode 0700 that holds this configuration, the control socket and the security
    material; the host deletes it. `session_pid` is a process that keeps the environment up as long as it
    lives (the controller of parallel workers), or None. `child_command` starts a reference process; the
    role and a configuration file are added to it.
    """

    plan: Plan
    private: Path
    token: str
    child_command: tuple[str, ...]
    dfsp_processes: int
    session_pid: int | None = None
    start_timeout_s: float = 60.0
    attach_timeout_s: float = 30.0


class HostState(Value, frozen=True, kw_only=True):
    """A host as its state file tells it. `started` is the process's start time, to see a reused pid."""

    run_id: str
    run_folder: Path
    pid: int
    started: float
    private: Path
    control: Path
    token: str
    log: Path
    dfsps: tuple[Dfsp, ...]
    security: SecurityProfile
    faults: tuple[Fault, ...]
    kept_until: float | None = None


def state_folder() -> Path:
    """Return the per-user folder of state files, made with mode 0700.

    `$XDG_STATE_HOME/pytest-mojaloop-perf`, else `~/.local/state/pytest-mojaloop-perf`; where that cannot be
    written (no home in a container), a folder of ours under the temporary folder.

    Raises:
        InfrastructureError: none can be had, or somebody else owns it.
    """
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 - Path.expanduser raises without a home
    fallback = Path(tempfile.gettempdir()) / f"pytest-mojaloop-perf-{os.getuid()}"
    for folder in (Path(base) / "pytest-mojaloop-perf", fallback):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        facts = folder.stat()
        if (
            facts.st_uid == os.getuid()
            and not stat.S_IMODE(facts.st_mode) & 0o022
            and os.access(folder, os.W_OK)
        ):
            return folder
    raise InfrastructureError(
        f"no private folder for the state of environments can be had: neither under {base} nor as {fallback}",
        remedy="set XDG_STATE_HOME to a folder of yours that can be written",
    )


def new_private_path() -> Path:
    """Return a fresh path for a host's private folder, short enough for a socket in it; nothing is made."""
    name = _PRIVATE_PREFIX + os.urandom(6).hex()
    path = Path(tempfile.gettempdir()) / name
    if len(os.fsencode(path / "control")) > _SOCKET_PATH_MAX_BYTES:
        path = Path("/tmp") / name  # noqa: S108 - the only short place there is; made exclusively, mode 0700
    return path


def make_private_folder(path: Path) -> None:
    """Make a private folder, mode 0700; it must not exist.

    Raises:
        InfrastructureError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise InfrastructureError(
            f"the private folder {path} cannot be made: {error.strerror}",
            remedy="set TMPDIR to a folder that can be written",
        ) from error


def write_state(state: HostState) -> None:
    """Store a host's state file, mode 0600, whole or not at all."""
    path = _path(state.run_id)
    partial = path.with_suffix(".partial")
    body = msgspec.json.encode(state, enc_hook=str)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as sink:  # noqa: PTH123 - os.open sets the mode
        sink.write(body)
    partial.replace(path)


def read_state(run_id: str) -> HostState | None:
    """Return a host's state, or None when there is no file of that run (or it cannot be understood)."""
    return _read(_path(run_id))


def all_states() -> list[HostState]:
    """Return the state of every host of this user, living or not, in the order of their run ids."""
    states = (_read(path) for path in sorted(state_folder().glob("*.json")))
    return [state for state in states if state is not None]


def host_lives(state: HostState) -> bool:
    """Say whether the very process of this state still runs (and not another one that got its pid)."""
    try:
        process = psutil.Process(state.pid)
        return abs(process.create_time() - state.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def forget(state: HostState) -> None:
    """Remove what a host that has ended left behind: its private folder and its state file."""
    if state.private.name.startswith(_PRIVATE_PREFIX) and state.private.parent != state.private:
        shutil.rmtree(state.private, ignore_errors=True)
    current = read_state(state.run_id)
    if current is None or current.token == state.token:
        _path(state.run_id).unlink(missing_ok=True)


def sweep_stale() -> list[HostState]:
    """Forget every host that was killed, and return them."""
    stale = [state for state in all_states() if not host_lives(state)]
    for state in stale:
        if RunFolder(state.run_folder).path.is_dir():
            # Somebody may have made the folder read-only since; the state must be forgotten all the same.
            with contextlib.suppress(OSError):
                RunFolder(state.run_folder).journal(
                    "forget", what="killed host", pid=state.pid, private=state.private
                )
        forget(state)
    return stale


def _path(run_id: str) -> Path:
    if not _RUN_ID.fullmatch(run_id):
        raise BadInputError(
            f"{run_id!r} is not a run id: letters, digits, dot, dash and underscore are expected",
            remedy="name a run as its folder names it",
        )
    return state_folder() / f"{run_id}.json"


def _read(path: Path) -> HostState | None:
    try:
        return msgspec.json.decode(
            path.read_bytes(), type=HostState, dec_hook=lambda kind, value: kind(value)
        )
    except (OSError, msgspec.MsgspecError):
        return None
