"""The frozen values that pass between the stages, and their versioned JSON.

`Plan -> Environment -> Roster -> LoadRun -> Measurement -> Verdict`: each stage takes values of this module
and returns one. None of them holds a secret: key material is named by path only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

__all__ = [
    "ARRIVAL_BLUR_MS",
    "COMMITTED",
    "GENERATOR",
    "LEGS",
    "PROBE_FSPS",
    "AccountBalance",
    "Dfsp",
    "DfspEndpoints",
    "Environment",
    "Fault",
    "Gate",
    "HubUrls",
    "Interval",
    "Latency",
    "LedgerSnapshot",
    "LegName",
    "LoadRun",
    "LoadShape",
    "MachineUse",
    "Matrix",
    "Measurement",
    "Objective",
    "ObjectiveResult",
    "OnboardedDfsp",
    "Pair",
    "PairMeasurement",
    "Plan",
    "ProbeResult",
    "ProcessInfo",
    "ProcessUse",
    "Profile",
    "Reconciliation",
    "ReconciliationDefect",
    "Roster",
    "Second",
    "SecurityObserved",
    "SecurityProfile",
    "ValidityLimits",
    "Value",
    "Verdict",
    "Window",
]

LegName = Literal["discovery", "quote", "transfer"]
LEGS: tuple[LegName, ...] = ("discovery", "quote", "transfer")
COMMITTED = "COMMITTED"
"""The one outcome of a transaction that counts as success; every other outcome names a failure class."""
ARRIVAL_BLUR_MS = 1500.0
"""After a dropped arrival, later ones may seem scheduled this much too early at most (see `load.records`)."""
GENERATOR = "k6"
"""Name of the load generator among the processes that are accounted for."""
PROBE_FSPS: tuple[str, str] = ("fspprobea", "fspprobeb")
"""Payer and payee that only the security probes use; security material is made for them too."""


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all values: immutable, keyword-only, refusing unknown members when read from a file.

    A subclass repeats `frozen=True, kw_only=True`: type checkers and msgspec want it said again.
    """


# --- what is wanted ---


class Dfsp(Value, frozen=True, kw_only=True):
    """One DFSP as `fixtures/dfsps.yaml` describes it. MSISDNs are `msisdn_first .. + msisdn_count - 1`."""

    fsp_id: str
    roles: tuple[Literal["payer", "payee"], ...]
    msisdn_first: str
    msisdn_count: int = 1
    currency: str = "XXX"
    ndc: str = "100000000"
    funds_in: str = "100000000"

    def msisdns(self) -> tuple[str, ...]:
        """Return every MSISDN of this DFSP, in ascending order."""
        first = int(self.msisdn_first)
        return tuple(str(first + offset) for offset in range(self.msisdn_count))


class Pair(Value, frozen=True, kw_only=True):
    """A payer and a payee with their share of all transactions."""

    payer: str
    payee: str
    weight_percent: float


class Matrix(Value, frozen=True, kw_only=True):
    """The asymmetric mix: who pays whom, how often, and how much. Weights add up to 100."""

    name: str
    pairs: tuple[Pair, ...]
    amount: str = "1"
    currency: str = "XXX"


class LoadShape(Value, frozen=True, kw_only=True):
    """An open model: transactions arrive at a constant rate, whatever the switch does.

    `tps` is the rate to prove; `offered_percent` of it is offered, so that "at least" can be met by counting.
    The steady window is `[start + warmup_s, start + duration_s - cooldown_s)`. `drain_s` bounds the wait for
    transactions in flight after the last arrival. `vus` is how many transactions may be in flight at once in
    the generator (None: worked out from rate and timeout).
    """

    tps: float
    duration_s: float
    warmup_s: float
    cooldown_s: float
    drain_s: float = 35.0
    offered_percent: float = 101.0
    request_timeout_s: float = 30.0
    vus: int | None = None

    @property
    def offered_tps(self) -> float:
        """Scheduled arrivals per second."""
        return self.tps * self.offered_percent / 100.0

    @property
    def window_s(self) -> float:
        """Length of the steady window, seconds."""
        return self.duration_s - self.warmup_s - self.cooldown_s


class SecurityProfile(Value, frozen=True, kw_only=True):
    """What is wanted of security. What is in force is observed (`SecurityObserved`)."""

    mtls: bool = True
    jws: Literal["RS256", "ES256", "off"] = "RS256"
    ilp: Literal["1", "4"] = "1"


