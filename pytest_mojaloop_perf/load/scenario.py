"""From a plan and an environment to the settings of the k6 script: rate, pairs, MSISDNs, ids, bounds."""

from __future__ import annotations

import hashlib
import math

from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.model import Dfsp, Environment, LoadShape, Plan, Value

__all__ = ["MsisdnRange", "PairSettings", "Settings", "arrivals_of", "id_prefix", "make_settings", "vus_of"]

_NS = 1_000_000_000
_IN_FLIGHT_S = 5.0
_VUS_MIN = 20
_VUS_MAX = 4000
_TRANSFER_EXPIRY_MS = 60_000
_GOLDEN = (math.sqrt(5) - 1) / 2


class MsisdnRange(Value, frozen=True, kw_only=True):
    """MSISDNs `first .. first + count - 1`; iteration i takes number `(offset + i * stride) mod count`."""

    first: int
    count: int
    offset: int
    stride: int


class PairSettings(Value, frozen=True, kw_only=True):
    """One pair. `upto` is the sum of all weights up to and with this one."""

    payer: str
    payee: str
    upto: float
    outbound_url: str
    payer_msisdns: MsisdnRange
    payee_msisdns: MsisdnRange


class Settings(Value, frozen=True, kw_only=True):
    """What `k6/transactions.js` reads. Arrival n is due `n * period_ns` after the scenario's start.

    `duration_ns` ends half a period after the last arrival, so that the number of arrivals is exact.
    `deadline_ms` after the start every call still open is given up and recorded; k6 itself would end the
    iteration without a record `drain_ms` after the last arrival. `segment` and `segment_sequence` let
    several instances share the rate (k6's execution segments).
    """

    period_ns: int
    duration_ns: int
    arrivals: int
    drain_ms: int
    deadline_ms: int
    vus: int
    request_timeout_ms: int
    expiry_ms: int
    seed: int
    id_prefix: str
    amount: str
    currency: str
    pairs: tuple[PairSettings, ...]
    summary_file: str
    segment: str | None = None
    segment_sequence: str | None = None


def arrivals_of(load: LoadShape) -> tuple[int, int]:
    """Return (nanoseconds between arrivals, number of arrivals in the whole run)."""
    period_ns = max(1, round(_NS / load.offered_tps))
    return period_ns, max(1, round(load.duration_s * _NS / period_ns))


def vus_of(load: LoadShape) -> int:
    """Return how many transactions may be in flight: the plan's, or enough for 5 s of arrivals.

    Never more than may be in flight when nothing is answered; bounded, as each VU is a JavaScript runtime.
    """
    if load.vus is not None:
        return load.vus
    wanted = math.ceil(load.offered_tps * min(_IN_FLIGHT_S, load.request_timeout_s))
    return min(_VUS_MAX, max(_VUS_MIN, wanted))


def id_prefix(run_id: str, seed: int) -> str:
    """Return 15 upper-case hex digits of this run alone; the first is below 8, as in every ULID."""
    digest = hashlib.sha256(f"{run_id}/{seed}".encode()).hexdigest().upper()
    return f"{int(digest[0], 16) & 7}{digest[1:15]}"


def make_settings(plan: Plan, environment: Environment, *, summary_file: str) -> Settings:
    """Return the settings of a run; they hold no secret.

    Raises:
        BadInputError: the matrix names a DFSP that the plan or the environment does not have, or the load is
            shorter than k6 can make it.
    """
    load = plan.profile.load
    period_ns, arrivals = arrivals_of(load)
    duration_ns = arrivals * period_ns - period_ns // 2
    if duration_ns < _NS:
        raise BadInputError(
            f"the load lasts {load.duration_s:g}s, expected more than one second (k6 refuses less)",
            remedy="choose a longer --perf-duration",
        )
    last_ms = math.ceil((arrivals - 1) * period_ns / 1e6)
    drain_ms = round(load.drain_s * 1000)
    return Settings(
        period_ns=period_ns,
        duration_ns=duration_ns,
        arrivals=arrivals,
        drain_ms=drain_ms,
        # One second, or a tenth of a short drain, before k6 would cut the iteration off.
        deadline_ms=last_ms + drain_ms - min(1000, drain_ms // 10),
        vus=vus_of(load),
        request_timeout_ms=round(load.request_timeout_s * 1000),
        expiry_ms=_TRANSFER_EXPIRY_MS,
        seed=plan.seed & 0xFFFFFFFF,
        id_prefix=id_prefix(plan.run_id, plan.seed),
        amount=plan.matrix.amount,
        currency=plan.matrix.currency,
        pairs=_pairs(plan, environment),
        summary_file=summary_file,
    )


def _pairs(plan: Plan, environment: Environment) -> tuple[PairSettings, ...]:
    dfsps = {dfsp.fsp_id: dfsp for dfsp in plan.dfsps}
    outbound = {endpoints.fsp_id: endpoints.outbound_url for endpoints in environment.dfsps}
    pairs: list[PairSettings] = []
    upto = 0.0
    for pair in plan.matrix.pairs:
        if pair.payer not in outbound or pair.payer not in dfsps or pair.payee not in dfsps:
            raise BadInputError(
                f"the matrix {plan.matrix.name} has the pair {pair.payer} to {pair.payee}, expected both "
                "to be DFSPs of the environment",
                remedy="choose a matrix and a DFSP file that belong together",
            )
        upto += pair.weight_percent
        pairs.append(
            PairSettings(
                payer=pair.payer,
                payee=pair.payee,
                upto=upto,
                outbound_url=outbound[pair.payer].rstrip("/"),
                payer_msisdns=_range(dfsps[pair.payer], plan.seed),
                payee_msisdns=_range(dfsps[pair.payee], plan.seed),
            )
        )
    return tuple(pairs)


def _range(dfsp: Dfsp, seed: int) -> MsisdnRange:
    count = dfsp.msisdn_count
    stride = max(1, round(count * _GOLDEN))
    while math.gcd(stride, count) != 1:
        stride += 1
    digest = hashlib.sha256(f"{seed}/{dfsp.fsp_id}".encode()).digest()
    return MsisdnRange(
        first=int(dfsp.msisdn_first),
        count=count,
        offset=int.from_bytes(digest[:8], "big") % count,
        stride=stride,
    )
