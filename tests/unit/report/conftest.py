"""Made-up runs that look like real ones: eight DFSPs, 13 pairs, every outcome, every part missing in turn."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pytest_mojaloop_perf.assets import asset
from pytest_mojaloop_perf.model import (
    Dfsp,
    DfspEndpoints,
    Environment,
    Gate,
    HubUrls,
    Interval,
    Latency,
    LoadRun,
    LoadShape,
    MachineUse,
    Matrix,
    Measurement,
    Objective,
    ObjectiveResult,
    OnboardedDfsp,
    Pair,
    PairMeasurement,
    Plan,
    ProbeResult,
    ProcessInfo,
    ProcessUse,
    Profile,
    Reconciliation,
    ReconciliationDefect,
    Roster,
    Second,
    SecurityObserved,
    Verdict,
    Window,
)
from pytest_mojaloop_perf.report.bundle import RunBundle

START_MS = 1_772_366_400_000.0
NAMES = [f"fsp20{number}" for number in range(1, 9)]
OUTBOUND = "http://127.0.0.1"
PROBES: list[tuple[str, str, str]] = [
    ("no client certificate", "mtls", "TLS handshake refused"),
    ("certificate of a foreign CA", "mtls", "TLS handshake refused"),
    ("certificate of another DFSP", "mtls", "HTTP 403, error 3001"),
    ("no FSPIOP-Signature", "jws", "HTTP 400, error 3102"),
    ("signature of another key", "jws", "HTTP 400, error 3105"),
    ("altered body", "jws", "HTTP 400, error 3105"),
    ("altered FSPIOP-Destination", "jws", "HTTP 400, error 3105"),
    ("wrong condition", "ilp", "error callback 3106"),
    ("wrong fulfilment", "ilp", "error callback 3106, transfer aborted"),
]
Make = Callable[..., RunBundle]


def _latency(p50: float, count: int) -> Latency:
    enough = count >= 1000
    return Latency(
        count=count,
        mean_ms=p50 * 1.13,
        p50_ms=p50 if count >= 20 else None,
        p90_ms=p50 * 1.7 if count >= 100 else None,
        p95_ms=p50 * 2.05 if count >= 200 else None,
        p99_ms=p50 * 3.1 if enough else None,
        max_ms=p50 * 7.7,
    )


def _histogram(p50: float, count: int) -> tuple[tuple[float, int], ...]:
    bounds = [0.5 * 2 ** (step / 4) for step in range(60)]
    weights = [math.exp(-((math.log(bound / p50) / 0.42) ** 2) / 2) for bound in bounds]
    total = sum(weights)
    bins = [(round(b, 4), round(count * w / total)) for b, w in zip(bounds, weights, strict=True)]
    used = [index for index, (_, n) in enumerate(bins) if n]
    return tuple(bins[used[0] : used[-1] + 1])


def _plan(folder: Path, tps: float, duration_s: float) -> Plan:
    long = duration_s > 300
    shape = LoadShape(
        tps=tps, duration_s=duration_s, warmup_s=300 if long else 10, cooldown_s=120 if long else 5
    )
    document = msgspec.yaml.decode(asset("fixtures/matrices/asymmetric.yaml").read_bytes())
    pairs = tuple(Pair(**pair) for pair in document["pairs"])
    objectives = (
        Objective(metric="tps", op=">=", limit=tps),
        Objective(metric="success_percent", op=">", limit=99.5),
        Objective(metric="e2e_p95_ms", op="<", limit=500),
        Objective(metric="unanswered_percent", op="<", limit=0.05),
    )
    profile = Profile(
        name="embedded",
        summary="the reference switch on one machine, at a rate that a laptop holds",
        load=shape,
        objectives=objectives,
    )
    return Plan(
        run_id="20260301-120000-7f3a",
        created="2026-03-01T12:00:00Z",
        target="embedded",
        target_reason="docker, kind and helm are not all usable",
        switch="reference",
        kind="perf",
        profile=profile,
        matrix=Matrix(name="asymmetric", pairs=pairs),
        dfsps=tuple(
            Dfsp(fsp_id=name, roles=("payer",) if index % 2 == 0 else ("payee",), msisdn_first="17039811918")
            for index, name in enumerate(NAMES)
        ),
        seed=20260301,
        run_folder=folder,
    )


def _environment() -> Environment:
    base = f"{OUTBOUND}:41000"
    return Environment(
        run_id="20260301-120000-7f3a",
        target="embedded",
        switch="reference",
        switch_version="0.1.0",
        hub=HubUrls(
            admin_url=base,
            als_admin_url=base,
            oracle_url=f"{base}/oracle",
            als_url="https://127.0.0.1:41001",
            quotes_url="https://127.0.0.1:41001",
            transfers_url="https://127.0.0.1:41001",
        ),
        dfsps=tuple(
            DfspEndpoints(
                fsp_id=name,
                outbound_url=f"{OUTBOUND}:42{index:03}",
                callback_url=f"https://127.0.0.1:43{index:03}",
            )
            for index, name in enumerate(NAMES)
        ),
        processes=(
            ProcessInfo(name="hub", role="hub", pid=4001, version="0.1.0"),
            ProcessInfo(name="dfsps", role="dfsp", pid=4002, version="0.1.0"),
        ),
    )


def _roster() -> Roster:
    return Roster(
        dfsps=tuple(
            OnboardedDfsp(
                fsp_id=name,
                currency="XXX",
                position_account_id=index,
                settlement_account_id=100 + index,
                position="0",
                settlement="-100000000",
                ndc="100000000",
                endpoints=("FSPIOP_CALLBACK_URL_PARTIES_GET",),
                msisdn_first="17039811918",
                msisdn_count=1,
            )
            for index, name in enumerate(NAMES)
        ),
        calls=312,
        already=0,
        took_s=1.9,
    )


def _seconds(plan: Plan, p50: float, tps_share: float, failing: float) -> tuple[Second, ...]:
    dice = random.Random(plan.seed)
    shape = plan.profile.load
    seconds = []
    for at in range(round(shape.duration_s) + 2):
        arrivals = round(shape.offered_tps) if at < shape.duration_s else 0
        warm = 1 + 1.6 * math.exp(-at / 4)
        jitter = 1 + 0.12 * dice.random() + (1.9 if dice.random() < 0.012 else 0)
        ramp = min(1.0, 0.8 + at / 20)
        committed = round(shape.offered_tps * tps_share * ramp * (0.96 + 0.08 * dice.random()))
        seconds.append(
            Second(
                at_s=float(at),
                arrivals=arrivals,
                committed=committed if arrivals else round(committed * 0.3),
                failed=round(arrivals * failing * 2 * dice.random()),
                e2e_p50_ms=p50 * warm * (0.95 + 0.1 * dice.random()) if arrivals else None,
                e2e_p95_ms=p50 * 2.05 * warm * jitter if arrivals else None,
            )
        )
    return tuple(seconds)


def _machine() -> MachineUse:
    uses = (("hub", 0.61, 92), ("dfsps", 0.74, 118), ("k6", 0.22, 141), ("pytest", 0.03, 96))
    return MachineUse(
        cores=2,
        busy_cores=1.68,
        foreign_cores=0.08,
        steal_percent=0.3,
        processes=tuple(
            ProcessUse(name=name, cpu_cores=cores, memory_peak_bytes=mebibytes << 20, threads=8)
            for name, cores, mebibytes in uses
        ),
        samples=45,
    )


def _pairs(plan: Plan, scheduled: int, p50: float, failing: float) -> tuple[PairMeasurement, ...]:
    pairs = []
    for index, pair in enumerate(plan.matrix.pairs):
        count = round(scheduled * pair.weight_percent / 100)
        committed = round(count * (1 - failing))
        slower = p50 * (1 + 0.03 * index)
        pairs.append(
            PairMeasurement(
                payer=pair.payer,
                payee=pair.payee,
                scheduled=count,
                committed=committed,
                success_percent=100.0 * committed / count,
                e2e=_latency(slower, committed),
                discovery=_latency(slower * 0.2, committed),
                quote=_latency(slower * 0.35, committed),
                transfer=_latency(slower * 0.45, committed),
            )
        )
    return tuple(pairs)


def _measurement(plan: Plan, outcome: str) -> Measurement:
    shape, is_fail = plan.profile.load, outcome == "FAIL"
    p50, share, failing = (331.0, 0.86, 0.031) if is_fail else (84.0, 1.0, 0.0002)
    scheduled = round(shape.offered_tps * shape.window_s)
    committed = round(scheduled * share * (1 - failing))
    legs = {"discovery": p50 * 0.2, "quote": p50 * 0.35, "transfer": p50 * 0.45}
    shapes = {**legs, "e2e": p50, "service": p50 * 0.97}
    failures = (
        (("transfer:4001", 61), ("transfer:timeout", 22), ("quote:http-503", 5))
        if is_fail
        else (("transfer:timeout", 1),)
    )
    tps = shape.offered_tps * share * (1 - failing)
    return Measurement(
        window=Window(
            start_ms=START_MS + shape.warmup_s * 1000,
            end_ms=START_MS + (shape.duration_s - shape.cooldown_s) * 1000,
        ),
        offered_tps=shape.offered_tps,
        scheduled=scheduled,
        arrivals_percent=93.7 if outcome == "INVALID" else 100.0,
        tps=tps,
        success_percent=100 * (1 - failing),
        unanswered_percent=0.9 if is_fail else 0.0,
        committed=committed,
        failures=failures,
        e2e=_latency(p50, committed),
        service=_latency(p50 * 0.97, committed),
        legs=tuple((name, _latency(value, committed)) for name, value in legs.items()),
        pairs=_pairs(plan, scheduled, p50, failing),
        seconds=_seconds(plan, p50, share, failing),
        histograms=tuple((name, _histogram(value, committed)) for name, value in shapes.items()),
        e2e_p95_interval=Interval(low=p50 * 1.98, high=p50 * 2.13),
        success_interval=Interval(low=100 * (1 - failing) - 0.2, high=min(100.0, 100 * (1 - failing) + 0.1)),
        start_lateness_p99_ms=2.4,
        seconds_below_target_percent=71.1 if is_fail else 4.4,
        machine=_machine(),
    )


def _gates(outcome: str) -> tuple[Gate, ...]:
    broken = outcome == "INVALID"
    return (
        Gate(
            name="arrivals delivered",
            wanted=">= 99 %",
            observed="93.7 %" if broken else "100 %",
            ok=not broken,
            explanation="k6 had no free CPU: 6.3 % of the scheduled arrivals were never started",
        ),
        Gate(
            name="generator not starved",
            wanted="<= 90 % of its cores",
            observed="99 %" if broken else "22 %",
            ok=not broken,
        ),
        Gate(name="no record lost", wanted="0", observed="0", ok=True),
        Gate(name="steady window", wanted=">= 10 s", observed="45 s", ok=True),
        Gate(name="foreign CPU use", wanted="<= 0.5 cores", observed="0.08 cores", ok=True),
        Gate(name="ledger readable", wanted="yes", observed="yes", ok=True),
    )


def _verdict(plan: Plan, measured: Measurement, outcome: str) -> Verdict:
    sentences = {
        "PASS": f"PASS: All 4 objectives were met: {measured.tps:.1f} TPS, 99.98 % success, p95 172.2 ms.",
        "FAIL": "FAIL: 2 of 4 objectives missed: the hub answered more slowly than transactions came.",
        "INVALID": "INVALID: the generator was starved of CPU and started 93.7 % of its arrivals.",
    }
    values: dict[str, tuple[float | None, Interval | None]] = {
        "tps": (measured.tps, None),
        "success_percent": (measured.success_percent, measured.success_interval),
        "e2e_p95_ms": (measured.e2e.p95_ms, measured.e2e_p95_interval),
        "unanswered_percent": (measured.unanswered_percent, None),
    }
    results = []
    for objective in plan.profile.objectives:
        value, interval = values[objective.metric]
        met = outcome != "FAIL" or value is None
        why = "" if met else "the hub used 0.98 of the 1 core that it can use"
        results.append(
            ObjectiveResult(objective=objective, measured=value, met=met, interval=interval, explanation=why)
        )
    return Verdict(
        outcome=outcome,  # type: ignore[arg-type] # the parameter of a test
        sentence=sentences[outcome],
        gates=_gates(outcome),
        objectives=tuple(results),
        bottleneck="" if outcome == "PASS" else "the hub's CPU: 0.98 of the 1 core that it can use",
    )


def _security(*, refused: bool) -> tuple[SecurityObserved, ...]:
    def probes(*, all_refused: bool) -> tuple[ProbeResult, ...]:
        return tuple(
            ProbeResult(
                name=name,
                control=control,  # type: ignore[arg-type] # one of the three, see PROBES
                expected=expected,
                observed=expected if all_refused or control != "jws" else "HTTP 202, accepted",
                refused=all_refused or control != "jws",
                moved_money=not all_refused and name == "altered body",
            )
            for name, control, expected in PROBES
        )

    return (
        SecurityObserved(when="before", probes=probes(all_refused=True)),
        SecurityObserved(when="after", probes=probes(all_refused=refused)),
    )


def _reconciliation(measured: Measurement, *, conserved: bool) -> Reconciliation:
    defect = ReconciliationDefect(
        check="booked-once",
        name="a transfer changed a position twice",
        count=2,
        sample=("2f1d7a36-1b7e-4c51-9c3a-0d0f6f1f5f11", "a2c4b3de-90a1-4f0f-8f3b-8f26c1b0a7e4"),
        detail="two commit-payee rows for one transferId",
    )
    return Reconciliation(
        transfers=measured.committed + 61,
        committed=measured.committed,
        aborted=61,
        in_flight=0,
        committed_but_payer_saw_error=3,
        defects=() if conserved else (defect,),
        sources=("k6", "hub ledger", "DFSP views"),
    )


def _load(plan: Plan) -> LoadRun:
    shape = plan.profile.load
    arrivals = round(shape.offered_tps * shape.duration_s)
    return LoadRun(
        ended="ok",
        started_ms=START_MS - 400,
        ended_ms=START_MS + shape.duration_s * 1000 + 900,
        first_arrival_ms=START_MS,
        offered_tps=shape.offered_tps,
        planned_arrivals=arrivals,
        iterations=arrivals,
        dropped=0,
        interrupted=0,
        records_lost=0,
        vus_max=520,
        vus_peak=31,
        transactions=Path("transactions.parquet"),
        k6_version="1.8.1",
        k6_path="/usr/local/bin/k6",
        script_sha256="9b2c" * 16,
        seed=plan.seed,
    )


def build(folder: Path, outcome: str = "PASS", tps: float = 50, duration_s: float = 60) -> RunBundle:
    """Return a complete run with that outcome."""
    plan = _plan(folder, tps, duration_s)
    measured = _measurement(plan, outcome)
    good = outcome != "FAIL"
    return RunBundle(
        plan=plan,
        run_folder=folder,
        environment=_environment(),
        roster=_roster(),
        load=_load(plan),
        measurement=measured,
        verdict=_verdict(plan, measured, outcome),
        security=_security(refused=good),
        reconciliation=_reconciliation(measured, conserved=good),
        versions={"k6": "1.8.1", "python": "3.11.7", "kernel": "Linux 6.1.0", "cpu": "Made-up CPU 2.4 GHz"},
    )


@pytest.fixture
def make_bundle(tmp_path: Path) -> Make:
    """Return what makes a run in this test's folder: `make_bundle("FAIL", tps=1000, duration_s=1620)`."""
    folder = tmp_path / "run"
    folder.mkdir()

    def make(outcome: str = "PASS", tps: float = 50, duration_s: float = 60) -> RunBundle:
        return build(folder, outcome, tps, duration_s)

    return make
