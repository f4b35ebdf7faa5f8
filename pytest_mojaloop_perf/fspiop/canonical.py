"""The JSON text that signatures cover: compact, keys sorted at every level, numbers as in JavaScript."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import msgspec

__all__ = ["canonical_json", "canonical_text_of", "encode_sorted"]

_ENCODER = msgspec.json.Encoder(order="sorted")
_LARGEST_PLAIN_EXPONENT = 21
_SMALLEST_PLAIN_EXPONENT = -6


def encode_sorted(value: Any) -> bytes:
    """Return sorted compact JSON, fast; exact for values without numbers, as all FSPIOP bodies are."""
    return _ENCODER.encode(value)


def canonical_json(value: Any) -> bytes:
    """Return sorted compact JSON exactly as JavaScript would write it, numbers and odd keys included."""
    # A lone surrogate cannot be UTF-8; JavaScript writes it as an escape, and so do we.
    return _text(value).encode("utf-8", "backslashreplace")


def canonical_text_of(body: bytes) -> bytes:
    """Return the canonical text of a JSON body as received.

    Raises:
        ValueError: not JSON.
    """
    return canonical_json(json.loads(body, parse_constant=_refuse_constant))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        # JavaScript sorts by UTF-16 unit, which differs from code points beyond the basic plane.
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_string(key)}:{_text(value[key])}" for key in keys) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, str):
        return _string(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _number(value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _number(value: float) -> str:
    """Return a number as JavaScript writes the nearest double."""
    try:
        double = float(value)
    except OverflowError:
        return "null"
    if not math.isfinite(double):
        return "null"
    if double == 0:
        return "0"
    sign = "-" if double < 0 else ""
    mantissa, _, exponent = f"{abs(double)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    # The number is 0.DIGITS * 10**point.
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    return sign + _place(digits.rstrip("0"), point)


def _place(digits: str, point: int) -> str:
    """Return `0.digits * 10**point` in JavaScript's choice of plain or exponent form."""
    if len(digits) <= point <= _LARGEST_PLAIN_EXPONENT:
        return digits + "0" * (point - len(digits))
    if 0 < point <= _LARGEST_PLAIN_EXPONENT:
        return f"{digits[:point]}.{digits[point:]}"
    if _SMALLEST_PLAIN_EXPONENT < point <= 0:
        return f"0.{'0' * -point}{digits}"
    exponent = point - 1
    mantissa = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
    return f"{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"
