"""FSPIOP signatures: the three headers that a sender adds and a receiver checks (RS256 and ES256).

Bodies are signed as sorted compact JSON. Mojaloop's library re-serialises the parsed body before it checks
(sorted since sdk-standard-components 19.18.9, in member order before); a body whose text is sorted and
compact already satisfies both. The verifier takes either form.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from pytest_mojaloop_perf.fspiop.canonical import canonical_text_of

__all__ = ["JwsError", "PrivateKey", "PublicKey", "Signer", "Verifier", "signed_uri"]

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_RESOURCES = (
    "participants|parties|quotes|bulkQuotes|transfers|bulkTransfers|transactionRequests|thirdpartyRequests|"
    "authorizations|consents|consentRequests|fxQuotes|fxTransfers"
)
# Greedy: the last resource name that is a whole path segment begins the signed URI.
_SIGNED_URI = re.compile(rf"^.*(/(?:{_RESOURCES})(?:[/?].*)?)$")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_ES256_HALF_BYTES = 32
_PADDING = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
_ECDSA = ec.ECDSA(_SHA256)


class JwsError(Exception):
    """A signature does not hold; `reason` is a short code of ours, for logs and tests."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


class _Envelope(msgspec.Struct, gc=False):
    """The value of the FSPIOP-Signature header."""

    protected: str = msgspec.field(name="protectedHeader")
    signature: str


class _Check(Protocol):
    def __call__(self, signature: bytes, data: bytes) -> None: ...


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_PROTECTED = msgspec.json.Decoder(dict[str, Any])
_ENCODE = msgspec.json.Encoder().encode


def signed_uri(url: str) -> str:
    """Return the part of a URL or path that is signed: from the resource on, query included.

    Raises:
        ValueError: no FSPIOP resource in it.
    """
    match = _SIGNED_URI.match(url)
    if match is None:
        raise ValueError(f"{url} names no FSPIOP resource")
    return match[1]


class Signer:
    """Signs with one private key, which is loaded once (loading an RSA key costs 50 ms)."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"

    @classmethod
    def from_file(cls, path: Path) -> Signer:
        """Return a signer for the unencrypted PEM key in a file."""
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        return cls(key)

    def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the three signature headers for a message.

        Args:
            method: in any case; signed in upper case.
            url: or the path alone.
            headers: lower-case names; fspiop-source is needed, fspiop-destination and date are signed if
                there.
            body: the text that is sent; it must be sorted compact JSON (`encode_sorted`).
        """
        uri = signed_uri(url)
        upper = method.upper()
        protected = {
            "alg": self.algorithm,
            "FSPIOP-URI": uri,
            "FSPIOP-HTTP-Method": upper,
            "FSPIOP-Source": headers["fspiop-source"],
        }
        if "fspiop-destination" in headers:
            protected["FSPIOP-Destination"] = headers["fspiop-destination"]
        if "date" in headers:
            protected["Date"] = headers["date"]
        encoded = _b64url(_ENCODE(protected))
        signature = _b64url(self._sign(encoded + b"." + _b64url(body)))
        envelope = b'{"protectedHeader":"' + encoded + b'","signature":"' + signature + b'"}'
        return {
            "fspiop-uri": uri,
            "fspiop-http-method": upper,
            "fspiop-signature": envelope.decode("ascii"),
        }

    def _sign(self, data: bytes) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, _PADDING, _SHA256)
        r, s = decode_dss_signature(self._key.sign(data, _ECDSA))
        return r.to_bytes(_ES256_HALF_BYTES, "big") + s.to_bytes(_ES256_HALF_BYTES, "big")


