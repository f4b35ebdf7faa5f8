"""The process that owns an embedded environment: `python -m pytest_mojaloop_perf.infra.host CONFIG.json`.

It detaches itself from the process that started it, starts everything, and lives as long as somebody is
attached to its control socket (a connection that stays open), a session process lives, or `keep` says so.
Then it ends what it started, in reverse order, and removes its private folder. Killed itself, it takes its
children with it: their standard input ends.

Control messages are JSON, one per line. To the host: `do` is attach, detach, keep (with `ttl_s`), status or
stop; the first message of a connection carries the `token`. From the host: `say` is progress, environment,
failed, kept, status, detached, ended or refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import InfrastructureError, PerfError
from pytest_mojaloop_perf.infra.host_state import HostConfig, HostState, forget, write_state
from pytest_mojaloop_perf.infra.supervisor import Supervisor
from pytest_mojaloop_perf.model import Environment

__all__ = ["Host", "main"]

_TICK_S = 0.1


class Host:
    """One environment, from its start to its end."""

    def __init__(self, config: HostConfig, state: HostState) -> None:
        self._config = config
        self._state = state
        self._folder = RunFolder(config.plan.run_folder)
        self._supervisor = Supervisor(config, self._folder)
        self._attached: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.StreamWriter] = set()
        self._session = _process(config.session_pid)
        self._environment: Environment | None = None
        self._failure: PerfError | None = None
        self._progress: dict[str, Any] = {}
        self._ever_attached = False
        self._stop = False
        self._ending = False
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._began = time.monotonic()

    async def run(self, listener: socket.socket) -> None:
        """Serve until nobody needs the environment, then remove it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop_soon)
        server = await asyncio.start_unix_server(self._serve, sock=listener)
        starting = asyncio.create_task(self._start(loop))
        while self._needed():
            if starting.done() and self._failure is None:
                self._failure = self._supervisor.failure()
                self._tell_failure()
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), _TICK_S)
            except TimeoutError:
                continue
        self._ending = True
        self._supervisor.abort()
        await starting
        await asyncio.to_thread(self._supervisor.stop)
        # Forgotten first, told afterwards: who hears "ended" may at once make another environment.
        forget(self._state)
        self._folder.journal("ended", what="host", pid=os.getpid())
        for writer in self._connections:
            _post(writer, {"say": "ended"})
        self._ended.set()
        server.close()

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        def say(done: int, total: int, note: str) -> None:
            message = {"say": "progress", "done": done, "total": total, "note": note}
            loop.call_soon_threadsafe(self._tell_progress, message)

        try:
            environment = await asyncio.to_thread(self._supervisor.start, say)
        except PerfError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._failure = InfrastructureError(
                f"the environment could not be made: {type(error).__name__}: {error}",
                remedy=f"read {self._state.log} for the cause",
                evidence=str(self._state.log),
            )
        if self._failure is not None:
            self._note(f"not started: {self._failure}")
            await asyncio.to_thread(self._supervisor.stop)
            self._tell_failure()
            return
        self._environment = environment
        self._note(f"ready: {', '.join(f'{each.name} {each.pid}' for each in environment.processes)}")
        for writer in self._attached:
            _post(writer, self._environment_message())

    def _needed(self) -> bool:
        if self._stop:
            return False
        if self._attached or _lives(self._session):
            return True
        if self._state.kept_until is not None and self._failure is None:
            return time.time() < self._state.kept_until
        return not self._ever_attached and time.monotonic() - self._began < self._config.attach_timeout_s

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            first = await _receive(reader)
            if first.get("token") != self._state.token:
                await _send(writer, {"say": "refused", "why": "wrong token"})
                return
            message = first
            while message:
                try:
                    if await self._obey(message, writer):
                        return
                except (OSError, ValueError, KeyError, TypeError) as error:
                    why = f"{type(error).__name__}: {error}"
                    self._note(f"refused {message.get('do')}: {why}")
                    await _send(writer, {"say": "refused", "why": why})
                message = await _receive(reader)
        except (ConnectionError, ValueError) as error:
            self._note(f"a connection broke: {error}")
        finally:
            self._attached.discard(writer)
            self._changed.set()
            if self._ending:
                await self._ended.wait()
            self._connections.discard(writer)
            writer.close()

    async def _obey(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Do what a client asks, and say whether its connection is over."""
        match message.get("do"):
            case "attach":
                self._attach(writer)
            case "keep":
                self._keep(float(message["ttl_s"]))
                await _send(writer, {"say": "kept", "until": self._state.kept_until})
            case "status":
                await _send(
                    writer, {"say": "status", "attached": len(self._attached), "ending": self._ending}
                )
            case "detach" | "stop" as what:
                self._attached.discard(writer)
                self._stop = self._stop or what == "stop"
                self._changed.set()
                if self._needed():
                    await _send(writer, {"say": "detached"})
                    return True
                await self._ended.wait()
                return True
            case other:
                await _send(writer, {"say": "refused", "why": f"unknown request {other!r}"})
        return False

    def _attach(self, writer: asyncio.StreamWriter) -> None:
        if self._ending or not self._needed():
            return  # It hears "ended" in a moment, and makes an environment of its own.
        self._attached.add(writer)
        self._ever_attached = True
        if self._progress:
            _post(writer, self._progress)
        if self._failure is not None:
            _post(writer, _failure_message(self._failure))
        elif self._environment is not None:
            _post(writer, self._environment_message())

    def _keep(self, ttl_s: float) -> None:
        kept = msgspec.structs.replace(self._state, kept_until=time.time() + ttl_s)
        write_state(kept)
        self._state = kept
        self._folder.journal("keep", what="environment", until=self._state.kept_until)

    def _environment_message(self) -> dict[str, Any]:
        text = msgspec.json.encode(self._environment, enc_hook=str)
        return {"say": "environment", "value": json.loads(text)}

    def _tell_progress(self, message: dict[str, Any]) -> None:
        self._progress = message
        for writer in self._attached:
            _post(writer, message)

    def _tell_failure(self) -> None:
        if self._failure is None:
            return
        self._note(str(self._failure))
        for writer in self._attached:
            _post(writer, _failure_message(self._failure))

    def _stop_soon(self) -> None:
        self._stop = True
        self._changed.set()

    def _note(self, text: str) -> None:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()


def main(argv: list[str]) -> int:
    """Start a host from its configuration file, detached, and return when it can be attached to."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m pytest_mojaloop_perf.infra.host CONFIG.json\n")
        return 2
    path = Path(argv[0])
    config = RunFolder(path.parent).read(HostConfig, name=path.stem)
    folder = RunFolder(config.plan.run_folder)
    log = folder.log("host")
    try:
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(config.private / "control"))
        listener.listen(64)
        _detach(config, listener, sink, log)
    except (OSError, PerfError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _detach(config: HostConfig, listener: socket.socket, sink: int, log: Path) -> None:
    """Let a child process be the host, and tell the state folder about it."""
    pid = os.fork()
    if pid == 0:
        _be_the_host(config, listener, sink, log)
    try:
        write_state(_state(config, pid, log))
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise


def _be_the_host(config: HostConfig, listener: socket.socket, sink: int, log: Path) -> None:
    """Detach from terminal, group and streams of the process that started us, serve, and exit."""
    status = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (sink, 1), (sink, 2)):
            os.dup2(source, target)
        _allow_many_files()
        state = _state(config, os.getpid(), log)

        async def serve() -> None:
            await Host(config, state).run(listener)

        asyncio.run(serve())
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def _allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one; the children inherit it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses "unlimited"; then it stays as it was
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _state(config: HostConfig, pid: int, log: Path) -> HostState:
    plan = config.plan
    return HostState(
        run_id=plan.run_id,
        run_folder=plan.run_folder,
        pid=pid,
        started=psutil.Process(pid).create_time(),
        private=config.private,
        control=config.private / "control",
        token=config.token,
        log=log,
        dfsps=plan.dfsps,
        security=plan.profile.security,
        faults=plan.faults,
    )


def _process(pid: int | None) -> psutil.Process | None:
    try:
        return None if pid is None else psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _lives(process: psutil.Process | None) -> bool:
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _failure_message(error: PerfError) -> dict[str, Any]:
    return {"say": "failed", "problem": error.problem, "remedy": error.remedy, "evidence": error.evidence}


def _post(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(message).encode() + b"\n")


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    _post(writer, message)
    try:
        await writer.drain()
    except ConnectionError:
        return  # It left; its reader notices.


async def _receive(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Return the next message, or an empty one when the connection is over."""
    line = await reader.readline()
    message = json.loads(line) if line else {}
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")  # noqa: TRY004 - as broken as invalid JSON
    return message


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
