"""The error tree: every error says what was observed, what was expected, and what to do about it."""

from __future__ import annotations

__all__ = [
    "BadInputError",
    "CommandError",
    "InfrastructureError",
    "InvalidRunError",
    "MissingToolError",
    "PerfError",
    "WaitTimeoutError",
]


class PerfError(Exception):
    """Base of all errors of this package.

    Args:
        problem: one sentence: "<thing> <observed>, expected <x>".
        remedy: one command or option that mends it; mandatory.
        evidence: a path or an excerpt that shows the problem.
    """

    def __init__(self, problem: str, *, remedy: str, evidence: str | None = None) -> None:
        assert remedy, "an error without a remedy helps nobody"
        self.problem = problem.rstrip(".")
        self.remedy = remedy.rstrip(".")
        self.evidence = evidence
        super().__init__(problem)

    def __str__(self) -> str:
        text = f"{self.problem}. Remedy: {self.remedy}."
        return f"{text} Evidence: {self.evidence}" if self.evidence else text


class BadInputError(PerfError):
    """An option, file or combination is refused before anything starts (pytest exit code 4)."""


class MissingToolError(PerfError):
    """A program that the chosen target needs is not on this machine."""


class InfrastructureError(PerfError):
    """The environment could not be made, broke, or could not be removed: nobody's performance is judged."""


class CommandError(InfrastructureError):
    """A process ended in a way that it should not have."""


class WaitTimeoutError(InfrastructureError):
    """Something that was waited for did not come about within its bound."""


class InvalidRunError(PerfError):
    """The run cannot support a conclusion: neither PASS nor FAIL."""
