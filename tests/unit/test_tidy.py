"""The shape of the source tree, held by a test: what may import what, and how large things may grow."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pytest_mojaloop_perf"
STAGES = ("infra", "cluster", "switch", "reference", "onboard", "load", "measure", "verdict", "report")
COMPOSERS = ("fixtures", "plugin.py", "cli.py", "suite")
MOST_LINES = 500
MOST_FUNCTION_LINES = 60
BANNED_NAMES = re.compile(r"(utils?|helpers?|common|managers?|misc)\.py$")

MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*MODULES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def _imports(path: Path) -> set[str]:
    """Return the first parts of what a module imports of our package, wherever in the module it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "pytest_mojaloop_perf":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {
            name.split(".")[1] for name in names if name.startswith("pytest_mojaloop_perf.") and "." in name
        }
    return found


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_go_one_way(path: Path) -> None:
    part = _part(path)
    if part in COMPOSERS:
        return
    allowed_stage = {part} if part in STAGES else set()
    forbidden = (set(STAGES) | {"fixtures", "plugin", "cli"}) - allowed_stage
    wrong = _imports(path) & forbidden
    assert not wrong, (
        f"{_name(path)} imports {', '.join(sorted(wrong))}. Remedy: pass a value of model.py instead, "
        "or move what both need into a base module."
    )


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    lines = text.count("\n")
    assert lines <= MOST_LINES, f"{_name(path)} has {lines} lines. Remedy: split it by what it is about."
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            assert length <= MOST_FUNCTION_LINES, (
                f"{node.name} in {_name(path)} has {length} lines. Remedy: give its steps names of their own."
            )


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_processes_and_sleeps_go_through_one_door(path: Path) -> None:
    text = path.read_text()
    if path.name not in ("command.py", "guard.py"):
        assert "import subprocess" not in text, f"{_name(path)} starts processes. Remedy: use command.py."
    if path.name != "wait.py":
        assert "time.sleep(" not in text, f"{_name(path)} sleeps. Remedy: use wait.py."


def test_module_names_say_what_is_in_them() -> None:
    vague = [_name(path) for path in SOURCES if BANNED_NAMES.search(path.name)]
    assert not vague, f"vague names: {vague}. Remedy: name the module after what it is about."


def test_nothing_is_left_open_and_nothing_points_outside() -> None:
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME)\b|\.\./sha" r"red|/work/" r"main|/ro" r"ot/")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    kinds = (".py", ".js", ".yaml", ".yml", ".md", ".toml", ".html", ".css", ".sh")
    for name in listed:
        path = ROOT / name
        if path.exists() and (name.endswith(kinds) or name in ("Makefile", ".ci/run")):
            found = words.search(path.read_text())
            assert not found, (
                f"{name} contains {found.group()!r}. Remedy: finish it, or say it without the path."
            )


def test_no_secret_or_build_product_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    wrong = [
        n
        for n in listed
        if re.search(r"\.(pem|key|tfstate|pyc)$|__pycache__|\.terraform/|allure-results/", n)
    ]
    assert not wrong, f"tracked, and should not be: {wrong}. Remedy: git rm --cached them."


def test_the_checks_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from pytest_mojaloop_perf.load import k6\nfrom pytest_mojaloop_perf import measure, model\n"
    )
    assert _imports(bad) == {"load", "measure", "model"}
    assert BANNED_NAMES.search("pytest_mojaloop_perf/utils.py")
    assert not BANNED_NAMES.search("pytest_mojaloop_perf/command.py")
