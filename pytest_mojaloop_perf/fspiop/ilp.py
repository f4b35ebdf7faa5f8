"""Interledger material of a quote: packet, condition and fulfilment, in Mojaloop's versions 1 and 4.

Version 1 packets (ILP_VERSION unset or 1) carry the payee's account; version 4 packets carry the condition
and the expiry. Both carry the transaction as base64url text of sorted JSON, encoded again with the packet.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from pytest_mojaloop_perf.fspiop.amounts import minor_units
from pytest_mojaloop_perf.fspiop.canonical import encode_sorted

__all__ = ["DecodedPacket", "Ilp", "IlpError", "IlpMaterial", "decode_packet", "fulfils", "packet_matches"]

_V1_TYPE = 0x01
_V4_TYPE = 0x0C
_V4_ACCOUNT = b"g.mojaloop"
_HASH_BYTES = 32
_FROM_REQUEST = ("quoteId", "transactionId", "transactionType", "payee", "payer")


class IlpError(ValueError):
    """No packet can be made of this quote, or a packet cannot be read."""


class IlpMaterial(msgspec.Struct, frozen=True):
    """What a quote response carries (packet, condition), and what stays with the payee (fulfilment)."""

    packet: str
    fulfilment: str
    condition: str


class DecodedPacket(msgspec.Struct, frozen=True):
    """A packet taken apart; `expires_at` and `condition` are None in version 1."""

    version: Literal["1", "4"]
    amount: int
    account: str
    data: str
    expires_at: str | None = None
    condition: str | None = None

    def transaction(self) -> dict[str, Any]:
        """Return the transaction that the packet carries.

        Raises:
            IlpError: its data is not the base64url of a JSON object.
        """
        try:
            return msgspec.json.decode(_unb64(self.data), type=dict[str, Any])
        except (binascii.Error, ValueError) as error:
            raise IlpError(f"packet data: {error}") from error


class Ilp:
    """Makes ILP material with one DFSP's secret."""

    def __init__(self, secret: str, version: Literal["1", "4"] = "1") -> None:
        self.version = version
        # Mojaloop's library keys the HMAC with the text of the encoded secret, not with the secret.
        self._key = base64.b64encode(secret.encode())

    def material(self, quote_request: Mapping[str, Any], quote_response: Mapping[str, Any]) -> IlpMaterial:
        """Return packet, fulfilment and condition for a quote.

        Args:
            quote_request: body of POST /quotes.
            quote_response: at least `transferAmount` and `expiration`; `note` is taken if there.

        Raises:
            IlpError: unknown currency; in version 4 also a fraction of a minor unit or an unreadable time.
        """
        transaction = _transaction_json(quote_request, quote_response)
        amount = quote_response["transferAmount"]
        try:
            units = minor_units(amount["amount"], amount["currency"], truncate=self.version == "1")
            value = units.to_bytes(8, "big")
        except (ValueError, OverflowError) as error:
            raise IlpError(str(error)) from error
        data = _b64url(transaction)
        if self.version == "4":
            fulfilment = self._hmac(base64.b64encode(transaction))
            condition = hashlib.sha256(fulfilment).digest()
            expires = _v4_time(quote_response["expiration"]).encode()
            content = value + expires + condition + _sized(_V4_ACCOUNT) + _sized(data)
            packet = _b64url(bytes([_V4_TYPE]) + _sized(content))
        else:
            content = value + _sized(_v1_account(quote_request)) + _sized(data) + b"\x00"
            packet = _b64url(bytes([_V1_TYPE]) + _sized(content))
            fulfilment = self._hmac(packet)
            condition = hashlib.sha256(fulfilment).digest()
        return IlpMaterial(packet.decode(), _b64url(fulfilment).decode(), _b64url(condition).decode())

    def _hmac(self, message: bytes) -> bytes:
        return hmac.digest(self._key, message, "sha256")


def fulfils(fulfilment: str, condition: str) -> bool:
    """Tell whether SHA-256 of the fulfilment's 32 bytes is the condition, unpadded base64url."""
    try:
        raw = _unb64(fulfilment.replace("+", "-").replace("/", "_"))
    except (binascii.Error, ValueError):
        return False
    return len(raw) == _HASH_BYTES and _b64url(hashlib.sha256(raw).digest()).decode() == condition


