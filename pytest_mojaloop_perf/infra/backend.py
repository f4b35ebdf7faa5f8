"""What every target offers: attach to its environment, ask whether it lives, let it go."""

from __future__ import annotations

from typing import Protocol

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.model import Environment, Plan
from pytest_mojaloop_perf.progress import Progress

__all__ = ["Attachment", "Backend"]


class Attachment(Protocol):
    """A hold on an environment: it stays up at least as long as one attachment is open."""

    @property
    def environment(self) -> Environment:
        """What there is."""

    def alive(self) -> None:
        """Return when everything runs; cheap enough to be called several times per second.

        Raises:
            InfrastructureError: a part of the environment ended; names it and shows its last words.
        """

    def keep(self, ttl_s: float) -> None:
        """Let the environment stay for `ttl_s` seconds from now, even when nobody is attached."""

    def close(self) -> None:
        """Let go. The last one to let go waits until everything is removed. May be called twice."""


class Backend(Protocol):
    """A target: it makes an environment, or finds the one that another worker of the session made."""

    def attach(self, plan: Plan, folder: RunFolder, progress: Progress) -> Attachment:
        """Return a hold on the session's environment, made at the first call; everything in it answers.

        Raises:
            PerfError: it cannot be made or found; nothing that was begun is left behind.
        """
