"""Tells the hub's oracle which MSISDNs belong to a DFSP, in the DFSP's own name, and reads them back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pytest_mojaloop_perf.errors import InfrastructureError, WaitTimeoutError
from pytest_mojaloop_perf.fspiop.admin import Accepted, Admin, NoAnswerError, Step, error_code
from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.sender import Sender
from pytest_mojaloop_perf.model import Dfsp, HubUrls
from pytest_mojaloop_perf.onboard.parallel import in_parallel
from pytest_mojaloop_perf.progress import Progress

__all__ = ["MSISDNS_PER_REQUEST", "batch_step", "ensure_msisdns", "single_step"]

MSISDNS_PER_REQUEST = 500
READ_BACK_TIMEOUT_S = 60.0
_INTERVAL_S = 0.05
_AT_ONCE = 16
# How a hub says that it does not serve a resource.
_NOT_SERVED = (404, 405, 501)
_UNKNOWN = (400, 404)


def batch_step(als_url: str, dfsp: Dfsp, msisdns: Sequence[str]) -> Step:
    """Return the FSPIOP request that registers many MSISDNs; its id follows from what it holds."""
    parties = [
        {"partyIdType": "MSISDN", "partyIdentifier": msisdn, "fspId": dfsp.fsp_id} for msisdn in msisdns
    ]
    request_id = uuid.uuid5(uuid.NAMESPACE_OID, f"{dfsp.fsp_id} {dfsp.currency} {' '.join(msisdns)}")
    return Step(
        name=f"{len(msisdns)} MSISDNs of {dfsp.fsp_id}",
        method="POST",
        url=f"{als_url}/participants",
        body={"requestId": str(request_id), "partyList": parties, "currency": dfsp.currency},
        headers=(("fspiop-source", dfsp.fsp_id),),
        accepted=(Accepted(status=202),),
    )


def single_step(als_url: str, dfsp: Dfsp, msisdn: str) -> Step:
    """Return the FSPIOP request that registers one MSISDN."""
    return Step(
        name=f"MSISDN {msisdn} of {dfsp.fsp_id}",
        method="POST",
        url=f"{als_url}/participants/MSISDN/{msisdn}",
        body={"fspId": dfsp.fsp_id, "currency": dfsp.currency},
        headers=(("fspiop-source", dfsp.fsp_id),),
        accepted=(Accepted(status=202),),
    )


async def ensure_msisdns(
    admin: Admin, sender: Sender, hub: HubUrls, dfsp: Dfsp, *, progress: Progress
) -> None:
    """Register every MSISDN of a DFSP that the oracle does not have, and wait until it has them.

    Where the oracle cannot be reached from here, all are registered and the look-ups of the roster must do.

    Raises:
        InfrastructureError: a request was refused.
        WaitTimeoutError: the oracle does not have them all in time.
    """
    msisdns = dfsp.msisdns()
    try:
        missing = await _missing_at_first(admin, hub, dfsp, msisdns)
    except NoAnswerError as error:
        progress.say(f"MSISDNs of {dfsp.fsp_id} are not read back: {error.problem}")
        await _register(admin, sender, hub, dfsp, msisdns)
        return
    admin.already += len(msisdns) - len(missing)
    if missing:
        await _register(admin, sender, hub, dfsp, missing)
        await _read_back(admin, hub, dfsp, missing)


async def _missing_at_first(
    admin: Admin, hub: HubUrls, dfsp: Dfsp, msisdns: tuple[str, ...]
) -> tuple[str, ...]:
    """Return those that the oracle does not have; if first, middle and last lack, then all are taken to."""
    sample = {msisdns[0], msisdns[len(msisdns) // 2], msisdns[-1]}
    if len(await _missing(admin, hub, dfsp, sample)) == len(sample):
        return msisdns
    return await _missing(admin, hub, dfsp, msisdns)


async def _register(admin: Admin, sender: Sender, hub: HubUrls, dfsp: Dfsp, msisdns: tuple[str, ...]) -> None:
    batches = [
        batch_step(hub.als_url, dfsp, msisdns[first : first + MSISDNS_PER_REQUEST])
        for first in range(0, len(msisdns), MSISDNS_PER_REQUEST)
    ]
    if await _send(admin, sender, batches[0], not_served=_NOT_SERVED):
        await in_parallel(batches[1:], lambda step: _send(admin, sender, step), at_once=_AT_ONCE)
    else:
        singles = [single_step(hub.als_url, dfsp, msisdn) for msisdn in msisdns]
        await in_parallel(singles, lambda step: _send(admin, sender, step), at_once=_AT_ONCE)


async def _send(admin: Admin, sender: Sender, step: Step, *, not_served: tuple[int, ...] = ()) -> bool:
    """Send a step in the sender's name; return False when the hub does not serve the resource."""
    own = Admin(sender.client)
    try:
        response = await own.send(
            step, headers=sender.headers(step.method, step.url, encode_sorted(step.body))
        )
    finally:
        admin.calls += own.calls
    if response.status in not_served:
        return False
    admin.judge(step, response)
    return True


async def _read_back(admin: Admin, hub: HubUrls, dfsp: Dfsp, msisdns: tuple[str, ...]) -> None:
    deadline = time.monotonic() + READ_BACK_TIMEOUT_S
    missing = msisdns
    while missing := await _missing(admin, hub, dfsp, missing):
        if time.monotonic() > deadline:
            raise WaitTimeoutError(
                f"the oracle lacks {len(missing)} of {len(msisdns)} MSISDNs of {dfsp.fsp_id} after "
                f"{READ_BACK_TIMEOUT_S:g}s, {missing[0]} first, expected all to belong to it",
                remedy="see the callbacks PUT /participants in the DFSP's log for what the oracle refused",
            )
        await asyncio.sleep(_INTERVAL_S)


async def _missing(admin: Admin, hub: HubUrls, dfsp: Dfsp, msisdns: Iterable[str]) -> tuple[str, ...]:
    """Return those MSISDNs that the oracle does not give to this DFSP, in order."""

    async def lacks(msisdn: str) -> str | None:
        step = Step(
            name=f"oracle entry {msisdn}",
            method="GET",
            url=f"{hub.oracle_url}/participants/MSISDN/{msisdn}",
            accepted=(Accepted(status=200),),
        )
        response = await admin.send(step)
        if response.status in _UNKNOWN and (not response.body or error_code(response.body) is not None):
            return msisdn
        return None if _owned(admin.judge(step, response).body, dfsp.fsp_id) else msisdn

    return tuple(found for found in await in_parallel(msisdns, lacks, at_once=_AT_ONCE) if found is not None)


def _owned(body: Any, fsp_id: str) -> bool:
    try:
        return any(party["fspId"] == fsp_id for party in body["partyList"])
    except (TypeError, KeyError) as error:
        raise InfrastructureError(
            "the oracle's answer has another form than expected",
            remedy="see that oracle_url is the address of an MSISDN oracle",
            evidence=msgspec.json.encode(body)[:300].decode(),
        ) from error
