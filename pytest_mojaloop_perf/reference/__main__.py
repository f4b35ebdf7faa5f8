"""Run a reference process: `python -m pytest_mojaloop_perf.reference hub|dfsps CONFIG.json`."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_mojaloop_perf.errors import PerfError
from pytest_mojaloop_perf.reference.process import load_config, run
from pytest_mojaloop_perf.reference_config import DfspsConfig, HubConfig

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Serve until told to end; 0 then, 1 when it could not serve, 2 when called wrongly."""
    if len(arguments) != 2 or arguments[0] not in {"hub", "dfsps"}:
        sys.stderr.write("usage: python -m pytest_mojaloop_perf.reference hub|dfsps CONFIG.json\n")
        return 2
    role, path = arguments[0], Path(arguments[1])
    try:
        # Each role imports only its own half: a smaller process that starts sooner.
        if role == "hub":
            from pytest_mojaloop_perf.reference.hub import serve_hub  # noqa: PLC0415

            run(serve_hub, load_config(HubConfig, path))
        else:
            from pytest_mojaloop_perf.reference.dfsp import serve_dfsps  # noqa: PLC0415

            run(serve_dfsps, load_config(DfspsConfig, path))
    except (PerfError, OSError) as error:
        sys.stderr.write(f"{role}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
