"""Declarative input read strictly: profiles, payment matrices and DFSP descriptions from YAML.

A name without a slash or suffix is looked up among the packaged files; anything else is a path.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import yaml

from pytest_mojaloop_perf.assets import asset, asset_names
from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.metrics import check_objective
from pytest_mojaloop_perf.model import Dfsp, LoadShape, Matrix, Profile, Value

__all__ = [
    "check_matrix_against_dfsps",
    "check_profile",
    "load_dfsps",
    "load_matrix",
    "load_profile",
    "resolve",
]

T = TypeVar("T")
Kind = Literal["profile", "matrix", "dfsps"]
_FOLDERS: dict[Kind, str] = {
    "profile": "fixtures/profiles",
    "matrix": "fixtures/matrices",
    "dfsps": "fixtures",
}

MOST_TPS = 100_000.0
_MOST_DFSPS = 100
_MOST_MSISDNS = 1_000_000
_WEIGHTS_TOLERANCE_PERCENT = 0.01


class _DfspsFile(Value, frozen=True, kw_only=True):
    dfsps: tuple[Dfsp, ...]


def resolve(kind: Kind, name_or_path: str) -> Path:
    """Return the file that an option's value means.

    Raises:
        BadInputError: neither a packaged name nor a file.
    """
    folder = _FOLDERS[kind]
    if not name_or_path.strip():
        raise BadInputError(
            f"--perf-{kind} is empty", remedy=f"give a name ({_names(folder)}) or a YAML file"
        )
    if "/" not in name_or_path and not name_or_path.endswith((".yaml", ".yml")):
        if name_or_path not in asset_names(folder, ".yaml"):
            raise BadInputError(
                f"there is no {kind} named {name_or_path!r}",
                remedy=f"use one of {_names(folder)}, or the path of a YAML file",
            )
        return asset(f"{folder}/{name_or_path}.yaml")
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        raise BadInputError(
            f"the {kind} file {path} does not exist or is not a file",
            remedy=f"check the path, or use {_names(folder)}",
        )
    return path


def load_profile(name_or_path: str) -> Profile:
    """Return a profile, checked.

    Raises:
        BadInputError: not found, not YAML, unknown or missing members, or values that cannot be meant.
    """
    path = resolve("profile", name_or_path)
    profile = _convert(path, Profile)
    check_profile(profile, source=str(path))
    return profile


def load_matrix(name_or_path: str) -> Matrix:
    """Return a payment matrix, checked on its own (see `check_matrix_against_dfsps`).

    Raises:
        BadInputError: see `load_profile`; or weights that do not add up, or a payer that pays itself.
    """
    path = resolve("matrix", name_or_path)
    matrix = _convert(path, Matrix)
    if not matrix.pairs:
        raise BadInputError(
            f"{path} has no pairs", remedy="list at least one pair of payer, payee, weight_percent"
        )
    seen: set[tuple[str, str]] = set()
    for pair in matrix.pairs:
        if pair.payer == pair.payee:
            raise BadInputError(
                f"{path} lets {pair.payer} pay itself", remedy="give every pair two different DFSPs"
            )
        if (pair.payer, pair.payee) in seen:
            raise BadInputError(
                f"{path} names the pair {pair.payer} -> {pair.payee} twice", remedy="merge the two weights"
            )
        if not math.isfinite(pair.weight_percent) or pair.weight_percent <= 0:
            raise BadInputError(
                f"{path} gives {pair.payer} -> {pair.payee} the weight {pair.weight_percent}, "
                "expected above 0",
                remedy="remove the pair or give it a share of the transactions in percent",
            )
        seen.add((pair.payer, pair.payee))
    total = sum(pair.weight_percent for pair in matrix.pairs)
    if abs(total - 100) > _WEIGHTS_TOLERANCE_PERCENT:
        raise BadInputError(
            f"the weights in {path} add up to {total:g} percent, expected 100",
            remedy="change weight_percent of the pairs so that they add up to 100",
        )
    return matrix


def load_dfsps(name_or_path: str) -> tuple[Dfsp, ...]:
    """Return the DFSPs of a file, checked.

    Raises:
        BadInputError: see `load_profile`; or duplicate ids, overlapping MSISDN ranges, funds below the NDC.
    """
    path = resolve("dfsps", name_or_path)
    dfsps = _convert(path, _DfspsFile).dfsps
    if not 2 <= len(dfsps) <= _MOST_DFSPS:
        raise BadInputError(
            f"{path} describes {len(dfsps)} DFSPs, expected 2 to {_MOST_DFSPS}",
            remedy="describe a payer and a payee",
        )
    for dfsp in dfsps:
        _check_dfsp(dfsp, path)
    ids = [dfsp.fsp_id for dfsp in dfsps]
    for fsp_id in ids:
        if ids.count(fsp_id) > 1:
            raise BadInputError(f"{path} describes {fsp_id} twice", remedy="give every DFSP an id of its own")
    _check_ranges(dfsps, path)
    return dfsps


def check_matrix_against_dfsps(matrix: Matrix, dfsps: tuple[Dfsp, ...]) -> None:
    """Check that every pair names a payer and a payee that exist, in the matrix's currency.

    Raises:
        BadInputError: a pair that cannot be.
    """
    by_id = {dfsp.fsp_id: dfsp for dfsp in dfsps}
    for pair in matrix.pairs:
        for fsp_id, role in ((pair.payer, "payer"), (pair.payee, "payee")):
            dfsp = by_id.get(fsp_id)
            if dfsp is None:
                raise BadInputError(
                    f"the matrix {matrix.name} names the unknown DFSP {fsp_id}",
                    remedy=f"use one of {', '.join(by_id)}, or describe {fsp_id} in the DFSPs file",
                )
            if role not in dfsp.roles:
                raise BadInputError(
                    f"the matrix {matrix.name} uses {fsp_id} as a {role}, but its roles are "
                    f"{', '.join(dfsp.roles)}",
                    remedy=f"add {role} to the roles of {fsp_id}, or change the pair",
                )
            if dfsp.currency != matrix.currency:
                raise BadInputError(
                    f"the matrix {matrix.name} pays in {matrix.currency}, but {fsp_id} has {dfsp.currency}",
                    remedy="use one currency in the matrix and in the DFSPs file",
                )


def check_profile(profile: Profile, *, source: str) -> None:
    """Check the values of a profile, also after options have changed it.

    Raises:
        BadInputError: a figure that cannot be meant; `source` says where it came from.
    """
    check_load(profile.load, source=source)
    if not profile.objectives:
        raise BadInputError(
            f"{source} has no objectives", remedy="list at least one objective, for example tps"
        )
    metrics = [objective.metric for objective in profile.objectives]
    for objective in profile.objectives:
        check_objective(objective)
        if metrics.count(objective.metric) > 1:
            raise BadInputError(
                f"{source} has two objectives for {objective.metric}", remedy="keep the stricter of the two"
            )
    if profile.load.window_s < profile.validity.window_min_s:
        raise BadInputError(
            f"the steady window of {source} is {profile.load.window_s:g}s, expected at least "
            f"{profile.validity.window_min_s:g}s (duration - warm-up - cool-down)",
            remedy="raise --perf-duration, or lower --perf-warmup and --perf-cooldown",
        )


def check_load(load: LoadShape, *, source: str) -> None:
    """Check a load shape.

    Raises:
        BadInputError: a rate or time that cannot be meant.
    """
    bounds = (
        ("tps", load.tps, 0.1, MOST_TPS),
        ("duration_s", load.duration_s, 5, 7 * 24 * 3600),
        ("warmup_s", load.warmup_s, 0, 24 * 3600),
        ("cooldown_s", load.cooldown_s, 0, 24 * 3600),
        ("request_timeout_s", load.request_timeout_s, 0.5, 300),
        ("drain_s", load.drain_s, 1, 600),
        ("offered_percent", load.offered_percent, 100, 200),
        ("vus", load.vus if load.vus is not None else 1, 1, 100_000),
    )
    for name, value, least, most in bounds:
        if not (math.isfinite(value) and least <= value <= most):
            raise BadInputError(
                f"{name} in {source} is {value}, expected {least:g} to {most:g}", remedy=f"change {name}"
            )
    if load.warmup_s + load.cooldown_s >= load.duration_s:
        raise BadInputError(
            f"the duration in {source} is {load.duration_s:g}s, expected more than warm-up "
            f"({load.warmup_s:g}s) plus cool-down ({load.cooldown_s:g}s)",
            remedy="raise --perf-duration, or lower --perf-warmup and --perf-cooldown",
        )


def _check_dfsp(dfsp: Dfsp, path: Path) -> None:
    problem = ""
    if not (2 <= len(dfsp.fsp_id) <= 30 and dfsp.fsp_id.isascii() and dfsp.fsp_id.isalnum()):
        problem = f"fsp_id {dfsp.fsp_id!r}, expected 2 to 30 letters and digits"
    elif dfsp.fsp_id.lower() == "hub":
        problem = "fsp_id Hub, which is the hub's own name"
    elif not dfsp.roles:
        problem = f"{dfsp.fsp_id} without roles, expected payer, payee or both"
    elif not (
        dfsp.msisdn_first.isascii() and dfsp.msisdn_first.isdigit() and 5 <= len(dfsp.msisdn_first) <= 15
    ):
        problem = f"{dfsp.fsp_id} with msisdn_first {dfsp.msisdn_first!r}, expected 5 to 15 digits in quotes"
    elif not 1 <= dfsp.msisdn_count <= _MOST_MSISDNS:
        problem = f"{dfsp.fsp_id} with msisdn_count {dfsp.msisdn_count}, expected 1 to {_MOST_MSISDNS:,}"
    elif not (len(dfsp.currency) == 3 and dfsp.currency.isascii() and dfsp.currency.isupper()):
        problem = f"{dfsp.fsp_id} with currency {dfsp.currency!r}, expected three capital letters"
    elif not (dfsp.ndc.isdigit() and dfsp.funds_in.isdigit() and 0 < int(dfsp.ndc) <= int(dfsp.funds_in)):
        problem = (
            f"{dfsp.fsp_id} with ndc {dfsp.ndc!r} and funds_in {dfsp.funds_in!r}, "
            "expected whole amounts with 0 < ndc <= funds_in"
        )
    if problem:
        raise BadInputError(
            f"{path} has {problem}", remedy="correct that entry (fixtures/dfsps.yaml is an example)"
        )


def _check_ranges(dfsps: tuple[Dfsp, ...], path: Path) -> None:
    ranges = sorted((int(d.msisdn_first), int(d.msisdn_first) + d.msisdn_count - 1, d.fsp_id) for d in dfsps)
    for (_, last, left), (first, _, right) in itertools.pairwise(ranges):
        if first <= last:
            raise BadInputError(
                f"{path} gives {left} and {right} overlapping MSISDN ranges",
                remedy="change msisdn_first or msisdn_count of one of them",
            )


def _convert(path: Path, kind: type[T]) -> T:
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{path} cannot be read: {error}", remedy="check the file and its permissions"
        ) from error
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise BadInputError(
            f"{path} is not YAML: {where}", remedy="correct the line that it names"
        ) from error
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise BadInputError(
            f"{path} does not describe what it should: {error}",
            remedy="correct that member; the packaged files under fixtures/ are examples",
        ) from error


def _names(folder: str) -> str:
    return ", ".join(asset_names(folder, ".yaml"))
