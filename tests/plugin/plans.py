"""Options as the command line would give them, without a pytest run."""

from __future__ import annotations

from datetime import UTC, datetime

from pytest_mojaloop_perf.options import OPTIONS, Options

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def options(*, markexpr: str = "perf", **values: str) -> Options:
    """Return the defaults, some of them changed."""
    return Options(
        values={**{option.name: option.default for option in OPTIONS}, **values}, markexpr=markexpr
    )
