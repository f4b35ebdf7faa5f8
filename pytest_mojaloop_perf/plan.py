"""From options to a plan: everything that can be decided, and refused, before anything is started."""

from __future__ import annotations

import ast
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from pytest_mojaloop_perf import profiles
from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.faults import FAULTS, parse_fault, read_faults
from pytest_mojaloop_perf.model import Fault, LoadShape, Objective, Plan, Profile, SecurityProfile
from pytest_mojaloop_perf.options import Options
from pytest_mojaloop_perf.units import (
    format_duration_s,
    format_number,
    parse_duration_s,
    parse_positive_float,
)

__all__ = ["LIVE_MARKERS", "asked_markers", "describe_plan", "make_plans", "new_run_id"]

Kind = Literal["perf", "smoke"]
LIVE_MARKERS: tuple[str, ...] = ("perf", "smoke", "infra", "deploy")
"""Tests with one of these markers need an environment; they run only when `-m` asks for them."""

_TARGETS_HERE = ("embedded",)


def new_run_id(now: datetime | None = None) -> str:
    """Return an id that sorts by time and is unique: `20261122-214501-3fa9`."""
    return f"{now or datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def asked_markers(markexpr: str) -> tuple[str, ...]:
    """Return the live markers that a `-m` expression asks for by name.

    `-m "perf and not slow"` asks for perf; `-m "not slow"` asks for none, though it would select perf too.
    An expression that pytest itself will refuse asks for none.
    """
    try:
        tree = ast.parse(markexpr, mode="eval").body
    except SyntaxError:
        return ()
    return tuple(marker for marker in LIVE_MARKERS if _selects(tree, {marker}) and not _selects(tree, set()))


def make_plans(options: Options, *, run_id: str, created: datetime) -> tuple[Plan, ...]:
    """Return one plan for each kind of run that `-m` asks for, perf first; at least one.

    Raises:
        BadInputError: an option, a file or a combination that cannot be meant.
    """
    asked = asked_markers(options.markexpr)
    kinds: tuple[Kind, ...] = tuple(kind for kind in ("perf", "smoke") if kind in asked) or ("perf",)
    plans = tuple(
        _make_plan(options, kind, run_id=f"{run_id}-{kind}" if number else run_id, created=created)
        for number, kind in enumerate(kinds)
    )
    first = plans[0]
    for plan in plans[1:]:
        if plan.dfsps != first.dfsps or plan.profile.security != first.profile.security:
            raise BadInputError(
                f"the profiles {first.profile.name} and {plan.profile.name} want different DFSPs or "
                "security, expected one environment for both",
                remedy="run -m perf and -m smoke one after the other",
            )
    return plans


def describe_plan(plan: Plan) -> list[str]:
    """Return the plan as lines for a person."""
    load, security = plan.profile.load, plan.profile.security
    offered = (
        f"{load.offered_tps:g} transactions/s offered to prove {load.tps:g} TPS, "
        f"for {format_duration_s(load.duration_s)}"
    )
    window = (
        f"{format_duration_s(load.window_s)} steady (warm-up {format_duration_s(load.warmup_s)} and "
        f"cool-down {format_duration_s(load.cooldown_s)} are cut off)"
    )
    rows = [
        ("run", plan.run_id),
        ("target", f"{plan.target} ({plan.target_reason})"),
        ("switch", plan.switch),
        ("profile", f"{plan.profile.name}: {plan.profile.summary}"),
        ("load", offered),
        ("window", window),
        (
            "transactions",
            f"{format_number(round(load.offered_tps * load.duration_s))} planned, seed {plan.seed}",
        ),
        ("security", _security_text(security)),
        ("matrix", f"{plan.matrix.name}: {len(plan.matrix.pairs)} pairs"),
        ("DFSPs", ", ".join(f"{d.fsp_id} ({'/'.join(d.roles)}, {d.msisdn_count})" for d in plan.dfsps)),
        *(("objective", f"{o.metric} {o.op} {o.limit:g}") for o in plan.profile.objectives),
        *(("fault", f"{fault.name}={fault.parameter}: {FAULTS[fault.name].effect}") for fault in plan.faults),
        ("run folder", str(plan.run_folder)),
        ("cost", "nothing: processes on this machine"),
    ]
    return [f"{name:<13} {text}" for name, text in rows]


def _make_plan(options: Options, kind: Kind, *, run_id: str, created: datetime) -> Plan:
    target, reason = _target(options["perf_target"])
    switch = _switch(options["perf_switch"], target)
    profile = _profile(options, kind)
    matrix = profiles.load_matrix(options["perf_matrix"] or profile.matrix)
    dfsps = profiles.load_dfsps(options["perf_dfsps"] or profile.dfsps)
    profiles.check_matrix_against_dfsps(matrix, dfsps)
    return Plan(
        run_id=run_id,
        created=created.isoformat(timespec="seconds"),
        target=target,
        target_reason=reason,
        switch=switch,
        kind=kind,
        profile=profile,
        matrix=matrix,
        dfsps=dfsps,
        seed=_whole(options["perf_seed"], name="--perf-seed", least=0, most=2**31 - 1),
        run_folder=_run_folder(options["perf_output"], run_id),
        keep=msgspec.convert(options["perf_keep"], Literal["never", "on-failure", "always"]),
        keep_for_s=parse_duration_s(options["perf_keep_for"], name="--perf-keep-for"),
        reuse=options["perf_reuse"] or None,
        faults=_faults(options, switch),
        k6=options["perf_k6"] or None,
        k6_install=options["perf_k6_install"] == "auto",
    )