class Verifier:
    """Checks signatures of known sources; the keys are loaded once.

    Args:
        keys: public key by FSPIOP-Source (case counts).
        accept_raw_text: also take a signature over the bytes as received, as signers did before
            sdk-standard-components 19.18.9.
    """

    def __init__(self, keys: Mapping[str, PublicKey], *, accept_raw_text: bool = True) -> None:
        self._checks = {name: _check_with(key) for name, key in keys.items()}
        self._accept_raw_text = accept_raw_text

    @classmethod
    def from_folder(cls, folder: Path, *, names: Iterable[str] | None = None) -> Verifier:
        """Return a verifier for every `<source>.pem` in a folder, or only for `names`."""
        files = [folder / f"{name}.pem" for name in names] if names else sorted(folder.glob("*.pem"))
        keys: dict[str, PublicKey] = {}
        for file in files:
            key = serialization.load_pem_public_key(file.read_bytes())
            assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
            keys[file.stem] = key
        return cls(keys)

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Check the signature of a message. The request line is not looked at, as in Mojaloop's library.

        Raises:
            JwsError: it does not hold.
        """
        if not body:
            raise JwsError("no-body")
        source = headers.get("fspiop-source")
        if not source:
            raise JwsError("no-source")
        entry = self._checks.get(source)
        if entry is None:
            raise JwsError("unknown-key", source)
        envelope = _envelope(headers)
        _check_protected(envelope.protected, headers, entry[0])
        try:
            signature = _b64url_decode(envelope.signature)
        except (ValueError, binascii.Error) as error:
            raise JwsError("signature-format", str(error)) from error
        self._check_body(entry[1], envelope.protected.encode("ascii"), signature, body)

    def _check_body(self, check: _Check, protected: bytes, signature: bytes, body: bytes) -> None:
        """Check the signature over the text as received, then over its canonical form."""
        if self._accept_raw_text:
            try:
                check(signature, protected + b"." + _b64url(body))
            except InvalidSignature:
                pass
            else:
                return
        try:
            canonical = canonical_text_of(body)
        except (ValueError, RecursionError) as error:
            raise JwsError("signature", "the body is not JSON") from error
        if self._accept_raw_text and canonical == body:
            raise JwsError("signature")
        try:
            check(signature, protected + b"." + _b64url(canonical))
        except InvalidSignature as error:
            raise JwsError("signature") from error


def _check_with(key: PublicKey) -> tuple[str, _Check]:
    """Return the one algorithm that is allowed with a key, and the check itself."""
    if isinstance(key, rsa.RSAPublicKey):

        def check_rsa(signature: bytes, data: bytes) -> None:
            key.verify(signature, data, _PADDING, _SHA256)

        return "RS256", check_rsa

    def check_ec(signature: bytes, data: bytes) -> None:
        if len(signature) != 2 * _ES256_HALF_BYTES:
            raise InvalidSignature
        r = int.from_bytes(signature[:_ES256_HALF_BYTES], "big")
        s = int.from_bytes(signature[_ES256_HALF_BYTES:], "big")
        key.verify(encode_dss_signature(r, s), data, _ECDSA)

    return "ES256", check_ec


def _envelope(headers: Mapping[str, str]) -> _Envelope:
    """Return the parsed signature header of a message that has all three."""
    for name in ("fspiop-uri", "fspiop-http-method", "fspiop-signature"):
        if not headers.get(name):
            raise JwsError("missing-header", name)
    try:
        envelope = _ENVELOPE.decode(headers["fspiop-signature"])
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise JwsError("signature-not-json", str(error)) from error
    if not _BASE64URL.fullmatch(envelope.protected) or not _BASE64URL.fullmatch(envelope.signature):
        raise JwsError("signature-format")
    return envelope


def _check_protected(encoded: str, headers: Mapping[str, str], algorithm: str) -> None:
    """Compare the protected header with the HTTP headers.

    Raises:
        JwsError: they differ, or the algorithm is not the key's.
    """
    try:
        protected = _PROTECTED.decode(_b64url_decode(encoded))
    except (msgspec.DecodeError, ValueError, binascii.Error) as error:
        raise JwsError("protected-not-json", str(error)) from error
    # One algorithm per key: neither `none` nor a public key taken for an HMAC secret can pass.
    if protected.get("alg") != algorithm:
        raise JwsError("algorithm", str(protected.get("alg")))
    for name, header, reason in _COMPARED:
        if name not in protected:
            raise JwsError(f"protected-missing-{name}")
        if protected[name] != headers.get(header):
            raise JwsError(reason)
    if protected.get("FSPIOP-Destination") != headers.get("fspiop-destination"):
        raise JwsError("destination-mismatch")
    if "Date" in protected and protected["Date"] != headers.get("date"):
        raise JwsError("date-mismatch")


_COMPARED = (
    ("FSPIOP-URI", "fspiop-uri", "uri-mismatch"),
    ("FSPIOP-HTTP-Method", "fspiop-http-method", "method-mismatch"),
    ("FSPIOP-Source", "fspiop-source", "source-mismatch"),
)


def _b64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _b64url_decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
