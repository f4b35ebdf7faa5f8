"""Security as observed: bad messages over the network, each of which must be refused and move no money."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.fspiop.http import HttpError
from pytest_mojaloop_perf.model import (
    PROBE_FSPS,
    Environment,
    Plan,
    ProbeResult,
    SecurityObserved,
    SecurityProfile,
)
from pytest_mojaloop_perf.progress import Progress
from pytest_mojaloop_perf.switch.probe_attempts import CONTROLS, PROBES, Attempt, Probe, Seen
from pytest_mojaloop_perf.switch.probe_parties import PAYEE, PAYER, Parties, parties

__all__ = ["probe"]

# An attempt that did not get as far as its question (its callback was lost, the hub aborted the transfer for
# reasons of its own) says nothing: it is made again.
_ATTEMPTS = 3


def probe(
    plan: Plan, environment: Environment, when: Literal["before", "after"], *, progress: Progress
) -> SecurityObserved:
    """Send every bad message and say how it was answered.

    Payer and payee are two participants of our own (`PROBE_FSPS`), which are onboarded here; the payee that
    must refuse a wrong condition is a DFSP of the roster. A probe counts only if the same message unaltered
    was accepted; if it was not, `refused` is False and `observed` says so.

    Args:
        plan: names the security profile; what it leaves out is not probed (`ran=False`).
        environment: names hub, DFSPs and security material; without the material nothing is probed.
        when: before or after the load.
        progress: is told of each probe.

    Raises:
        InfrastructureError: the hub does not answer.
    """
    folder = environment.security_folder
    reason = _no_material(folder)
    if folder is None or reason:
        results = tuple(_not_run(one, reason) for one in PROBES)
    else:
        results = asyncio.run(_probe(plan, environment, folder, progress))
    return SecurityObserved(when=when, probes=results)


async def _probe(
    plan: Plan, environment: Environment, folder: Path, progress: Progress
) -> tuple[ProbeResult, ...]:
    results: list[ProbeResult] = []
    async with parties(plan, environment, folder) as both:
        controls = {name: await _control(both, attempt) for name, attempt in CONTROLS.items()}
        for done, one in enumerate(PROBES, 1):
            results.append(await _result(both, one, plan.profile.security, controls))
            progress.advance("probing security", done, len(PROBES), one.name)
    return tuple(results)


async def _result(
    both: Parties, one: Probe, security: SecurityProfile, controls: Mapping[str, Seen]
) -> ProbeResult:
    if (one.control == "mtls" and not security.mtls) or (one.control == "jws" and security.jws == "off"):
        return _not_run(one, f"{one.control} is off in the profile")
    control = controls[one.needs]
    if control.refused is not False:
        observed = f"the same message unaltered was not accepted ({control.observed}): nothing is proved"
        return _told(one, refused=False, observed=observed)
    watched = (PAYER, PAYEE, both.plan.payees()[0].fsp_id)
    for _ in range(_ATTEMPTS):
        before = await both.positions(*watched)
        seen = await _seen(both, one.attempt)
        moved = before != await both.positions(*watched)
        if seen.refused is not None:
            break
    return _told(one, refused=bool(seen.refused), observed=seen.observed, moved_money=moved)


async def _control(both: Parties, attempt: Attempt) -> Seen:
    """Send an honest message, a few times at most until it is conclusive."""
    for _ in range(_ATTEMPTS):
        seen = await _seen(both, attempt)
        if seen.refused is not None:
            break
    return seen


async def _seen(both: Parties, attempt: Attempt) -> Seen:
    """Make one attempt.

    Raises:
        InfrastructureError: no answer where an answer was due.
    """
    try:
        return await attempt(both)
    except HttpError as error:
        raise InfrastructureError(
            f"a security probe got no answer: {error}",
            remedy="see the logs of the hub and the DFSPs for which of them ended",
        ) from error


def _no_material(folder: Path | None) -> str:
    """Return why there is nothing to sign and connect with, or an empty text."""
    if folder is None:
        return "not run: the environment's keys and certificates are not ours"
    missing = [name for name in PROBE_FSPS if not (folder / name).is_dir()]
    return f"not run: there are no keys and certificates for {', '.join(missing)}" if missing else ""


def _told(one: Probe, *, refused: bool, observed: str, moved_money: bool = False) -> ProbeResult:
    return ProbeResult(
        name=one.name,
        control=one.control,
        expected=one.expected,
        observed=observed,
        refused=refused,
        moved_money=moved_money,
    )


def _not_run(one: Probe, reason: str) -> ProbeResult:
    return ProbeResult(
        name=one.name,
        control=one.control,
        expected=one.expected,
        observed=reason,
        refused=False,
        ran=False,
    )