class Objective(Value, frozen=True, kw_only=True):
    """One SLO. `metric` is `tps`, `success_percent`, `unanswered_percent` or `<what>_<stat>_ms`.

    `<what>` is `e2e`, `service`, `discovery`, `quote` or `transfer`; `<stat>` is p50, p90, p95, p99 or max.
    """

    metric: str
    op: Literal[">=", ">", "<=", "<"]
    limit: float


class ValidityLimits(Value, frozen=True, kw_only=True):
    """When a run can support a conclusion. CPU figures are cores, averaged over the steady window."""

    arrivals_min_percent: float = 99.0
    start_lateness_p99_max_ms: float = 100.0
    generator_busy_max_percent: float = 90.0
    foreign_cpu_max_cores: float = 0.5
    steal_max_percent: float = 5.0
    window_min_s: float = 10.0
    samples_min: int = 200


class Profile(Value, frozen=True, kw_only=True):
    """Objectives, load shape, security and validity limits: one YAML file under `fixtures/profiles/`."""

    name: str
    summary: str
    load: LoadShape
    objectives: tuple[Objective, ...]
    security: SecurityProfile = SecurityProfile()
    validity: ValidityLimits = ValidityLimits()
    matrix: str = "asymmetric"
    dfsps: str = "dfsps"


class Fault(Value, frozen=True, kw_only=True):
    """A documented defect that is switched on in the reference switch (or the generator) to prove a gate."""

    name: str
    parameter: str | None = None


class Plan(Value, frozen=True, kw_only=True):
    """Everything that is decided before anything is started."""

    run_id: str
    created: str
    target: Literal["embedded", "kind", "existing", "aws"]
    target_reason: str
    switch: Literal["reference", "mojaloop", "installed"]
    kind: Literal["perf", "smoke"]
    profile: Profile
    matrix: Matrix
    dfsps: tuple[Dfsp, ...]
    seed: int
    run_folder: Path
    keep: Literal["never", "on-failure", "always"] = "never"
    keep_for_s: float = 7200.0
    reuse: str | None = None
    faults: tuple[Fault, ...] = ()
    k6: str | None = None
    k6_install: bool = True

    def payees(self) -> tuple[Dfsp, ...]:
        """Return the DFSPs that receive."""
        return tuple(dfsp for dfsp in self.dfsps if "payee" in dfsp.roles)


# --- what there is ---


class HubUrls(Value, frozen=True, kw_only=True):
    """Where a hub answers, each without a trailing slash. In the reference hub several share a port.

    `admin_url`: central-ledger admin; `als_admin_url`: oracles; `oracle_url`: the MSISDN oracle as the hub
    reaches it; `als_url`, `quotes_url`, `transfers_url`: FSPIOP; `metrics_url`: Prometheus page.
    """

    admin_url: str
    als_admin_url: str
    oracle_url: str
    als_url: str
    quotes_url: str
    transfers_url: str
    metrics_url: str | None = None


class DfspEndpoints(Value, frozen=True, kw_only=True):
    """Where a DFSP answers.

    `outbound_url`: the SDK's synchronous API (plain HTTP, k6 talks to it); `callback_url`: its FSPIOP inbound
    base as the hub reaches it; `ledger_url`: its own view of transfers, for reconciliation, where it has one.
    """

    fsp_id: str
    outbound_url: str
    callback_url: str
    ledger_url: str | None = None
    metrics_url: str | None = None


class ProcessInfo(Value, frozen=True, kw_only=True):
    """A process of the environment, for resource accounting and for naming what ran out."""

    name: str
    role: Literal["hub", "dfsp", "host"]
    pid: int
    version: str
    listen: tuple[str, ...] = ()


class Environment(Value, frozen=True, kw_only=True):
    """What every target produces; nothing after provisioning knows which target it came from.

    `security_folder` holds per-run material in the layout of `fspiop.pki` (None: not ours to know);
    `ledger` is a SQLite file that reconciliation may read, or None.
    """

    run_id: str
    target: str
    switch: str
    switch_version: str
    hub: HubUrls
    dfsps: tuple[DfspEndpoints, ...]
    processes: tuple[ProcessInfo, ...] = ()
    security_folder: Path | None = None
    ledger: Path | None = None
    control: str | None = None

    def dfsp(self, fsp_id: str) -> DfspEndpoints:
        """Return one DFSP's endpoints."""
        return next(endpoints for endpoints in self.dfsps if endpoints.fsp_id == fsp_id)


