"""FSPIOP headers: which a message must carry, and how ours are made."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

from pytest_mojaloop_perf.fspiop.codes import (
    MALFORMED_SYNTAX,
    MISSING_ELEMENT,
    UNACCEPTABLE_VERSION,
    FspiopError,
)

__all__ = ["RESOURCES", "check_headers", "http_date", "message_headers"]

RESOURCES = ("parties", "participants", "quotes", "transfers")
CONTENT_VERSIONS = ("1.0", "1.1", "2.0")
ACCEPT_VERSIONS = ("1", "1.0", "1.1", "2", "2.0")
_ACCEPT_NEEDED = frozenset(("GET", "POST", "DELETE"))

_MEDIA = r"application/vnd\.interoperability\.(?:iso20022\.)?([A-Za-z]+)\+json"
_CONTENT_TYPE = re.compile(rf"{_MEDIA} ?; ?version=([0-9]+\.[0-9]+)")
_ACCEPT = re.compile(rf"{_MEDIA}(?: ?; ?version=([0-9]+(?:\.[0-9]+)?))?")
_IMF_FIXDATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} "
    r"[0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT"
)


def check_headers(
    method: str, resource: str, headers: Mapping[str, str], *, date_required: bool = True
) -> None:
    """Check the headers of a request for one resource.

    Args:
        method: upper case.
        resource: of the path: parties, participants, quotes or transfers.
        headers: lower-case names.
        date_required: the hub demands Date, a DFSP does not.

    Raises:
        FspiopError: 3102 missing, 3101 malformed (both 400), 3001 unsupported version (406).
    """
    for name in ("content-type", "fspiop-source"):
        if not headers.get(name):
            raise FspiopError(MISSING_ELEMENT, f"header {name} is missing")
    _check_content_type(headers["content-type"], resource)
    if method in _ACCEPT_NEEDED:
        if not headers.get("accept"):
            raise FspiopError(MISSING_ELEMENT, "header accept is missing")
        _check_accept(headers["accept"], resource)
    date = headers.get("date")
    if date is not None:
        _check_date(date)
    elif date_required:
        raise FspiopError(MISSING_ELEMENT, "header date is missing")


def message_headers(
    resource: str, *, source: str, destination: str | None, accept: bool, version: str = "1.0"
) -> dict[str, str]:
    """Return the headers of a new message, names in lower case, without a signature.

    Args:
        resource: parties, participants, quotes or transfers.
        source: FSPIOP-Source.
        destination: FSPIOP-Destination, or None when it is not known.
        accept: whether an Accept header belongs to it (requests, not callbacks).
        version: `1.0` (with accept 1) or `2.0` (with accept 2).
    """
    media = f"application/vnd.interoperability.{resource}+json;version="
    headers = {"content-type": media + version, "date": http_date(), "fspiop-source": source}
    if accept:
        headers["accept"] = media + version.removesuffix(".0")
    if destination is not None:
        headers["fspiop-destination"] = destination
    return headers


def http_date() -> str:
    """Return the time of day as an HTTP date."""
    return _date_of(int(time.time()))


@lru_cache(maxsize=4)
def _date_of(second: int) -> str:
    return formatdate(second, usegmt=True)


# The same few header values come with every message: only the first of each is parsed. Errors are not cached.
@lru_cache(maxsize=256)
def _check_content_type(value: str, resource: str) -> None:
    match = _CONTENT_TYPE.fullmatch(value)
    if match is None or match[1] != resource:
        raise FspiopError(MALFORMED_SYNTAX, f"header content-type is not one of {resource}")
    if match[2] not in CONTENT_VERSIONS:
        raise _unacceptable(match[2])


@lru_cache(maxsize=256)
def _check_accept(value: str, resource: str) -> None:
    versions = []
    for part in value.split(","):
        match = _ACCEPT.fullmatch(part.strip())
        if match is None or match[1] != resource:
            raise FspiopError(MALFORMED_SYNTAX, f"header accept is not one of {resource}")
        versions.append(match[2] or ACCEPT_VERSIONS[-1])
    if not any(version in ACCEPT_VERSIONS for version in versions):
        raise _unacceptable(", ".join(versions))


@lru_cache(maxsize=64)
def _check_date(value: str) -> None:
    try:
        # The pattern fixes the form; parsing refuses days that no month has.
        ok = _IMF_FIXDATE.fullmatch(value) is not None and bool(parsedate_to_datetime(value))
    except ValueError:
        ok = False
    if not ok:
        raise FspiopError(MALFORMED_SYNTAX, "header date is not an HTTP date in GMT")


def _unacceptable(version: str) -> FspiopError:
    """Return the 406 answer, which lists what would be accepted."""
    supported = [(number.partition(".")[0], number.partition(".")[2]) for number in CONTENT_VERSIONS]
    return FspiopError(
        UNACCEPTABLE_VERSION, f"version {version} is not supported", status=406, extensions=supported
    )
