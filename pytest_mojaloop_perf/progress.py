"""How a stage tells a person what it is doing; the terminal's side of it is in `report.terminal`."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """What a stage may say while it works."""

    def say(self, text: str) -> None:
        """Print one line that stays."""

    def advance(self, stage: str, done: float, total: float, note: str = "") -> None:
        """Show that `done` of `total` (same unit) of a stage is done; the receiver works out an ETA."""


class Silent:
    """A progress that says nothing, for tests and for the command line's quiet mode."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def advance(self, stage: str, done: float, total: float, note: str = "") -> None:
        """Show nothing."""
