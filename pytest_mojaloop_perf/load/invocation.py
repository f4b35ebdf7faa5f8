"""How k6 is called: its command line, and an environment in which nothing of the user's changes the run."""

from __future__ import annotations

import math
import os
import socket
from pathlib import Path

import msgspec

from pytest_mojaloop_perf.load.k6 import K6
from pytest_mojaloop_perf.load.scenario import Settings
from pytest_mojaloop_perf.model import Value

__all__ = ["SCRIPT", "Files", "Invocation", "free_port", "make_invocation", "processors_of"]

SCRIPT = "k6/transactions.js"
NO_THRESHOLDS = "--no-thresholds"
_TPS_PER_PROCESSOR = 250.0
_NS = 1e9


class Files(Value, frozen=True, kw_only=True):
    """The generator's files in the run folder. `records` is raw and goes once it has been converted."""

    settings: Path
    config: Path
    records: Path
    summary: Path

    @classmethod
    def under(cls, folder: Path) -> Files:
        """Return the paths below the run folder and make the folder that holds them."""
        base = folder / "load"
        base.mkdir(parents=True, exist_ok=True)
        return cls(
            settings=base / "settings.json",
            config=base / "k6-config.json",
            records=base / "records.csv",
            summary=base / "k6-summary.json",
        )

    def clear(self) -> None:
        """Remove what an earlier run left, so that nothing of it can be taken for this one's."""
        for path in (self.settings, self.config, self.records, self.summary):
            path.unlink(missing_ok=True)


class Invocation(Value, frozen=True, kw_only=True):
    """A command line with its environment; `api_port` is where k6 says how many arrivals it dropped."""

    argv: tuple[str, ...]
    env: dict[str, str]
    drop_env: tuple[str, ...]
    api_port: int


def make_invocation(k6: K6, settings: Settings, files: Files, script: Path) -> Invocation:
    """Write the files that k6 reads and return how to call it."""
    files.settings.write_bytes(msgspec.json.format(msgspec.json.encode(settings), indent=1) + b"\n")
    # An empty one instead of the user's own: that may add outputs, limits or tags.
    files.config.write_text("{}\n")
    port = free_port()
    argv = (
        str(k6.path),
        "run",
        "--no-color",
        NO_THRESHOLDS,
        "--no-usage-report",
        "--include-system-env-vars=false",
        "--log-format=raw",
        f"--config={files.config}",
        f"--console-output={files.records}",
        f"--address=127.0.0.1:{port}",
        f"--env=SETTINGS={files.settings}",
        str(script),
    )
    env = {
        "GOMAXPROCS": str(processors_of(settings)),
        "K6_NO_USAGE_REPORT": "true",
        "K6_AUTO_EXTENSION_RESOLUTION": "false",
    }
    drop = tuple(name for name in os.environ if name.startswith(("K6_", "SSLKEYLOGFILE")))
    return Invocation(argv=argv, env=env, drop_env=drop, api_port=port)


def processors_of(settings: Settings) -> int:
    """Return how many threads k6 may run JavaScript and Go in at once.

    One does the work of a moderate rate for less CPU than several, because nothing is handed from thread to
    thread, and arrivals are no later (`bench/k6_cost.py` prints both costs). A high rate gets more, so that
    it never has to wait for one.
    """
    wanted = math.ceil(_NS / settings.period_ns / _TPS_PER_PROCESSOR)
    return max(1, min(wanted, os.cpu_count() or 1))


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