class OnboardedDfsp(Value, frozen=True, kw_only=True):
    """A DFSP as read back from the hub after onboarding. Amounts are decimal text in `currency`."""

    fsp_id: str
    currency: str
    position_account_id: int
    settlement_account_id: int
    position: str
    settlement: str
    ndc: str
    endpoints: tuple[str, ...]
    msisdn_first: str
    msisdn_count: int
    looked_up: str | None = None


class Roster(Value, frozen=True, kw_only=True):
    """All DFSPs, verified: accounts active, NDC, funds, endpoints, one look-up per payee."""

    dfsps: tuple[OnboardedDfsp, ...]
    calls: int
    already: int
    took_s: float


class ProbeResult(Value, frozen=True, kw_only=True):
    """One negative probe: a message that must be refused, and how it was answered.

    `control` is one of mtls, jws, ilp; `refused` says that it was refused in the way the protocol says;
    `moved_money` says that a position changed because of it. `ran=False`: it was not sent, for the reason
    that `observed` gives; then `refused` proves nothing.
    """

    name: str
    control: Literal["mtls", "jws", "ilp"]
    expected: str
    observed: str
    refused: bool
    moved_money: bool = False
    ran: bool = True


class SecurityObserved(Value, frozen=True, kw_only=True):
    """What the probes saw, before or after the load."""

    when: Literal["before", "after"]
    probes: tuple[ProbeResult, ...]


# --- what happened ---


class LoadRun(Value, frozen=True, kw_only=True):
    """What the generator did. Times are epoch milliseconds of this machine's clock.

    `transactions` is a Parquet file with one row per started transaction (columns: `load.records.SCHEMA`).
    `dropped`: arrivals for which no VU was free; `interrupted`: started, not ended when the run ended;
    `records_lost`: iterations that k6 counted and whose record is missing.
    """

    ended: Literal["ok", "threshold", "script-error", "setup-failed", "aborted", "killed", "failed"]
    ended_detail: str = ""
    started_ms: float
    ended_ms: float
    first_arrival_ms: float
    offered_tps: float
    planned_arrivals: int
    iterations: int
    dropped: int
    interrupted: int
    records_lost: int
    vus_max: int
    vus_peak: int
    transactions: Path
    k6_version: str
    k6_path: str
    script_sha256: str
    seed: int


class ProcessUse(Value, frozen=True, kw_only=True):
    """CPU (cores, averaged) and peak memory of one process and its children over the steady window.

    `allowed_cores`: how many cores it may use at once (0: not known). `waiting_cores`: threads that were
    ready to run and got no CPU, on average. `stopped_percent`: share of samples that found it stopped.
    """

    name: str
    cpu_cores: float
    memory_peak_bytes: int
    threads: int = 0
    allowed_cores: float = 0.0
    waiting_cores: float = 0.0
    stopped_percent: float = 0.0


class MachineUse(Value, frozen=True, kw_only=True):
    """What this machine did over the steady window; all CPU in cores.

    `foreign_cores`: busy time that is neither ours nor steal; `steal_percent`: of all CPU time.
    `throttled_percent`: share of the time in which a CPU quota held this container back.
    `longest_gap_s`: longest time of the window without a sample.
    """

    cores: int
    busy_cores: float
    foreign_cores: float
    steal_percent: float
    processes: tuple[ProcessUse, ...]
    samples: int
    iowait_percent: float = 0.0
    throttled_percent: float = 0.0
    longest_gap_s: float = 0.0


class Window(Value, frozen=True, kw_only=True):
    """The steady window: the owner of both the count and the duration. Epoch milliseconds, half open."""

    start_ms: float
    end_ms: float

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.end_ms - self.start_ms) / 1000.0


class Latency(Value, frozen=True, kw_only=True):
    """Percentiles in milliseconds, by linear interpolation; None where there are too few samples."""

    count: int
    mean_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None


class Interval(Value, frozen=True, kw_only=True):
    """A confidence interval; `confidence` in percent."""

    low: float
    high: float
    confidence_percent: float = 95.0


class PairMeasurement(Value, frozen=True, kw_only=True):
    """One pair over the window. Latencies are end to end, of successful transactions."""

    payer: str
    payee: str
    scheduled: int
    committed: int
    success_percent: float
    e2e: Latency
    discovery: Latency
    quote: Latency
    transfer: Latency


class Second(Value, frozen=True, kw_only=True):
    """One second of the run, for charts: counts by scheduled arrival and completion, latencies in ms."""

    at_s: float
    arrivals: int
    committed: int
    failed: int
    e2e_p50_ms: float | None = None
    e2e_p95_ms: float | None = None