def _target(wanted: str) -> tuple[Literal["embedded"], str]:
    if wanted == "auto":
        return "embedded", "auto: processes on this machine"
    if wanted not in _TARGETS_HERE:
        raise BadInputError(
            f"--perf-target={wanted} is not available in this version, expected embedded or auto"
            + (", and aws always needs an explicit opt-in with a budget" if wanted == "aws" else ""),
            remedy="use --perf-target=embedded",
        )
    return "embedded", "asked for"


def _switch(wanted: str, target: str) -> Literal["reference"]:
    if wanted not in ("", "reference"):
        raise BadInputError(
            f"--perf-switch={wanted} does not run on --perf-target={target}, expected reference",
            remedy="leave --perf-switch out",
        )
    return "reference"


def _profile(options: Options, kind: Kind) -> Profile:
    default = "smoke" if kind == "smoke" else "embedded"
    name = options["perf_profile"] or default
    profile = profiles.load_profile(name)
    load = _load(options, profile.load)
    objectives = profile.objectives
    if options["perf_tps"]:
        promise = Objective(metric="tps", op=">=", limit=load.tps)
        objectives = (promise, *(o for o in objectives if o.metric != "tps"))
    security = SecurityProfile(
        mtls=profile.security.mtls,
        jws=msgspec.convert(options["perf_jws"] or profile.security.jws, Literal["RS256", "ES256", "off"]),
        ilp=msgspec.convert(options["perf_ilp"] or profile.security.ilp, Literal["1", "4"]),
    )
    changed = msgspec.structs.replace(profile, load=load, objectives=objectives, security=security)
    profiles.check_profile(changed, source=f"the profile {profile.name} with the options")
    return changed


def _load(options: Options, load: LoadShape) -> LoadShape:
    tps = load.tps
    if options["perf_tps"]:
        tps = parse_positive_float(options["perf_tps"], name="--tps", most=profiles.MOST_TPS)
    duration_s, warmup_s, cooldown_s = load.duration_s, load.warmup_s, load.cooldown_s
    if options["perf_duration"]:
        duration_s = parse_duration_s(options["perf_duration"], name="--perf-duration")
        warmup_s, cooldown_s = (cut * duration_s / load.duration_s for cut in (warmup_s, cooldown_s))
    if options["perf_warmup"]:
        warmup_s = parse_duration_s(options["perf_warmup"], name="--perf-warmup")
    if options["perf_cooldown"]:
        cooldown_s = parse_duration_s(options["perf_cooldown"], name="--perf-cooldown")
    timeout_s = load.request_timeout_s
    if options["perf_request_timeout"]:
        timeout_s = parse_duration_s(options["perf_request_timeout"], name="--perf-request-timeout")
    vus = load.vus
    if options["perf_vus"]:
        vus = _whole(options["perf_vus"], name="--perf-vus", least=1, most=100_000)
    return msgspec.structs.replace(
        load,
        tps=tps,
        duration_s=duration_s,
        warmup_s=warmup_s,
        cooldown_s=cooldown_s,
        request_timeout_s=timeout_s,
        drain_s=max(load.drain_s, timeout_s + 2),
        vus=vus,
    )


def _faults(options: Options, switch: str) -> tuple[Fault, ...]:
    faults = tuple(parse_fault(text) for text in options.faults)
    names = [fault.name for fault in faults]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f"--perf-fault={name} was given twice", remedy="give each fault once")
    if faults and switch != "reference":
        raise BadInputError(
            f"--perf-fault={names[0]} needs --perf-switch=reference, not {switch}",
            remedy="leave --perf-fault out: faults exist in the reference switch only",
        )
    read_faults(faults)
    return faults


def _run_folder(output: str, run_id: str) -> Path:
    folder = Path(output).expanduser().absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise BadInputError(
            f"the run folder {folder} cannot be written: {there} is "
            + ("read-only" if there.is_dir() else "not a folder"),
            remedy="name a writable folder with --perf-output",
        )
    return folder / run_id


def _whole(text: str, *, name: str, least: int, most: int) -> int:
    bare = text.strip()
    if not (bare.isascii() and bare.isdigit() and least <= int(bare) <= most):
        raise BadInputError(
            f"{name} is {text!r}, expected a whole number from {least} to {most}",
            remedy=f"write {name}={least + 1}",
        )
    return int(bare)


def _security_text(security: SecurityProfile) -> str:
    mtls = "mTLS" if security.mtls else "no mTLS"
    return f"{mtls}, JWS {security.jws}, ILP v{security.ilp}"


def _selects(node: ast.expr, markers: set[str]) -> bool:
    if isinstance(node, ast.BoolOp):
        parts = [_selects(value, markers) for value in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _selects(node.operand, markers)
    return isinstance(node, ast.Name) and node.id in markers
