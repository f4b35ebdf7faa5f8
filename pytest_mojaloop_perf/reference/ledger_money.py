"""Numbers of the admin API as integers of ten-thousandths, and instants as text: exact and cheap."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal

__all__ = ["MONEY_MAX", "format_instant", "now_ms", "parse_instant_ms", "parse_money"]

SCALE = 10_000
MONEY_MAX = 10**17
"""Largest single amount that is booked: sums of many of them still fit the 64 bits of a column."""


def parse_money(number: Decimal | str) -> int | None:
    """Return ten-thousandths of a number of the admin API, or None when it does not fit."""
    try:
        scaled = Decimal(number) * SCALE
    except ArithmeticError:
        return None
    if not scaled.is_finite() or abs(scaled) > MONEY_MAX or scaled != int(scaled):
        return None
    return int(scaled)


def now_ms() -> int:
    """Return the wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def parse_instant_ms(text: str) -> int | None:
    """Return epoch milliseconds of an ISO 8601 instant with a zone, or None when it is not one."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    if instant.tzinfo is None:
        return None
    return round(instant.timestamp() * 1000)


class _Second:
    """The text of the second that was formatted last: many instants fall into the same one."""

    number = -1
    text = ""


def format_instant(instant_ms: int) -> str:
    """Return `2026-01-31T23:59:59.123Z`."""
    second, millisecond = divmod(instant_ms, 1000)
    if second != _Second.number:
        _Second.text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _Second.number = second
    return f"{_Second.text}.{millisecond:03d}Z"
