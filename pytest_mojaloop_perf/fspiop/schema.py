"""Check the body of a message, with the error codes that the hub and the scheme adapter answer."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal, TypeVar

import msgspec

from pytest_mojaloop_perf.fspiop import bodies
from pytest_mojaloop_perf.fspiop.codes import (
    MALFORMED_SYNTAX,
    MISSING_ELEMENT,
    TOO_MANY_ELEMENTS,
    UNKNOWN_URI,
    VALIDATION,
    FspiopError,
)

__all__ = ["body_type", "decode_body", "is_correlation_id"]

BodyT = TypeVar("BodyT", bound=bodies.Body)
Flavour = Literal["hub", "sdk"]

_TYPES: dict[tuple[str, str], type[bodies.Body]] = {
    ("PUT", "parties"): bodies.PartiesPut,
    ("POST", "participants"): bodies.ParticipantsPost,
    ("PUT", "participants"): bodies.ParticipantsPut,
    ("POST", "quotes"): bodies.QuotesPost,
    ("PUT", "quotes"): bodies.QuotesPut,
    ("POST", "transfers"): bodies.TransfersPost,
    ("PUT", "transfers"): bodies.TransfersPut,
    ("PATCH", "transfers"): bodies.TransfersPatch,
}
_CORRELATION_ID = re.compile(bodies.CORRELATION_ID)
_WRONG_TYPE = re.compile(r"Expected `[^`]+`, got `")


def body_type(method: str, resource: str, *, error: bool = False) -> type[bodies.Body]:
    """Return the type of the body of a request; `error` for `PUT .../error`.

    Raises:
        FspiopError: 3002, no such request has a body.
    """
    if error and method == "PUT":
        return bodies.ErrorInformationObject
    found = _TYPES.get((method, resource))
    if found is None:
        raise FspiopError(UNKNOWN_URI, f"{method} /{resource} has no body", status=404)
    return found


def is_correlation_id(text: str) -> bool:
    """Tell whether a text may be the id of a quote or a transfer."""
    return _CORRELATION_ID.match(text) is not None


def decode_body(kind: type[BodyT], body: bytes, *, flavour: Flavour = "hub") -> BodyT:
    """Return a body as its type.

    Args:
        kind: of `bodies`.
        body: as received.
        flavour: the hub tells unknown members (3103) and wrong JSON types (3101) apart; the scheme adapter
            answers both with 3100.

    Raises:
        FspiopError: 3102, 3103, 3101 or 3100.
    """
    try:
        decoder: msgspec.json.Decoder[BodyT] = _decoder(kind)
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), flavour) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FspiopError(MALFORMED_SYNTAX, f"the body is not JSON: {error}") from error


@cache
def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _refusal(message: str, flavour: Flavour) -> FspiopError:
    """Return the FSPIOP error for a message of msgspec, whose texts tell the kinds of defect apart."""
    if message.startswith("Object missing required field"):
        return FspiopError(MISSING_ELEMENT, message)
    if flavour == "hub" and message.startswith("Object contains unknown field"):
        return FspiopError(TOO_MANY_ELEMENTS, message)
    if flavour == "hub" and _WRONG_TYPE.match(message):
        return FspiopError(MALFORMED_SYNTAX, message)
    return FspiopError(VALIDATION, message)
