"""Install k6 into our cache: the official archive where its checksum is pinned, else `go install`.

Parallel sessions wait for each other on a file lock; the binary appears under its final name whole or not at
all; whatever was left half-way is removed.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import filelock

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.errors import CommandError, InfrastructureError, MissingToolError, PerfError
from pytest_mojaloop_perf.progress import Progress
from pytest_mojaloop_perf.wait import pause

__all__ = ["K6_VERSION", "PINNED_SHA256", "REMEDY", "install_k6", "installable", "platform_name"]

K6_VERSION = "1.8.1"
GO_MODULE = f"go.k6.io/k6@v{K6_VERSION}"
_ARCHIVES = f"https://github.com/grafana/k6/releases/download/v{K6_VERSION}"

PINNED_SHA256: Mapping[str, str] = {}
"""SHA-256 of the official archive by platform (`linux-amd64`, ...), as released in `k6-vX.Y.Z-checksums.txt`.

An archive is used only for a platform that is listed here. None is listed for this version: the checksums
could not be taken from the release itself, and an archive without one is not run. `go install` is checked by
Go's own checksum database, and does for every platform.
"""

REMEDY = (
    "install k6 1.x or 2.x (https://grafana.com/docs/k6/latest/set-up/install-k6/) so that it is on PATH, or "
    f"install Go and run 'go install {GO_MODULE}'; --perf-k6=PATH names one that is elsewhere"
)
_LOCK_S = 900.0
_BUILD_S = 900.0
_BUILD_EXPECTED_S = 150.0


def platform_name() -> str:
    """Return this machine as k6's archives name it, for example `linux-amd64` or `macos-arm64`."""
    system = {"linux": "linux", "darwin": "macos"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    return f"{system}-{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def installable() -> bool:
    """Say whether there is a way to install k6 here; whether it works is seen when it is tried."""
    return platform_name() in PINNED_SHA256 or shutil.which("go") is not None


def install_k6(
    cache: Path,
    *,
    progress: Progress,
    pinned: Mapping[str, str] = PINNED_SHA256,
    archives: str = _ARCHIVES,
) -> Path:
    """Install k6 into `cache/<version>/k6` unless it is there, and return its path.

    Raises:
        MissingToolError: neither way worked; the error names both remedies.
    """
    folder = cache / K6_VERSION
    target = folder / "k6"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / f"{K6_VERSION}.lock", timeout=_LOCK_S):
            for left in folder.glob("partial-*"):
                shutil.rmtree(left, ignore_errors=True)
            if not target.exists():
                _install(target, progress, pinned, archives)
    except filelock.Timeout as error:
        raise MissingToolError(
            f"another session has been installing k6 into {folder} for {_LOCK_S:.0f}s", remedy=REMEDY
        ) from error
    except OSError as error:
        raise MissingToolError(f"k6 could not be installed into {folder}: {error}", remedy=REMEDY) from error
    return target


def _install(target: Path, progress: Progress, pinned: Mapping[str, str], archives: str) -> None:
    troubles: list[str] = []
    name = platform_name()
    with tempfile.TemporaryDirectory(prefix="partial-", dir=target.parent) as work:
        if name in pinned:
            try:
                made = _from_archive(Path(work), name, pinned[name], archives, progress)
            except (PerfError, OSError) as error:
                troubles.append(f"the official archive: {error}")
                progress.say(f"k6: {troubles[-1]}")
            else:
                made.replace(target)
                return
        else:
            troubles.append(f"the official archive: no pinned checksum for {name}")
        try:
            made = _from_go(Path(work), progress)
        except (PerfError, OSError) as error:
            troubles.append(f"go install: {error}")
            raise MissingToolError(
                f"k6 could not be installed ({'; '.join(troubles)})", remedy=REMEDY
            ) from error
        made.replace(target)


def _from_go(work: Path, progress: Progress) -> Path:
    go = command.which("go", remedy="install Go")
    progress.say(f"k6: building with 'go install {GO_MODULE}' (two to four minutes, once)")
    log = work / "go-install.log"
    began = time.monotonic()
    with command.start(
        [go, "install", "-trimpath", "-ldflags=-s -w", GO_MODULE],
        name="go install k6",
        log=log,
        remedy=REMEDY,
        env={"GOBIN": str(work), "CGO_ENABLED": "0"},
        drop_env=("GOOS", "GOARCH"),
        guarded=True,
    ) as build:
        while (status := build.poll()) is None:
            spent = time.monotonic() - began
            if spent > _BUILD_S:
                raise CommandError(f"go install ran longer than {_BUILD_S:.0f}s", remedy=REMEDY)
            progress.advance("building k6", min(spent, _BUILD_EXPECTED_S), _BUILD_EXPECTED_S)
            pause(0.2)
    if status != 0 or not (work / "k6").exists():
        raise CommandError(
            f"go install {GO_MODULE} ended with status {status}", remedy=REMEDY, evidence=build.tail(5)
        )
    progress.say(f"k6: built in {time.monotonic() - began:.0f}s")
    return work / "k6"


def _from_archive(work: Path, name: str, sha256: str, archives: str, progress: Progress) -> Path:
    suffix = "zip" if name.startswith("macos") else "tar.gz"
    url = f"{archives}/k6-v{K6_VERSION}-{name}.{suffix}"
    archive = work / f"archive.{suffix}"
    progress.say(f"k6: downloading {url}")
    found = _download(url, archive, progress)
    if found != sha256:
        raise InfrastructureError(f"{url} has SHA-256 {found}, expected {sha256}", remedy=REMEDY)
    member = f"k6-v{K6_VERSION}-{name}/k6"
    try:
        if suffix == "zip":
            with zipfile.ZipFile(archive) as opened, opened.open(member) as packed:
                return _unpack(packed, work / "k6")
        with tarfile.open(archive) as opened_tar:
            stream = opened_tar.extractfile(member)
            assert stream is not None
            with stream:
                return _unpack(stream, work / "k6")
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise InfrastructureError(f"{url} does not hold {member}: {error}", remedy=REMEDY) from error


def _unpack(packed: IO[bytes], target: Path) -> Path:
    with target.open("wb") as sink:
        shutil.copyfileobj(packed, sink)
    target.chmod(0o755)
    return target


def _download(url: str, target: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    # The URL is a constant of this module but for tests, which serve it on loopback.
    with urllib.request.urlopen(url, timeout=30) as answer, target.open("wb") as sink:  # noqa: S310
        total = float(answer.headers.get("Content-Length") or 0)
        done = 0
        while block := answer.read(1 << 20):
            digest.update(block)
            sink.write(block)
            done += len(block)
            progress.advance("downloading k6", done, max(total, done))
    return digest.hexdigest()
