"""Allure: what a run adds to the results, and the HTML that Allure's own programs make of them.

Everything here is harmless when the session writes no Allure results: Allure's hooks then reach nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import allure as allure_api
from allure_commons.types import AttachmentType

from pytest_mojaloop_perf.artifacts import redact
from pytest_mojaloop_perf.model import Value
from pytest_mojaloop_perf.report import html
from pytest_mojaloop_perf.report.allure_html import generate
from pytest_mojaloop_perf.report.bundle import SECURITY_FILES, RunBundle
from pytest_mojaloop_perf.report.charts import CHARTS
from pytest_mojaloop_perf.report.figures import load_text, money_text, objective_rows, security_wanted
from pytest_mojaloop_perf.report.svg import standalone

__all__ = [
    "CATEGORIES",
    "LABELS",
    "Labels",
    "attach_bundle",
    "attach_file",
    "generate",
    "label",
    "step",
    "write_categories",
    "write_environment",
    "write_executor",
]

# Parts of Allure's API have no types.
_ATTACH: Any = allure_api.attach
_DYNAMIC: Any = allure_api.dynamic

_ANYTHING = r"[\s\S]*"
_INVALID = r"(InvalidRunError|\bINVALID\b)"
_INFRASTRUCTURE = r"(InfrastructureError|CommandError|WaitTimeoutError|MissingToolError|\bINFRASTRUCTURE\b)"
_BAD_INPUT = r"(BadInputError|UsageError)"


def _containing(pattern: str, *, but: str = "") -> str:
    """Return a pattern for the first line of a message that Java, JavaScript and Python read alike."""
    without = rf"(?![^\n]*{but})" if but else ""
    return rf"^{without}[^\n]*{pattern}{_ANYTHING}$"


_OURS = f"({_INVALID}|{_INFRASTRUCTURE}|{_BAD_INPUT})"

CATEGORIES: tuple[dict[str, Any], ...] = (
    {
        "name": "INVALID: the run supports no conclusion",
        "matchedStatuses": ["failed", "broken"],
        "messageRegex": _containing(_INVALID),
    },
    {
        "name": "Infrastructure: nobody's performance was judged",
        "matchedStatuses": ["failed", "broken"],
        "messageRegex": _containing(_INFRASTRUCTURE, but=_INVALID),
    },
    {
        "name": "Bad input: an option or a file was refused",
        "matchedStatuses": ["failed", "broken"],
        "messageRegex": _containing(_BAD_INPUT, but=_INVALID),
    },
    {
        "name": "FAIL: the switch missed a requirement",
        "matchedStatuses": ["failed"],
        "messageRegex": rf"^(?![^\n]*{_OURS}){_ANYTHING}$",
    },
    {
        "name": "Defect of the test suite",
        "matchedStatuses": ["broken"],
        "messageRegex": rf"^(?![^\n]*{_OURS}){_ANYTHING}$",
    },
)
"""Exactly one category for each failure, in the words of the verdict."""

_LOG_MOST_BYTES = 128 * 1024
_LOGS_MOST = 24
_VALUES = (
    "plan",
    "environment",
    "roster",
    "load-run",
    "measurement",
    "verdict",
    "reconciliation",
    "versions",
)


class Labels(Value, frozen=True, kw_only=True):
    """Where a test stands in Allure's tree of behaviours, and how much it matters."""

    feature: str
    story: str
    severity: str = "critical"


LABELS: Mapping[str, Labels] = {
    "valid": Labels(feature="Validity", story="The run supports a conclusion", severity="blocker"),
    "objective": Labels(feature="Objectives", story="The switch meets its objectives"),
    "security": Labels(feature="Security", story="Bad messages are refused and move no money"),
    "money": Labels(feature="Money", story="No money is made or lost", severity="blocker"),
    "infra": Labels(feature="Infrastructure", story="The place is fit to measure on", severity="normal"),
    "deploy": Labels(feature="Deployment", story="The switch runs as planned", severity="normal"),
}
"""Labels for the live suite, by topic."""


def label(topic: str) -> None:
    """Give the running test the labels of its topic (a key of `LABELS`)."""
    wanted = LABELS[topic]
    _DYNAMIC.epic("Mojaloop performance")
    _DYNAMIC.feature(wanted.feature)
    _DYNAMIC.story(wanted.story)
    _DYNAMIC.severity(wanted.severity)


def step(title: str) -> AbstractContextManager[Any]:
    """Return a context that shows as a step of the running test or fixture; without Allure it is nothing."""
    made: AbstractContextManager[Any] = allure_api.step(title)
    return made


