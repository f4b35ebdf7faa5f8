"""Finding and installing k6: order, refusals, both ways of installing, and what is left behind."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_mojaloop_perf.errors import BadInputError, MissingToolError
from pytest_mojaloop_perf.load import install
from pytest_mojaloop_perf.load.install import K6_VERSION, install_k6, platform_name
from pytest_mojaloop_perf.load.k6 import cache_folder, find_k6, locate_k6, parse_version


class Told:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def advance(self, stage: str, done: float, total: float, note: str = "") -> None:
        assert 0 <= done <= total, (stage, note)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def fake_k6(path: Path, version: str) -> Path:
    return program(path, f"echo 'k6 v{version} (go1.26.8, linux/amd64)'")


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but a shell's tools, and a cache of our own."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "mkdir", "cp", "cat", "echo"):
        found = next(Path(f) / name for f in ("/bin", "/usr/bin") if (Path(f) / name).exists())
        (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.platform", "linux")
    return tools


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("k6 v1.8.1 (go1.26.8, linux/amd64)", (1, 8, 1, "")),
        ("k6 v2.0.0 (commit/abc, go1.25.10, darwin/arm64)\nExtensions:\n  x", (2, 0, 0, "")),
        ("k6 v2.0.0-rc1 (go1.25)", (2, 0, 0, "-rc1")),
        ("k6.exe v0.49.0 (2024)", (0, 49, 0, "")),
        ("bash 5.2", None),
        ("", None),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, int, int, str] | None) -> None:
    assert parse_version(text) == version


def test_the_given_path_wins_over_path_and_cache(empty_machine: Path, tmp_path: Path) -> None:
    given = fake_k6(tmp_path / "mine" / "k6", "2.1.0")
    fake_k6(empty_machine / "k6", "1.9.0")
    fake_k6(cache_folder() / K6_VERSION / "k6", "1.8.1")
    found = find_k6(str(given))
    assert found is not None
    assert (found.path, found.version) == (given, "2.1.0")


def test_path_wins_over_the_cache_and_the_cache_over_nothing(empty_machine: Path) -> None:
    assert find_k6(None) is None
    cached = fake_k6(cache_folder() / K6_VERSION / "k6", "1.8.1")
    found = find_k6(None)
    assert found is not None
    assert found.path == cached
    on_path = fake_k6(empty_machine / "k6", "1.9.0")
    found = find_k6(None)
    assert found is not None
    assert found.path == on_path


def test_an_old_k6_on_path_is_passed_over(empty_machine: Path) -> None:
    fake_k6(empty_machine / "k6", "0.57.0")
    assert find_k6(None) is None
    with pytest.raises(MissingToolError, match=r"0\.57\.0 on PATH is too old"):
        locate_k6(None, install=False, progress=Told())


@pytest.mark.parametrize("body", ["echo bash 5.2", "exit 3", "echo 'k6 v0.49.0 (x)'"])
def test_a_given_program_that_is_no_usable_k6_is_refused(tmp_path: Path, body: str) -> None:
    given = program(tmp_path / "given", body)
    with pytest.raises(BadInputError) as caught:
        find_k6(str(given))
    assert "--perf-k6" in str(caught.value)


def test_a_given_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="expected a k6 program"):
        find_k6(str(tmp_path / "nowhere"))
    with pytest.raises(BadInputError, match="expected a k6 program"):
        find_k6("k6-by-another-name")


def test_switched_off_installing_names_both_remedies() -> None:
    with pytest.raises(MissingToolError) as caught:
        locate_k6(None, install=False, progress=Told())
    text = str(caught.value)
    assert "switched off" in text
    assert "go install" in text
    assert "install-k6" in text
    assert not cache_folder().exists()


def test_the_cache_is_where_the_platform_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache" / "pytest-mojaloop-perf" / "k6"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / "home" / ".cache" / "pytest-mojaloop-perf" / "k6"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == tmp_path / "home" / "Library" / "Caches" / "pytest-mojaloop-perf" / "k6"


GO = """
mkdir -p "$GOBIN"
echo run >> "$GO_CALLS"
echo "CGO_ENABLED=$CGO_ENABLED $*" >> "$GO_CALLS"
printf '#!/bin/sh\\necho "k6 v1.8.1 (go1.26.8, linux/amd64)"\\n' > "$GOBIN/k6"
/bin/chmod 755 "$GOBIN/k6"
"""


def test_go_builds_it_into_the_cache(
    empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(empty_machine / "go", GO)
    monkeypatch.setenv("GO_CALLS", str(tmp_path / "calls"))
    told = Told()
    found = locate_k6(None, install=True, progress=told)
    assert (found.path, found.version) == (cache_folder() / K6_VERSION / "k6", "1.8.1")
    calls = (tmp_path / "calls").read_text()
    assert f"CGO_ENABLED=0 install -trimpath -ldflags=-s -w go.k6.io/k6@v{K6_VERSION}" in calls
    assert any("installing k6" in line for line in told.said)
    assert any("go install" in line for line in told.said)
    assert [path.name for path in found.path.parent.iterdir()] == ["k6"], "nothing is left half-way"


def test_parallel_sessions_build_once(
    empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(empty_machine / "go", GO)
    monkeypatch.setenv("GO_CALLS", str(tmp_path / "calls"))
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(install_k6(cache_folder(), progress=Told())))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert (tmp_path / "calls").read_text().count("run\n") == 1


@pytest.mark.parametrize("go", [None, "echo no network >&2; exit 1", "exit 0"])
def test_a_failed_build_names_both_remedies_and_leaves_nothing(empty_machine: Path, go: str | None) -> None:
    if go is not None:
        program(empty_machine / "go", go)
    stale = cache_folder() / K6_VERSION / "partial-of-a-killed-session"
    stale.mkdir(parents=True)
    with pytest.raises(MissingToolError) as caught:
        locate_k6(None, install=True, progress=Told())
    text = str(caught.value)
    assert "the official archive" in text
    assert "go install" in text
    assert "--perf-k6=PATH" in text
    if go is not None and "network" in go:
        assert "no network" in text
    assert list((cache_folder() / K6_VERSION).iterdir()) == []


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        pass


@pytest.fixture
def archives(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "archives"
    folder.mkdir()
    handler = partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    server.server_close()
    thread.join()


def make_archive(folder: Path, name: str, member: str) -> str:
    script = b'#!/bin/sh\necho "k6 v1.8.1 (go, linux/amd64)"\n'
    if name.startswith("macos"):
        path = folder / f"k6-v{K6_VERSION}-{name}.zip"
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(member, script)
    else:
        path = folder / f"k6-v{K6_VERSION}-{name}.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo(member)
            info.size = len(script)
            tar.addfile(info, io.BytesIO(script))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["linux-amd64", "macos-arm64"])
def test_a_pinned_archive_is_used(
    archives: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    url, folder = archives
    monkeypatch.setattr(install, "platform_name", lambda: name)
    sha256 = make_archive(folder, name, f"k6-v{K6_VERSION}-{name}/k6")
    told = Told()
    made = install_k6(tmp_path / "c", progress=told, pinned={name: sha256}, archives=url)
    assert os.access(made, os.X_OK)
    assert b"k6 v1.8.1" in made.read_bytes()
    assert any("downloading" in line for line in told.said)
    assert [path.name for path in made.parent.iterdir()] == ["k6"]


@pytest.mark.parametrize("damage", ["checksum", "member", "absent", "unpinned"])
def test_an_archive_that_is_not_the_pinned_one_is_not_used(
    archives: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str
) -> None:
    url, folder = archives
    name = "linux-amd64"
    monkeypatch.setattr(install, "platform_name", lambda: name)
    sha256 = make_archive(folder, name, "k6" if damage == "member" else f"k6-v{K6_VERSION}-{name}/k6")
    pinned = {
        "checksum": {name: "0" * 64},
        "member": {name: sha256},
        "absent": {name: sha256},
        "unpinned": {"linux-arm64": sha256},
    }[damage]
    if damage == "absent":
        url += "/elsewhere"
    with pytest.raises(MissingToolError) as caught:
        install_k6(tmp_path / "c", progress=Told(), pinned=pinned, archives=url)
    wanted = {
        "checksum": "SHA-256",
        "member": "does not hold",
        "absent": "404",
        "unpinned": "no pinned checksum for linux-amd64",
    }[damage]
    assert wanted in str(caught.value)
    assert list((tmp_path / "c" / K6_VERSION).iterdir()) == []


def test_the_platform_is_named_as_the_archives_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert platform_name() == "linux-amd64"
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert platform_name() == "macos-arm64"


def test_every_pinned_checksum_is_one() -> None:
    for name, sha256 in install.PINNED_SHA256.items():
        assert name.split("-")[0] in {"linux", "macos"}
        assert len(bytes.fromhex(sha256)) == 32
