"""FSPIOP signatures against the vectors of Mojaloop's own library, and ES256 against itself."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pytest_mojaloop_perf.fspiop.canonical import canonical_json, canonical_text_of, encode_sorted
from pytest_mojaloop_perf.fspiop.jws import JwsError, PublicKey, Signer, Verifier, signed_uri

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "jws.json").read_text())
CASES: list[dict[str, Any]] = VECTORS["cases"]
POSITIVE = [case for case in CASES if case["kind"] == "positive"]
JWS_HEADERS = ("fspiop-uri", "fspiop-http-method", "fspiop-signature")


def _signer(name: str) -> Signer:
    der = base64.b64decode(VECTORS["keys"][name]["privateKeyPkcs8DerB64"])
    key = serialization.load_der_private_key(der, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return Signer(key)


def _public_keys() -> dict[str, PublicKey]:
    keys: dict[str, PublicKey] = {}
    for name, pair in VECTORS["keys"].items():
        key = serialization.load_pem_public_key(pair["publicKeyPem"].encode())
        assert isinstance(key, rsa.RSAPublicKey)
        keys[name] = key
    return keys


SIGNERS = {name: _signer(name) for name in VECTORS["keys"]}
STRICT = Verifier(_public_keys(), accept_raw_text=False)
LENIENT = Verifier(_public_keys())


def _accepts(verifier: Verifier, case: dict[str, Any]) -> bool:
    try:
        verifier.verify(case["headers"], case["wire"].encode())
    except JwsError:
        return False
    return True


def test_vectors_are_all_there() -> None:
    kinds = [case["kind"] for case in CASES]
    assert (kinds.count("positive"), kinds.count("rewire"), kinds.count("altered")) == (14, 3, 35)


@pytest.mark.parametrize("case", POSITIVE, ids=lambda case: case["id"])
def test_signer_reproduces_the_library_byte_for_byte(case: dict[str, Any]) -> None:
    wire = canonical_text_of(case["body"].encode())
    assert wire.decode() == case["wire"]
    plain = {name: value for name, value in case["headers"].items() if name not in JWS_HEADERS}
    made = SIGNERS[case["signedBy"]].headers(case["method"], case["url"], plain, wire)
    assert made == {name: case["headers"][name] for name in JWS_HEADERS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_verdict_is_that_of_the_library(case: dict[str, Any]) -> None:
    assert _accepts(STRICT, case) == case["expect"]["accept"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_raw_text_is_taken_where_the_older_library_takes_it(case: dict[str, Any]) -> None:
    assert _accepts(LENIENT, case) == (case["expect"]["accept"] or case["expectLegacy"]["accept"])


def test_body_without_numbers_is_encoded_fast_and_alike() -> None:
    for case in POSITIVE:
        if case["id"] != "json-corner-cases":
            assert encode_sorted(json.loads(case["body"])) == case["wire"].encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (-1.25, "-1.25"),
        (100.0, "100"),
        (123456789012345680000, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (0.000001, "0.000001"),
        (1.23e-7, "1.23e-7"),
        (2**53 + 1, "9007199254740992"),
        (float("inf"), "null"),
        (10**400, "null"),
        ({"\U0001f600": 1, "\uffff": 2}, '{"\U0001f600":1,"\uffff":2}'),
        ("\ud800", '"\\ud800"'),
        ("\x1f\x7f\u2028", '"\\u001f\x7f\u2028"'),
    ],
)
def test_json_text_is_javascripts(value: object, text: str) -> None:
    assert canonical_json(value) == text.encode()


def test_what_is_not_json_does_not_verify() -> None:
    case = POSITIVE[0]
    for body in (b"{", b'{"a":NaN}', b"\xff", b"[" * 100_000):
        with pytest.raises(JwsError, match="signature"):
            LENIENT.verify(case["headers"], body)


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("http://h/sim/x/inbound/transfers/1", "/transfers/1"),
        ("/quotes", "/quotes"),
        ("/parties/MSISDN/1/error", "/parties/MSISDN/1/error"),
        ("http://quotes/x/quotes?a=b", "/quotes?a=b"),
        ("http://transfers.local/fxQuotes/1", "/fxQuotes/1"),
    ],
)
def test_signed_uri_begins_at_the_resource(url: str, uri: str) -> None:
    assert signed_uri(url) == uri


def test_a_url_without_a_resource_is_not_signed() -> None:
    with pytest.raises(ValueError, match="no FSPIOP resource"):
        signed_uri("http://h/health")


def _es256() -> tuple[Signer, Verifier]:
    key = ec.generate_private_key(ec.SECP256R1())
    return Signer(key), Verifier({**_public_keys(), "fsp201": key.public_key()})


def test_es256_signature_is_raw_and_verifies() -> None:
    signer, verifier = _es256()
    headers = {"fspiop-source": "fsp201", "date": "Tue, 04 Aug 2026 09:00:00 GMT"}
    headers |= signer.headers("POST", "/quotes", headers, b'{"a":"b"}')
    raw = json.loads(headers["fspiop-signature"])["signature"]
    assert len(base64.urlsafe_b64decode(raw + "==")) == 64
    verifier.verify(headers, b'{"a":"b"}')
    verifier.verify(headers, b'{ "a": "b" }')
    with pytest.raises(JwsError, match="signature"):
        verifier.verify(headers, b'{"a":"c"}')


def test_an_algorithm_that_is_not_the_keys_is_refused() -> None:
    signer, _ = _es256()
    headers = {"fspiop-source": "fsp201"}
    headers |= signer.headers("POST", "/quotes", headers, b"{}")
    with pytest.raises(JwsError, match="algorithm"):
        LENIENT.verify(headers, b"{}")


def test_es256_signature_of_another_length_is_refused() -> None:
    signer, verifier = _es256()
    headers = {"fspiop-source": "fsp201"}
    headers |= signer.headers("POST", "/quotes", headers, b"{}")
    envelope = json.loads(headers["fspiop-signature"])
    envelope["signature"] = envelope["signature"][:-4]
    with pytest.raises(JwsError, match="signature"):
        verifier.verify(headers | {"fspiop-signature": json.dumps(envelope)}, b"{}")
