"""What is wanted: DFSPs, matrix, load, security, objectives, and the plan made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pytest_mojaloop_perf.model.core import Value

__all__ = [
    "Dfsp",
    "Fault",
    "LoadShape",
    "Matrix",
    "Objective",
    "Pair",
    "Plan",
    "Profile",
    "SecurityProfile",
    "ValidityLimits",
]


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
    offered_percent: float = 102.0
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
