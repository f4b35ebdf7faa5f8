"""Make Allure's HTML of a results folder with whatever Allure program there is; never download one.

Allure 2 is a Java program, Allure 3 one of Node.js; both are called `allure` and their options differ.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.errors import PerfError
from pytest_mojaloop_perf.progress import Progress

__all__ = ["generate"]

_REMEDY = (
    "install Allure 3 with `npm install -g allure` (Node.js 20 or later), or read the run's own report.html"
)
_TRACKER = re.compile(r'<script async src="https://www\.googletagmanager\.com/[^"]*"></script>')
_FIND_S = 30
_MAKE_S = 180
_SINGLE_FILE_SINCE = (2, 24)


def generate(results: str | Path, out: str | Path, *, progress: Progress) -> Path | None:
    """Return the path of the page that Allure made, or None after saying why there is none.

    A report is an extra: whatever goes wrong here must not change the outcome of a run, so it is said and
    not raised.
    """
    results, out = Path(results).resolve(), Path(out).resolve()
    if not any(results.glob("*-result.json")):
        progress.say(f"no Allure HTML: {results} holds no results")
        return None
    try:
        program = _find()
        if program is None:
            progress.say(f"no Allure HTML: allure is not installed. Remedy: {_REMEDY}. Results: {results}")
            return None
        return _make(program, results, out, progress)
    except (PerfError, OSError, ValueError) as error:
        progress.say(f"no Allure HTML: {error}")
        return None


def _find() -> list[str] | None:
    """Return the words that start Allure: from PATH, else a package that npx finds installed nearby."""
    found = shutil.which("allure")
    if found:
        return [found]
    npx = shutil.which("npx")
    if npx is None:
        return None
    words = [npx, "--no-install", "allure"]
    return words if _version(words) else None


def _version(program: list[str]) -> tuple[int, ...] | None:
    """Return the version, or None when the program does not tell one."""
    done = command.run([*program, "--version"], timeout_s=_FIND_S, remedy=_REMEDY, check=False, env=_OFFLINE)
    told = re.search(r"\b(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    if done.returncode != 0 or told is None:
        return None
    return tuple(int(part) for part in told.groups() if part)


_OFFLINE = {
    "ALLURE_NO_ANALYTICS": "true",
    "npm_config_yes": "false",
    "npm_config_offline": "true",
    "npm_config_update_notifier": "false",
}
"""npx must take what is installed and never fetch a package; pages should not count their readers."""


def _make(program: list[str], results: Path, out: Path, progress: Progress) -> Path | None:
    version = _version(program)
    if version is None:
        progress.say(f"no Allure HTML: {' '.join(program)} --version told no version. Remedy: {_REMEDY}")
        return None
    options = _options_2(version, out) if version[0] == 2 else _options_3(results, out)
    if out.exists() and (out / "index.html").exists():
        shutil.rmtree(out)  # only ever a report: Allure 3 leaves old pages beside the new one
    done = command.run(
        [*program, "generate", str(results), *options], timeout_s=_MAKE_S, remedy=_REMEDY, env=_OFFLINE
    )
    page = out / "index.html"
    if not page.is_file():
        tail = (done.stderr or done.stdout).strip()[-300:]
        progress.say(
            f"no Allure HTML: {' '.join(program)} made no {page}. Remedy: {_REMEDY}. Evidence: {tail}"
        )
        return None
    _forget_tracker(page)
    return page


def _forget_tracker(page: Path) -> None:
    """Take the tag that counts readers out of the page; Allure 3 has no option for it.

    Who opens the report of a bank's benchmark is nobody else's business, and the page must open offline.
    """
    text = page.read_text(encoding="utf-8")
    kept = _TRACKER.sub("", text)
    if kept != text:
        page.write_text(kept, encoding="utf-8")


def _options_2(version: tuple[int, ...], out: Path) -> list[str]:
    single = ["--single-file"] if version[:2] >= _SINGLE_FILE_SINCE else []
    return ["--clean", *single, "--output", str(out)]


def _options_3(results: Path, out: Path) -> list[str]:
    """Return the options for Allure 3, which has categories in its configuration, not in the results."""
    categories = results / "categories.json"
    configuration = {
        "name": "Mojaloop performance",
        "output": str(out),
        "plugins": {"awesome": {"options": {"singleFile": True, "reportLanguage": "en"}}},
        "categories": json.loads(categories.read_text()) if categories.exists() else [],
    }
    path = out.with_name(f"{out.name}.allurerc.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(configuration, indent=1), encoding="utf-8")
    return ["--config", str(path), "--output", str(out)]
