"""The run folder: versioned JSON of every value, logs, and a journal written before each creation."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.model import Value
from pytest_mojaloop_perf.options import Options

__all__ = ["SCHEMA", "RunFolder", "redact"]

SCHEMA = 1
"""Version of all JSON files of a run folder; raised when a reader of the old one would be wrong."""

V = TypeVar("V", bound=Value)

_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_SECRET = re.compile(
    r"(?i)\b(authorization|password|secret|token|aws_secret_access_key)(\"?\s*[=:]\s*\"?)([^\s\",]+)"
)


def redact(text: str) -> str:
    """Return the text with private keys, passwords and tokens replaced."""
    return _SECRET.sub(r"\1\2<redacted>", _PEM.sub("<redacted private key>", text))


class RunFolder:
    """One run's folder. Every value is one file, named like its type in kebab case or by `name`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make the folder and return it.

        Raises:
            BadInputError: it cannot be made or written to.
        """
        try:
            (path / "logs").mkdir(parents=True, exist_ok=True)
            (path / ".writable").touch()
            (path / ".writable").unlink()
        except OSError as error:
            raise BadInputError(
                f"the run folder {path} cannot be written: {error.strerror}",
                remedy="name a writable folder with --perf-output",
            ) from error
        return cls(path)

    def file(self, name: str) -> Path:
        """Return the path of a file in this folder (not checked)."""
        return self.path / name

    def log(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self.path / "logs" / f"{name}.log"

    def write(self, value: Value | Options, *, name: str | None = None) -> Path:
        """Store a value as versioned JSON, whole or not at all, and return the file's path."""
        kind = type(value).__name__
        path = self.path / f"{name or _kebab(kind)}.json"
        body = msgspec.json.format(
            msgspec.json.encode({"schema": SCHEMA, "kind": kind, "value": value}, enc_hook=_encode), indent=1
        )
        partial = path.with_suffix(f".json.partial-{os.getpid()}")
        partial.write_bytes(body + b"\n")
        partial.replace(path)
        return path

    def read(self, kind: type[V], *, name: str | None = None) -> V:
        """Load a value that `write` stored.

        Raises:
            BadInputError: no such file, another schema version, or content that does not fit the type.
        """
        path = self.path / f"{name or _kebab(kind.__name__)}.json"
        remedy = f"name a complete run folder; {self.path} has no readable {path.name}"
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise BadInputError(f"{path} cannot be read: {error}", remedy=remedy) from error
        if document.get("schema") != SCHEMA:
            raise BadInputError(
                f"{path} has schema {document.get('schema')!r}, expected {SCHEMA}",
                remedy="read it with the package version that wrote it (versions.json names it)",
            )
        try:
            return msgspec.convert(document["value"], kind, dec_hook=_decode)
        except (msgspec.ValidationError, KeyError) as error:
            raise BadInputError(f"{path} is not a {kind.__name__}: {error}", remedy=remedy) from error

    def has(self, kind: type[Value], *, name: str | None = None) -> bool:
        """Say whether a value of that kind was stored."""
        return (self.path / f"{name or _kebab(kind.__name__)}.json").exists()

    def journal(self, event: str, **facts: Any) -> None:
        """Append one line to the journal and force it to disk; call it *before* making anything."""
        line = json.dumps({"at": time.time(), "event": event, **facts}, default=str)
        with (self.path / "journal.jsonl").open("a") as sink:
            sink.write(line + "\n")
            sink.flush()
            os.fsync(sink.fileno())


def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _decode(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise TypeError(kind.__name__)