class Measurement(Value, frozen=True, kw_only=True):
    """What was measured over the steady window.

    `tps`: committed transactions that *ended* within the window, per second of it. `success_percent`:
    committed among those *scheduled* in the window (dropped arrivals count as failed).
    `unanswered_percent`: ended by a timeout, among those scheduled in the window.
    `failures`: (class, count), most frequent first. `seconds_below_target_percent`: share of whole seconds
    of the window in which fewer than `tps` of the profile were committed.
    Latencies are of transactions scheduled in the window *and* committed; those that failed are told by
    `success_percent`, and a latency objective is missed when more went unanswered than its percentile
    leaves out.
    `arrivals_percent`: started among those scheduled in the window. `not_started`: the others;
    `not_started_vus_busy`: those of them about whose moment nearly every VU was waiting for an answer.
    `records`: rows of the whole run; `records_repeated`, `records_broken`: rows that cannot be right.
    `started_early_ms`: how much the earliest start precedes its scheduled arrival (a clock that stepped).
    `in_flight_mean`: transactions begun and not ended, averaged over the window.
    """

    window: Window
    offered_tps: float
    scheduled: int
    arrivals_percent: float
    tps: float
    success_percent: float
    unanswered_percent: float
    committed: int
    failures: tuple[tuple[str, int], ...]
    e2e: Latency
    service: Latency
    legs: tuple[tuple[str, Latency], ...]
    pairs: tuple[PairMeasurement, ...]
    seconds: tuple[Second, ...]
    histograms: tuple[tuple[str, tuple[tuple[float, int], ...]], ...]
    e2e_p95_interval: Interval | None
    success_interval: Interval | None
    start_lateness_p99_ms: float
    seconds_below_target_percent: float
    machine: MachineUse | None = None
    records: int = 0
    records_repeated: int = 0
    records_broken: int = 0
    not_started: int = 0
    not_started_vus_busy: int = 0
    started_early_ms: float = 0.0
    in_flight_mean: float = 0.0

    def leg(self, name: str) -> Latency:
        """Return one leg's latency by name."""
        return dict(self.legs)[name]


class AccountBalance(Value, frozen=True, kw_only=True):
    """One account of the hub's ledger. Amounts are integer ten-thousandths of `currency`."""

    account_id: int
    fsp_id: str
    account_type: str
    currency: str
    value_e4: int
    reserved_e4: int


class LedgerSnapshot(Value, frozen=True, kw_only=True):
    """The hub's ledger before the load: what reconciliation counts from.

    The two ids are the highest of the journals at that moment; everything above them is of the load.
    """

    taken_ms: float
    state_change_id: int
    position_change_id: int
    accounts: tuple[AccountBalance, ...]


class ReconciliationDefect(Value, frozen=True, kw_only=True):
    """A class of disagreement about money, how often it was seen, and a sample of transferIds."""

    check: Literal["booked-once", "aborted-net-zero", "positions-add-up", "parties-agree", "in-flight"]
    name: str
    count: int
    sample: tuple[str, ...] = ()
    detail: str = ""


class Reconciliation(Value, frozen=True, kw_only=True):
    """k6's outcomes, the hub's ledger and the DFSPs' views compared per transferId.

    `committed_but_payer_saw_error`: money that moved while the payer was told otherwise; counted apart,
    not a defect of conservation.
    """

    transfers: int
    committed: int
    aborted: int
    in_flight: int
    committed_but_payer_saw_error: int
    defects: tuple[ReconciliationDefect, ...]
    sources: tuple[str, ...]


# --- what it means ---


class Gate(Value, frozen=True, kw_only=True):
    """A condition under which the run may be judged at all. `ok=False` makes the run INVALID."""

    name: str
    wanted: str
    observed: str
    ok: bool
    explanation: str = ""


class ObjectiveResult(Value, frozen=True, kw_only=True):
    """An objective and what was measured; `measured` is None when too few samples forbid a figure."""

    objective: Objective
    measured: float | None
    met: bool
    interval: Interval | None = None
    explanation: str = ""


class Verdict(Value, frozen=True, kw_only=True):
    """PASS, FAIL or INVALID, and why, in one sentence."""

    outcome: Literal["PASS", "FAIL", "INVALID"]
    sentence: str
    gates: tuple[Gate, ...]
    objectives: tuple[ObjectiveResult, ...]
    bottleneck: str = ""