def attach_file(title: str, path: Path) -> None:
    """Attach a file under a title; its suffix says how it is shown."""
    kinds = {kind.extension: kind for kind in AttachmentType}
    _ATTACH.file(
        str(path), name=title, attachment_type=kinds.get(path.suffix.lstrip("."), AttachmentType.TEXT)
    )


def attach_bundle(bundle: RunBundle) -> None:
    """Attach the charts, the HTML report, the run's values and the ends of its logs."""
    for _, title, draw in CHARTS:
        svg = draw(bundle, "wide")
        if svg is not None:
            _ATTACH(standalone(svg), name=title, attachment_type=AttachmentType.SVG)
    _ATTACH(html.render(bundle), name="Report of the run", attachment_type=AttachmentType.HTML)
    for name in (*_VALUES, *SECURITY_FILES):
        path = bundle.run_folder / f"{name}.json"
        if path.exists():
            _ATTACH(path.read_text(), name=path.name, attachment_type=AttachmentType.JSON)
    for log in sorted((bundle.run_folder / "logs").glob("*.log"))[:_LOGS_MOST]:
        _ATTACH(_tail(log), name=f"log of {log.stem}", attachment_type=AttachmentType.TEXT)


def write_environment(results: str | Path, bundle: RunBundle) -> Path:
    """Write what was at work as `environment.properties` and return its path."""
    facts = [*_headline(bundle), *sorted(bundle.versions.items())]
    lines = [f"{_escaped(name, key=True)}={_escaped(value)}" for name, value in facts]
    return _write(results, "environment.properties", "\n".join(lines) + "\n")


def _headline(bundle: RunBundle) -> list[tuple[str, str]]:
    """Return what a reader wants first, because Allure shows the first few lines only."""
    plan = bundle.plan
    rows = [(row.title, f"{row.measured} ({row.verdict}: {row.wanted})") for row in objective_rows(bundle)]
    return [
        ("Verdict", bundle.outcome),
        ("Switch", plan.switch if plan.switch != "reference" else "reference (not Mojaloop)"),
        *rows,
        ("Target", plan.target),
        ("Profile", plan.profile.name),
        ("Load", load_text(plan)),
        ("Security", security_wanted(plan)),
        ("Money", money_text(bundle.reconciliation)),
        ("Run", plan.run_id),
        ("Run folder", str(bundle.run_folder)),
    ]


def write_categories(results: str | Path) -> Path:
    """Write the categories of failures as `categories.json` and return its path."""
    return _write(results, "categories.json", json.dumps(CATEGORIES, indent=1))


def write_executor(results: str | Path, environ: Mapping[str, str]) -> Path | None:
    """Write which CI job made the results, or nothing when `environ` is not that of a known CI."""
    executor = _executor(environ)
    return None if executor is None else _write(results, "executor.json", json.dumps(executor, indent=1))


def _executor(environ: Mapping[str, str]) -> dict[str, str] | None:
    if environ.get("GITHUB_ACTIONS") == "true":
        server, repository = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_REPOSITORY", "")
        run = environ.get("GITHUB_RUN_ID", "")
        name = f"{environ.get('GITHUB_WORKFLOW', 'workflow')} #{environ.get('GITHUB_RUN_NUMBER', '?')}"
        url = f"{server}/{repository}/actions/runs/{run}"
        return {"name": "GitHub Actions", "type": "github", "buildName": name, "buildUrl": url}
    if environ.get("GITLAB_CI") == "true":
        name = f"{environ.get('CI_JOB_NAME', 'job')} #{environ.get('CI_JOB_ID', '?')}"
        url = environ.get("CI_JOB_URL", "")
        return {"name": "GitLab CI", "type": "gitlab", "buildName": name, "buildUrl": url}
    if environ.get("JENKINS_URL"):
        name, url = environ.get("BUILD_TAG", "build"), environ.get("BUILD_URL", "")
        return {"name": "Jenkins", "type": "jenkins", "buildName": name, "buildUrl": url}
    return None


def _write(results: str | Path, name: str, text: str) -> Path:
    folder = Path(results)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _escaped(text: str, *, key: bool = False) -> str:
    """Return text as a Java properties file wants it, which knows only ASCII."""
    plain = " ".join(text.split()).replace("\\", "\\\\")
    if key:
        plain = plain.replace(" ", "\\ ").replace("=", "\\=").replace(":", "\\:")
    units = plain.encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)


def _tail(path: Path) -> str:
    """Return the end of a log, without secrets; a log may be large, and its end says what went wrong."""
    size = path.stat().st_size
    with path.open("rb") as source:
        source.seek(max(0, size - _LOG_MOST_BYTES))
        text = redact(source.read().decode(errors="replace"))
    return (
        text
        if size <= _LOG_MOST_BYTES
        else f"... the first {size - _LOG_MOST_BYTES} bytes are left out\n{text}"
    )
