"""Parsing and printing of quantities; units go last in a name (`_s`, `_ms`, `_tps`, `_percent`)."""

from __future__ import annotations

import math
import re

from pytest_mojaloop_perf.errors import BadInputError

__all__ = ["apart", "format_duration_s", "format_number", "parse_duration_s", "parse_positive_float"]

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration_s(text: str | float, *, name: str) -> float:
    """Return seconds from `90`, `"90s"`, `"1m30s"`, `"500ms"` or `"2h"`.

    Raises:
        BadInputError: not a duration, not finite, or not above zero; `name` says which option.
    """
    value: float | None = None
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        value = float(text)
    elif isinstance(text, str):
        stripped = text.strip()
        parts = _PART.findall(stripped)
        if parts and "".join(number + unit for number, unit in parts) == stripped:
            value = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        elif re.fullmatch(r"\d+(\.\d+)?", stripped):
            value = float(stripped)
    if value is None or not math.isfinite(value) or value <= 0:
        raise BadInputError(
            f"{name} is {text!r}, expected a duration above zero",
            remedy=f"write {name} like 90s, 5m or 1m30s",
        )
    return value


def parse_positive_float(text: str | float, *, name: str, most: float) -> float:
    """Return a finite number in (0, most].

    Raises:
        BadInputError: anything else.
    """
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or not 0 < value <= most:
        raise BadInputError(
            f"{name} is {text!r}, expected a number above 0 and at most {format_number(most)}",
            remedy=f"give {name} a number in that range, for example {name}=50",
        )
    return value


def format_duration_s(seconds: float) -> str:
    """Return `850ms`, `12s`, `3m05s` or `2h10m`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def format_number(value: float, *, digits: int = 4) -> str:
    """Return a number with at most `digits` significant digits, thousands separated, no exponent.

    Zeros at the end of a fraction are left out: they would only claim a precision.
    """
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def apart(value: float, limit: float, *, digits: int = 4) -> str:
    """Return the number with as many digits as it takes to see on which side of the limit it lies.

    Four digits would print 499.98 as `500` beside the objective `< 500`.
    """
    for enough in range(digits, 16):
        text = format_number(value, digits=enough)
        if value == limit or float(text.replace(",", "")) != limit:
            return text
    return repr(value)
