"""What ran, where, and with which versions and seeds: enough to repeat the run."""

from __future__ import annotations

from pytest_mojaloop_perf.model import Environment, LoadRun, Plan, Roster
from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.report.figures import created_text, security_wanted, utc_text
from pytest_mojaloop_perf.units import format_duration_s, format_number

__all__ = ["Facts", "manifest"]

Facts = list[tuple[str, str]]


def manifest(bundle: RunBundle) -> list[tuple[str, Facts]]:
    """Return groups of (name, value), leaving out what the run did not come to."""
    groups = [("Plan", _plan(bundle.plan))]
    if bundle.load:
        groups.append(("Load", _load(bundle.load)))
    if bundle.environment:
        groups.append(("Environment", _environment(bundle.environment, bundle.roster)))
    if bundle.versions:
        groups.append(("Versions", sorted(bundle.versions.items())))
    return groups


def _plan(plan: Plan) -> Facts:
    shape = plan.profile.load
    return [
        ("Run", plan.run_id),
        ("Created", created_text(plan)),
        ("Target", f"{plan.target} ({plan.target_reason})"),
        ("Switch", plan.switch),
        ("Profile", plan.profile.name),
        ("Offered rate", f"{format_number(shape.offered_tps)} per second"),
        ("Duration", format_duration_s(shape.duration_s)),
        ("Warm-up, cool-down", f"{format_duration_s(shape.warmup_s)}, {format_duration_s(shape.cooldown_s)}"),
        ("Security", security_wanted(plan)),
        ("Matrix", f"{plan.matrix.name}, {len(plan.matrix.pairs)} pairs"),
        ("DFSPs", ", ".join(dfsp.fsp_id for dfsp in plan.dfsps)),
        ("Seed", str(plan.seed)),
    ]


def _load(load: LoadRun) -> Facts:
    ended = f"{load.ended}: {load.ended_detail}" if load.ended_detail else load.ended
    return [
        ("Began", utc_text(load.started_ms)),
        ("Took", format_duration_s((load.ended_ms - load.started_ms) / 1000)),
        ("Ended", ended),
        ("Iterations", f"{format_number(load.iterations)} of {format_number(load.planned_arrivals)}"),
        ("Dropped", format_number(load.dropped)),
        ("Interrupted", format_number(load.interrupted)),
        ("Records lost", format_number(load.records_lost)),
        ("VUs at peak", f"{format_number(load.vus_peak)} of {format_number(load.vus_max)}"),
        ("k6", f"{load.k6_version} ({load.k6_path})"),
        ("Script SHA-256", load.script_sha256),
        ("Seed", str(load.seed)),
    ]


def _environment(environment: Environment, roster: Roster | None) -> Facts:
    facts = [
        ("Switch version", f"{environment.switch} {environment.switch_version}"),
        ("Hub", environment.hub.transfers_url),
        ("Hub admin", environment.hub.admin_url),
    ]
    if roster:
        onboarded = f"{len(roster.dfsps)} DFSPs, {roster.calls} calls in {format_duration_s(roster.took_s)}"
        facts.append(("Onboarding", onboarded))
    facts += [(f"Process {one.name}", f"{one.version}, pid {one.pid}") for one in environment.processes]
    return facts
