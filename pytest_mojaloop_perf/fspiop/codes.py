"""FSPIOP error codes and the one shape of an error body."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

__all__ = [
    "BAD_SIGNATURE",
    "BODY_TOO_LARGE",
    "DESTINATION_COMMUNICATION",
    "DESTINATION_FSP",
    "DESTINATION_TIMED_OUT",
    "DESTINATION_UNAVAILABLE",
    "GENERIC_CLIENT",
    "ID_NOT_FOUND",
    "INTERNAL_SERVER",
    "LIMIT",
    "LIQUIDITY",
    "MALFORMED_SYNTAX",
    "MISSING_ELEMENT",
    "MODIFIED_REQUEST",
    "PARTY_NOT_FOUND",
    "PAYEE_FSP_NOT_FOUND",
    "PAYER_FSP_NOT_FOUND",
    "QUOTE_EXPIRED",
    "QUOTE_ID_NOT_FOUND",
    "QUOTE_REJECTED",
    "TOO_MANY_ELEMENTS",
    "TRANSFER_EXPIRED",
    "TRANSFER_ID_NOT_FOUND",
    "TRANSFER_REJECTED",
    "UNACCEPTABLE_VERSION",
    "UNKNOWN_URI",
    "VALIDATION",
    "FspiopError",
    "error_body",
    "error_value",
]

DESTINATION_COMMUNICATION = "1001"
INTERNAL_SERVER = "2001"
DESTINATION_UNAVAILABLE = "2003"
DESTINATION_TIMED_OUT = "2004"
GENERIC_CLIENT = "3000"
UNACCEPTABLE_VERSION = "3001"
UNKNOWN_URI = "3002"
VALIDATION = "3100"
MALFORMED_SYNTAX = "3101"
MISSING_ELEMENT = "3102"
TOO_MANY_ELEMENTS = "3103"
BODY_TOO_LARGE = "3104"
BAD_SIGNATURE = "3105"
MODIFIED_REQUEST = "3106"
ID_NOT_FOUND = "3200"
DESTINATION_FSP = "3201"
PAYER_FSP_NOT_FOUND = "3202"
PAYEE_FSP_NOT_FOUND = "3203"
PARTY_NOT_FOUND = "3204"
QUOTE_ID_NOT_FOUND = "3205"
TRANSFER_ID_NOT_FOUND = "3208"
QUOTE_EXPIRED = "3302"
TRANSFER_EXPIRED = "3303"
LIQUIDITY = "4001"
LIMIT = "4200"
QUOTE_REJECTED = "5103"
TRANSFER_REJECTED = "5104"

_DESCRIPTION_MAX = 128


class FspiopError(Exception):
    """A message is refused, or a transaction failed, with an FSPIOP code.

    Args:
        code: four digits.
        description: one plain sentence; cut to the 128 characters that the protocol allows.
        status: the HTTP status when it is answered synchronously.
        extensions: key and value pairs of an extensionList.
    """

    def __init__(
        self, code: str, description: str, *, status: int = 400, extensions: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.code = code
        self.description = description
        self.status = status
        self.extensions = tuple(extensions)
        super().__init__(f"{code} {description}")

    def body(self) -> bytes:
        """Return the JSON body of the answer or of the error callback."""
        return error_body(self.code, self.description, self.extensions)


def error_value(
    code: str, description: str, extensions: Sequence[tuple[str, str]] = ()
) -> dict[str, dict[str, object]]:
    """Return `{"errorInformation": ...}`."""
    information: dict[str, object] = {"errorCode": code, "errorDescription": description[:_DESCRIPTION_MAX]}
    if extensions:
        pairs = [{"key": key, "value": value} for key, value in extensions]
        information["extensionList"] = {"extension": pairs}
    return {"errorInformation": information}


def error_body(code: str, description: str, extensions: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the error body as sorted compact JSON."""
    return msgspec.json.encode(error_value(code, description, extensions), order="sorted")
