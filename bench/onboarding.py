"""Print how long onboarding takes: 8 DFSPs, 4 of them with 1000 MSISDNs, on the real reference hub.

Usage: python bench/onboarding.py [MSISDNS_PER_PAYEE]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.infra.host_state import HostConfig
from pytest_mojaloop_perf.infra.supervisor import Supervisor
from pytest_mojaloop_perf.model import Environment, Plan
from pytest_mojaloop_perf.onboard import onboard
from pytest_mojaloop_perf.profiles import load_dfsps, load_matrix, load_profile
from pytest_mojaloop_perf.progress import Silent


def make_plan(folder: Path, msisdns: int) -> Plan:
    """Return the packaged plan with that many MSISDNs for each payee."""
    dfsps = tuple(
        msgspec.structs.replace(dfsp, msisdn_count=msisdns) if "payee" in dfsp.roles else dfsp
        for dfsp in load_dfsps("dfsps")
    )
    return Plan(
        run_id="bench",
        created="",
        target="embedded",
        target_reason="bench",
        switch="reference",
        kind="perf",
        profile=load_profile("embedded"),
        matrix=load_matrix("asymmetric"),
        dfsps=dfsps,
        seed=1,
        run_folder=folder / "run",
    )


def say_nothing(_done: int, _steps: int, _text: str) -> None:
    """Ignore the start's progress."""


def measure(plan: Plan, environment: Environment) -> None:
    """Onboard three times and print each time."""
    for kind in ("cold", "repeated", "repeated"):
        roster = onboard(plan, environment, progress=Silent())
        sys.stdout.write(
            f"onboarding {kind}: {roster.took_s:.2f} s, {roster.calls} calls"
            f" ({roster.calls / roster.took_s:.0f} per second), {roster.already} things there already\n"
        )


def main() -> int:
    """Start a reference switch of its own, measure, and stop it."""
    msisdns = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory(prefix="mojaloop-perf-bench-") as name:
        folder = Path(name)
        plan = make_plan(folder, msisdns)
        private = folder / "private"
        private.mkdir(mode=0o700)
        config = HostConfig(
            plan=plan,
            private=private,
            token="-",  # noqa: S106  # there is no control socket to open
            child_command=(sys.executable, "-m", "pytest_mojaloop_perf.reference"),
            dfsp_processes=1,
        )
        supervisor = Supervisor(config, RunFolder.create(plan.run_folder))
        try:
            measure(plan, supervisor.start(say_nothing))
        finally:
            supervisor.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
