"""Names that all values share, and their base."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["ARRIVAL_BLUR_MS", "COMMITTED", "GENERATOR", "LEGS", "PROBE_FSPS", "LegName", "Value"]

LegName = Literal["discovery", "quote", "transfer"]
LEGS: tuple[LegName, ...] = ("discovery", "quote", "transfer")
COMMITTED = "COMMITTED"
"""The one outcome of a transaction that counts as success; every other outcome names a failure class."""
ARRIVAL_BLUR_MS = 1500.0
"""After a dropped arrival, later ones may seem scheduled this much too early at most (see `load.records`)."""
GENERATOR = "k6"
"""Name of the load generator among the processes that are accounted for."""
PROBE_FSPS: tuple[str, str] = ("fspprobea", "fspprobeb")
"""Payer and payee that only the security probes use; security material is made for them too."""


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all values: immutable, keyword-only, refusing unknown members when read from a file.

    A subclass repeats `frozen=True, kw_only=True`: type checkers and msgspec want it said again.
    """
