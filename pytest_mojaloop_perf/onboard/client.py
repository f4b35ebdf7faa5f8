"""Onboarding: the hub first, then all DFSPs in parallel, then everything read back. Safe to repeat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pytest_mojaloop_perf.fspiop.admin import Admin
from pytest_mojaloop_perf.fspiop.http import Client
from pytest_mojaloop_perf.fspiop.participant import ensure_participant
from pytest_mojaloop_perf.fspiop.sender import Sender
from pytest_mojaloop_perf.model import Dfsp, Environment, Plan, Roster
from pytest_mojaloop_perf.onboard.parallel import in_parallel
from pytest_mojaloop_perf.onboard.parties import ensure_msisdns
from pytest_mojaloop_perf.onboard.roster import verified
from pytest_mojaloop_perf.onboard.steps import calls, currencies, hub_steps
from pytest_mojaloop_perf.progress import Progress

__all__ = ["calls", "onboard"]

_DFSPS_AT_ONCE = 8
_TIMEOUT_S = 40.0

R = TypeVar("R")


def onboard(plan: Plan, environment: Environment, *, progress: Progress) -> Roster:
    """Make the DFSPs of a plan complete on a hub, through its admin APIs only, and return them verified.

    A repetition changes nothing: what exists is accepted, funds are topped up to what is wanted and no more.

    Raises:
        InfrastructureError: a call was refused, or what was read back is not what was wanted.
    """
    return asyncio.run(_onboard(plan, environment, progress))


async def _onboard(plan: Plan, environment: Environment, progress: Progress) -> Roster:
    began = time.monotonic()
    client = Client(timeout_s=_TIMEOUT_S)
    admin = Admin(client)
    try:
        for currency in currencies(plan):
            for step in hub_steps(environment.hub, currency):
                await admin.call(step)
        await _each(
            plan, progress, "onboarding", lambda dfsp: _make(admin, plan, environment, dfsp, progress)
        )
        dfsps = await _each(
            plan, progress, "reading back", lambda dfsp: verified(admin, plan, environment, dfsp)
        )
    finally:
        await client.close()
    return Roster(
        dfsps=tuple(dfsps), calls=admin.calls, already=admin.already, took_s=time.monotonic() - began
    )


async def _make(admin: Admin, plan: Plan, environment: Environment, dfsp: Dfsp, progress: Progress) -> None:
    callback_url = environment.dfsp(dfsp.fsp_id).callback_url
    await ensure_participant(admin, environment.hub.admin_url, dfsp, callback_url)
    sender = Sender.of(dfsp.fsp_id, environment.security_folder, plan.profile.security)
    try:
        await ensure_msisdns(admin, sender, environment.hub, dfsp, progress=progress)
    finally:
        await sender.close()


async def _each(plan: Plan, progress: Progress, stage: str, work: Callable[[Dfsp], Awaitable[R]]) -> list[R]:
    """Do the work for all DFSPs, few at a time; return the results in the plan's order."""
    done = 0

    async def one(dfsp: Dfsp) -> R:
        nonlocal done
        result = await work(dfsp)
        done += 1
        progress.advance(stage, done, len(plan.dfsps), dfsp.fsp_id)
        return result

    return await in_parallel(plan.dfsps, one, at_once=_DFSPS_AT_ONCE)