def packet_matches(transfer: Mapping[str, Any]) -> bool:
    """Tell whether a transfer's payer, payee, amount and currency are, as text, those of its packet."""
    try:
        inside = decode_packet(transfer["ilpPacket"]).transaction()
        return bool(
            inside["payer"]["partyIdInfo"]["fspId"] == transfer["payerFsp"]
            and inside["payee"]["partyIdInfo"]["fspId"] == transfer["payeeFsp"]
            and inside["amount"]["amount"] == transfer["amount"]["amount"]
            and inside["amount"]["currency"] == transfer["amount"]["currency"]
        )
    except (IlpError, KeyError, TypeError):
        return False


def decode_packet(text: str) -> DecodedPacket:
    """Take a packet of either version apart.

    Raises:
        IlpError: it is not such a packet.
    """
    try:
        raw = _unb64(text)
        kind = raw[0]
        content, end = _read_sized(raw, 1)
        if end != len(raw):
            raise IlpError("bytes after the packet")
        amount = int.from_bytes(_read(content, 0, 8), "big")
        if kind == _V1_TYPE:
            account, at = _read_sized(content, 8)
            data, _ = _read_sized(content, at)
            return DecodedPacket("1", amount, account.decode(), data.decode())
        if kind != _V4_TYPE:
            raise IlpError(f"packet type {kind}")
        expires = _read(content, 8, 17).decode()
        condition = _b64url(_read(content, 25, _HASH_BYTES)).decode()
        account, at = _read_sized(content, 25 + _HASH_BYTES)
        data, _ = _read_sized(content, at)
        return DecodedPacket("4", amount, account.decode(), data.decode(), expires, condition)
    except (IndexError, ValueError, binascii.Error) as error:
        raise IlpError(f"not an ILP packet: {error}") from error


def _transaction_json(request: Mapping[str, Any], response: Mapping[str, Any]) -> bytes:
    """Return the transaction that the packet carries, as sorted JSON."""
    transaction = {name: request[name] for name in _FROM_REQUEST if name in request}
    transaction["amount"] = response["transferAmount"]
    transaction["expiration"] = response["expiration"]
    if "note" in response:
        transaction["note"] = response["note"]
    return encode_sorted(transaction)


def _v1_account(request: Mapping[str, Any]) -> bytes:
    """Return the payee's ILP account: `g.<fsp>.<type>.<id>[.<sub id>]`."""
    party = request["payee"]["partyIdInfo"]
    parts = ["g", party["fspId"], party["partyIdType"].lower(), party["partyIdentifier"].lower()]
    if party.get("partySubIdOrType"):
        parts.append(party["partySubIdOrType"].lower())
    return ".".join(parts).encode()


def _v4_time(text: str) -> str:
    """Return an ISO 8601 time as 17 digits in UTC: year to millisecond."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise IlpError(f"expiration {text!r} is not a date and time") from error
    moment = moment.astimezone(UTC)
    return f"{moment:%Y%m%d%H%M%S}{moment.microsecond // 1000:03d}"


def _sized(data: bytes) -> bytes:
    """Return data with its OER length before it."""
    size = len(data)
    if size < 0x80:
        return bytes([size]) + data
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 + len(length)]) + length + data


def _read_sized(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the bytes behind an OER length and the offset after them."""
    size = data[at]
    at += 1
    if size >= 0x80:
        length_bytes = size - 0x80
        size = int.from_bytes(_read(data, at, length_bytes), "big")
        at += length_bytes
    return _read(data, at, size), at + size


def _read(data: bytes, at: int, size: int) -> bytes:
    part = data[at : at + size]
    if len(part) != size:
        raise IlpError(f"ends after {len(data)} bytes, expected {at + size}")
    return part


def _b64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _unb64(text: str) -> bytes:
    stripped = text.rstrip("=")
    return base64.b64decode(stripped + "=" * (-len(stripped) % 4), altchars=b"-_", validate=True)
