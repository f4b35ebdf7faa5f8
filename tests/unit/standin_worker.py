"""Stands in for a pytest process: `python standin_worker.py RUN_FOLDER STANDIN MODE KEEP_S`.

Attaches, prints the pids of the environment, waits for a line or the end of its standard input, lets go.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import PerfError
from pytest_mojaloop_perf.infra.embedded import EmbeddedBackend
from pytest_mojaloop_perf.model import Plan
from pytest_mojaloop_perf.progress import Silent


def main(run_folder: str, standin: str, mode: str, keep_s: str) -> int:
    folder = RunFolder(Path(run_folder))
    backend = EmbeddedBackend("session", child_command=(sys.executable, standin, mode), start_timeout_s=20)
    try:
        attachment = backend.attach(folder.read(Plan), folder, Silent())
    except PerfError as error:
        print(json.dumps({"error": str(error)}), flush=True)  # noqa: T201
        return 1
    processes = {each.name: each.pid for each in attachment.environment.processes}
    print(json.dumps({"processes": processes, "control": attachment.environment.control}), flush=True)  # noqa: T201
    sys.stdin.readline()
    if float(keep_s):
        attachment.keep(float(keep_s))
    attachment.close()
    print("closed", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
