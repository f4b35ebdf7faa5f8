"""What a check found wrong, and what to do about it; no finding means that all is well."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_mojaloop_perf.model import Value

__all__ = ["Finding", "Findings", "tell"]


class Finding(Value, frozen=True, kw_only=True):
    """One thing that is not as it should be, in the words of an error: what, and the remedy."""

    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}. Remedy: {self.remedy}."


Findings = tuple[Finding, ...]


def tell(findings: Iterable[Finding]) -> str:
    """Return the findings as the message of a failed assertion, one per line."""
    return "\n".join(map(str, findings))
