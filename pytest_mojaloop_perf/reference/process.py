"""The shell that all reference processes share: configuration, event loop, end of life, readiness."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.model import Value
from pytest_mojaloop_perf.reference_config import Ready

__all__ = ["SparseLog", "announce", "load_config", "new_loop", "run"]

ConfigT = TypeVar("ConfigT", bound=Value)


class SparseLog:
    """Logs the 1st, 10th, 100th ... event of each kind: a log that a failing run cannot flood."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._counts: dict[str, int] = {}

    def warn(self, kind: str, detail: object) -> None:
        """Count an event and, if its number is a power of ten, write it to stderr."""
        count = self._counts.get(kind, 0) + 1
        self._counts[kind] = count
        if count == 10 ** (len(str(count)) - 1):
            self._logger.warning("%s (number %d): %s", kind, count, detail)


def load_config(kind: type[ConfigT], path: Path) -> ConfigT:
    """Read a process's configuration.

    Raises:
        BadInputError: unreadable, or not such a configuration.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind, dec_hook=_path)
    except (OSError, msgspec.DecodeError) as error:
        raise BadInputError(
            f"{path} is not a configuration of this process: {error}",
            remedy="let the embedded target write it, or compare it with reference_config.py",
        ) from error


def _path(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop, with aiofastnet's cheaper TLS where that is installed.

    Not on uvloop: alone it is no faster here, and together with aiofastnet it ended processes by SIGABRT when
    a thousand connections were opened and abandoned.
    """
    loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
    try:
        import aiofastnet  # noqa: PLC0415  # optional
    except ImportError:
        return loop
    return aiofastnet.patch_loop(loop)


def run(serve: Callable[[ConfigT, asyncio.Event], Awaitable[None]], config: ConfigT) -> None:
    """Serve until SIGTERM, SIGINT, or the end of stdin: a process dies with the one that started it."""
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        threading.Thread(target=_stop_with_stdin, args=(loop, stop), daemon=True).start()
        await serve(config, stop)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def _stop_with_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Set `stop` when stdin ends; a read, not a poll, so that it costs nothing."""
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    try:
        loop.call_soon_threadsafe(stop.set)
    except RuntimeError:
        return  # the loop has ended first


def announce(ready_file: Path, ready: Ready) -> None:
    """Say that everything listens: write `ready_file` whole, or not at all.

    What exists by now stays for the life of the process, so the garbage collector need not look at it again.
    """
    gc.collect()
    gc.freeze()
    temporary = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(ready, enc_hook=str)))
    temporary.replace(ready_file)
