"""Find k6: the path that was given, PATH, our cache, and, when allowed, an installation into the cache."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.errors import BadInputError, CommandError, MissingToolError
from pytest_mojaloop_perf.load.install import K6_VERSION, REMEDY, install_k6
from pytest_mojaloop_perf.model import Value
from pytest_mojaloop_perf.progress import Progress

__all__ = ["K6", "cache_folder", "find_k6", "locate_k6", "parse_version"]

_VERSION = re.compile(r"\bk6(?:\.exe)? v(\d+)\.(\d+)\.(\d+)(\S*)")
_OLDEST_MAJOR = 1
_TOO_OLD = "install k6 1.x or 2.x, or name one with --perf-k6=PATH"


class K6(Value, frozen=True, kw_only=True):
    """A k6 that runs, and its version without the `v`, for example `1.8.1`."""

    path: Path
    version: str


def parse_version(text: str) -> tuple[int, int, int, str] | None:
    """Return (major, minor, patch, suffix) from what `k6 version` prints, or None when it is not k6's."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2]), int(found[3]), found[4]) if found else None


def cache_folder() -> Path:
    """Return the folder where our own k6 is kept, one folder per version; it need not exist."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        named = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    return base / "pytest-mojaloop-perf" / "k6"


def find_k6(explicit: str | None) -> K6 | None:
    """Return the k6 to use without installing anything, or None when there is none.

    Raises:
        BadInputError: the path that was given is not a k6 of version 1.0 or later.
    """
    if explicit is not None:
        return _given(explicit)
    on_path = shutil.which("k6")
    candidates = ([Path(on_path)] if on_path else []) + [cache_folder() / K6_VERSION / "k6"]
    return next((k6 for k6 in map(_probe, candidates) if k6 is not None and _is_new(k6)), None)


def locate_k6(explicit: str | None, *, install: bool, progress: Progress) -> K6:
    """Return the k6 to use, installing one into the cache when there is none and `install` allows it.

    Raises:
        BadInputError: the path that was given is not a k6 of version 1.0 or later.
        MissingToolError: there is none, and it may not or could not be installed.
    """
    found = find_k6(explicit)
    if found is not None:
        return found
    old = _probe(Path(shutil.which("k6") or "k6-is-not-on-path"))
    why = f"k6 {old.version} on PATH is too old (1.0 or later is needed)" if old else "k6 is not on PATH"
    if not install:
        raise MissingToolError(
            f"{why} nor in {cache_folder()}, and installing it is switched off", remedy=REMEDY
        )
    progress.say(f"{why}; installing k6 {K6_VERSION} into {cache_folder()}")
    installed = _probe(install_k6(cache_folder(), progress=progress))
    if installed is None:
        raise MissingToolError(f"the k6 installed in {cache_folder()} does not run", remedy=REMEDY)
    return installed


def _given(explicit: str) -> K6:
    path = Path(explicit).expanduser()
    resolved = shutil.which(explicit) if os.sep not in explicit else str(path)
    k6 = _probe(Path(resolved)) if resolved else None
    if k6 is None:
        raise BadInputError(
            f"--perf-k6 is {explicit!r}, expected a k6 program that runs",
            remedy="name the k6 binary itself with --perf-k6=PATH, or leave the option out",
        )
    if not _is_new(k6):
        raise BadInputError(f"k6 at {explicit} is {k6.version}, expected 1.0 or later", remedy=_TOO_OLD)
    return k6


def _is_new(k6: K6) -> bool:
    return int(k6.version.split(".")[0]) >= _OLDEST_MAJOR


def _probe(path: Path) -> K6 | None:
    if not path.is_file() or not os.access(path, os.X_OK):
        return None
    try:
        done = command.run([path, "version"], timeout_s=30, remedy=_TOO_OLD)
    except CommandError:
        return None
    version = parse_version(done.stdout)
    if version is None:
        return None
    major, minor, patch, suffix = version
    return K6(path=path.absolute(), version=f"{major}.{minor}.{patch}{suffix}")
