"""Everything a report is made of, read from the run folder, so that any report can be made again later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.model import (
    Environment,
    LoadRun,
    Measurement,
    Plan,
    Reconciliation,
    Roster,
    SecurityObserved,
    Value,
    Verdict,
)

__all__ = ["SECURITY_FILES", "VERSIONS_FILE", "RunBundle", "Versions", "read_bundle", "write_bundle"]

SECURITY_FILES = ("security-before", "security-after")
"""Names of the two stored `SecurityObserved`, in the order in which they are made."""

VERSIONS_FILE = "versions"

V = TypeVar("V", bound=Value)


class Versions(Value, frozen=True, kw_only=True):
    """What was at work, by name: package, k6, Python, kernel, CPU model and the like."""

    facts: dict[str, str]


class RunBundle(Value, frozen=True, kw_only=True):
    """All values of one run. Only the plan is certain: a run may have broken before the rest was made.

    `broke`: why it broke, with the remedy, if it did.
    """

    plan: Plan
    run_folder: Path
    environment: Environment | None = None
    roster: Roster | None = None
    load: LoadRun | None = None
    measurement: Measurement | None = None
    verdict: Verdict | None = None
    security: tuple[SecurityObserved, ...] = ()
    reconciliation: Reconciliation | None = None
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    broke: str = ""

    @property
    def outcome(self) -> str:
        """`PASS`, `FAIL`, `INVALID`, or `NO VERDICT` for a run that broke before it could be judged."""
        return self.verdict.outcome if self.verdict else "NO VERDICT"

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, without the outcome that every report prints before it."""
        if self.verdict:
            sentence = self.verdict.sentence.removeprefix(f"{self.verdict.outcome}: ")
            return sentence[:1].upper() + sentence[1:]
        why = f": {self.broke}" if self.broke else "; nothing is concluded about any switch."
        return f"The run broke before it could be judged{why}"


def read_bundle(folder: RunFolder) -> RunBundle:
    """Read all values that a run folder holds.

    Raises:
        BadInputError: there is no plan, or a file that is there cannot be read.
    """
    return RunBundle(
        plan=folder.read(Plan),
        run_folder=folder.path,
        environment=_optional(folder, Environment),
        roster=_optional(folder, Roster),
        load=_optional(folder, LoadRun),
        measurement=_optional(folder, Measurement),
        verdict=_optional(folder, Verdict),
        security=tuple(
            folder.read(SecurityObserved, name=name)
            for name in SECURITY_FILES
            if folder.has(SecurityObserved, name=name)
        ),
        reconciliation=_optional(folder, Reconciliation),
        versions=_read_versions(folder),
        broke=_read_breakage(folder),
    )


def write_bundle(bundle: RunBundle) -> None:
    """Store every part of the bundle in its run folder, under the names that `read_bundle` looks for."""
    folder = RunFolder.create(bundle.run_folder)
    parts = (
        bundle.plan,
        bundle.environment,
        bundle.roster,
        bundle.load,
        bundle.measurement,
        bundle.verdict,
        bundle.reconciliation,
    )
    for part in parts:
        if part is not None:
            folder.write(part)
    for observed in bundle.security:
        folder.write(observed, name=f"security-{observed.when}")
    if bundle.versions:
        folder.write(Versions(facts=bundle.versions), name=VERSIONS_FILE)


def _optional(folder: RunFolder, kind: type[V]) -> V | None:
    return folder.read(kind) if folder.has(kind) else None


def _read_versions(folder: RunFolder) -> dict[str, str]:
    """Return the versions, also from a plain JSON object, as other writers of the folder may leave it."""
    document = _members(folder.file(f"{VERSIONS_FILE}.json"))
    facts = document.get("facts", document)
    return {str(name): str(value) for name, value in facts.items()} if isinstance(facts, dict) else {}


def _read_breakage(folder: RunFolder) -> str:
    told = _members(folder.file("breakage.json"))
    parts = [str(told[name]).rstrip(".") for name in ("what", "remedy") if told.get(name)]
    return ". Remedy: ".join(parts) + "." if parts else ""


def _members(path: Path) -> dict[str, Any]:
    """Return the value that is stored in a file, or nothing when there is no file.

    Raises:
        BadInputError: the file is no JSON object.
    """
    if not path.exists():
        return {}
    try:
        document: Any = json.loads(path.read_bytes())
    except ValueError as error:
        document = str(error)
    if not isinstance(document, dict):
        raise BadInputError(f"{path} is not a JSON object", remedy="delete it; the reports do without it")
    value = document.get("value", document)
    return value if isinstance(value, dict) else {}
