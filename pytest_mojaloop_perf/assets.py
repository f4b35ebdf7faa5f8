"""Where packaged data is: `fixtures/`, `k6/` and the like, in the wheel or in a checkout."""

from __future__ import annotations

from pathlib import Path

from pytest_mojaloop_perf.errors import BadInputError

__all__ = ["asset", "asset_names"]

_PACKAGE = Path(__file__).resolve().parent


def _root() -> Path:
    packaged = _PACKAGE / "_assets"
    return packaged if packaged.is_dir() else _PACKAGE.parent


def asset(relative: str) -> Path:
    """Return the path of a packaged file or folder, for example `k6/transactions.js`.

    Raises:
        BadInputError: there is no such file; the installation is incomplete.
    """
    path = _root() / relative
    if not path.exists():
        raise BadInputError(
            f"the packaged file {relative} is missing from {_root()}",
            remedy="install the package again (pip install --force-reinstall pytest-mojaloop-perf)",
        )
    return path


def asset_names(folder: str, suffix: str) -> tuple[str, ...]:
    """Return the base names without `suffix` of all files of that kind in a packaged folder, sorted."""
    return tuple(sorted(path.name.removesuffix(suffix) for path in asset(folder).glob(f"*{suffix}")))
