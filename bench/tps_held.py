"""The highest rate that the reference switch holds on this machine: `python bench/tps_held.py`.

A rate is held when the steady window of a short run completes it, with end-to-end p95 under 500 ms and no
failure. Rates are doubled until one is not held, then bracketed. Prints each step, CPU per transaction by
process at the highest rate held, and its ratio to what the cores could do if they did nothing but sign
and verify (5 signatures and 10 verifications per transaction, RS256), measured in the same run.
"""

from __future__ import annotations

import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.infra.backend import Attachment
from pytest_mojaloop_perf.infra.embedded import EmbeddedBackend
from pytest_mojaloop_perf.load.k6 import K6, locate_k6
from pytest_mojaloop_perf.load.runner import run_load
from pytest_mojaloop_perf.measure.machine import MachineSampler, machine_use
from pytest_mojaloop_perf.measure.measure import measure
from pytest_mojaloop_perf.measure.window import steady_window
from pytest_mojaloop_perf.model import Measurement, Plan
from pytest_mojaloop_perf.onboard import onboard
from pytest_mojaloop_perf.options import OPTIONS, Options
from pytest_mojaloop_perf.plan import make_plans, new_run_id
from pytest_mojaloop_perf.progress import Silent

FIRST_TPS = 50.0
PRECISION_TPS = 8.0
P95_MOST_MS = 500.0
SIGNATURES = 5
VERIFICATIONS = 10


def plan_for(tps: float, output: Path, jws: str = "RS256") -> Plan:
    """Return the plan of one step."""
    values = {option.name: option.default for option in OPTIONS}
    values |= {
        "perf_target": "embedded",
        "perf_tps": str(tps),
        "perf_duration": "25s",
        "perf_warmup": "6s",
        "perf_cooldown": "2s",
        "perf_request_timeout": "8s",
        "perf_output": str(output),
        "perf_jws": jws,
    }
    (plan,) = make_plans(Options(values=values), run_id=new_run_id(), created=datetime.now(UTC))
    return plan


def try_rate(plan: Plan, attachment: Attachment, k6: K6) -> Measurement:
    """Offer one rate and return what was measured."""
    folder = RunFolder.create(plan.run_folder)
    processes = {process.name: process.pid for process in attachment.environment.processes}
    sampler = MachineSampler({**processes, "bench": os.getpid()}, folder.file("machine.jsonl"))
    sampler.start()
    try:
        load = run_load(
            plan,
            attachment.environment,
            folder,
            k6,
            progress=Silent(),
            alive=attachment.alive,
            on_started=lambda pid: sampler.add("k6", pid),
        )
    finally:
        sampler.stop()
    machine = machine_use(folder.file("machine.jsonl"), steady_window(load, plan.profile.load))
    return measure(load.transactions, load, plan.profile, machine)


def held(measured: Measurement, tps: float) -> bool:
    """Say whether the step held its rate, and print it."""
    p95_ms = measured.e2e.p95_ms
    ok = measured.tps >= tps and not measured.failures and p95_ms is not None and p95_ms < P95_MOST_MS
    machine = measured.machine
    foreign = (
        f"foreign {machine.foreign_cores:.2f} cores, steal {machine.steal_percent:.1f} %" if machine else ""
    )
    print(
        f"  {tps:6.1f} TPS asked: {measured.tps:6.1f} completed, p50 {measured.e2e.p50_ms or 0:.0f} ms, "
        f"p95 {p95_ms or 0:.0f} ms, {measured.success_percent:.2f} % success, {foreign}: "
        f"{'held' if ok else 'not held'}",
        flush=True,
    )
    return ok


def crypto_limit_tps(cores: int) -> float:
    """Return how many transactions per second the cores could sign and verify, doing nothing else."""
    keys = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(8)]
    message, scheme, digest = os.urandom(1400), padding.PKCS1v15(), hashes.SHA256()
    signatures = [key.sign(message, scheme, digest) for key in keys]
    began = time.process_time()
    for turn in range(400):
        keys[turn % 8].sign(message, scheme, digest)
    sign_s = (time.process_time() - began) / 400
    publics = [key.public_key() for key in keys]
    began = time.process_time()
    for turn in range(4000):
        publics[turn % 8].verify(signatures[turn % 8], message, scheme, digest)
    verify_s = (time.process_time() - began) / 4000
    print(f"  RS256 here: {sign_s * 1e6:.0f} us per signature, {verify_s * 1e6:.0f} us per verification")
    return cores / (SIGNATURES * sign_s + VERIFICATIONS * verify_s)


def search(attachment: Attachment, k6: K6, output: Path) -> tuple[float, Measurement | None]:
    """Return the highest rate that was held, and what was measured at it."""
    low, best = 0.0, None
    high, rate = float("inf"), FIRST_TPS
    while high - low > PRECISION_TPS:
        measured = try_rate(plan_for(rate, output), attachment, k6)
        if held(measured, rate):
            low, best = rate, measured
        else:
            high = rate
        rate = low * 2 if high == float("inf") else round((low + high) / 2, 1)
    return low, best


def main() -> None:
    """Measure and print."""
    k6 = locate_k6(None, install=True, progress=Silent())
    with tempfile.TemporaryDirectory() as name:
        output = Path(name)
        plan = plan_for(FIRST_TPS, output)
        folder = RunFolder.create(plan.run_folder)
        attachment = EmbeddedBackend().attach(plan, folder, Silent())
        try:
            roster = onboard(plan, attachment.environment, progress=Silent())
            print(f"  onboarded {len(roster.dfsps)} DFSPs in {roster.took_s:.1f} s ({roster.calls} calls)")
            tps, best = search(attachment, k6, output)
        finally:
            attachment.close()
    cores = os.cpu_count() or 1
    limit = crypto_limit_tps(cores)
    print(
        f"TPS held: {tps:.0f} on {cores} cores, {tps / limit:.2f} of the {limit:.0f} that crypto alone allows"
    )
    if best is not None and best.machine is not None:
        for use in sorted(best.machine.processes, key=lambda each: -each.cpu_cores):
            print(f"  {use.name}: {use.cpu_cores / best.tps * 1000:.2f} ms CPU per transaction")


if __name__ == "__main__":
    main()
