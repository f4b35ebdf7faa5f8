"""Are certificates and keys each DFSP's own? Checks over the security folder and over what is served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from pytest_mojaloop_perf.infra.finding import Finding, Findings
from pytest_mojaloop_perf.model import Value

__all__ = ["Material", "check_certificates", "check_jws_keys", "check_served", "read_material"]

_REMEDY = "end this environment (mojaloop-perf down --all) and run again: every run makes its material anew"
_RSA_MIN_BITS = 2048


class Material(Value, frozen=True, kw_only=True):
    """The public side of what lies in a security folder, all PEM; missing files are missing here."""

    ca: bytes
    certificates: dict[str, bytes]
    jws_public: dict[str, bytes]
    key_matches: dict[str, bool]


def read_material(folder: Path, names: Sequence[str]) -> Material:
    """Read certificates and public keys; of private keys only whether they fit their certificate."""
    certificates, jws_public, key_matches = {}, {}, {}
    for name in names:
        certificate, key = folder / name / "tls.crt.pem", folder / name / "tls.key.pem"
        if certificate.exists():
            certificates[name] = certificate.read_bytes()
        if certificate.exists() and key.exists():
            private = serialization.load_pem_private_key(key.read_bytes(), None)
            public = x509.load_pem_x509_certificate(certificates[name]).public_key()
            key_matches[name] = _spki(private.public_key()) == _spki(public)
        jws = folder / "jws-public" / f"{name}.pem"
        if jws.exists():
            jws_public[name] = jws.read_bytes()
    return Material(
        ca=(folder / "ca.crt.pem").read_bytes(),
        certificates=certificates,
        jws_public=jws_public,
        key_matches=key_matches,
    )


def check_certificates(
    material: Material, names: Sequence[str], *, now: datetime, until: datetime
) -> Findings:
    """Want a certificate per name: its CN, issued by the run's CA, valid until the run ends, its own key."""
    ca = x509.load_pem_x509_certificate(material.ca)
    wrong: list[str] = []
    keys: dict[bytes, str] = {}
    for name in names:
        if name not in material.certificates:
            wrong.append(f"{name} has no TLS certificate")
            continue
        certificate = x509.load_pem_x509_certificate(material.certificates[name])
        wrong += _certificate_faults(name, certificate, ca, now, until)
        if not material.key_matches.get(name, False):
            wrong.append(f"the private TLS key of {name} is missing or belongs to another certificate")
        key = _spki(certificate.public_key())
        if key in keys:
            wrong.append(f"{name} and {keys[key]} share one TLS key, expected one each")
        keys[key] = name
    return _findings(wrong)


def check_served(served: Mapping[str, bytes], material: Material) -> Findings:
    """Want every DFSP (and the hub) to show its own certificate to whoever connects; `served` is DER."""
    wrong = []
    for name, der in served.items():
        certificate = x509.load_der_x509_certificate(der)
        own = material.certificates.get(name)
        if own is None or x509.load_pem_x509_certificate(own) != certificate:
            wrong.append(f"{name} serves the certificate of {_common_name(certificate)!r}, expected its own")
    return _findings(wrong)


def check_jws_keys(material: Material, names: Sequence[str], algorithm: str) -> Findings:
    """Want a public JWS key per name, of the algorithm of the plan, and no two the same."""
    fits: dict[str, Callable[[object], bool]] = {
        "RS256": lambda key: isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_MIN_BITS,
        "ES256": lambda key: isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1",
    }
    wrong: list[str] = []
    keys: dict[bytes, str] = {}
    for name in names:
        if name not in material.jws_public:
            wrong.append(f"{name} has no public JWS key")
            continue
        key = serialization.load_pem_public_key(material.jws_public[name])
        if not fits[algorithm](key):
            wrong.append(f"the JWS key of {name} is a {type(key).__name__} that does not fit {algorithm}")
        text = _spki(key)
        if text in keys:
            wrong.append(f"{name} and {keys[text]} share one JWS key, expected one each")
        keys[text] = name
    return _findings(wrong)


def _certificate_faults(
    name: str, certificate: x509.Certificate, ca: x509.Certificate, now: datetime, until: datetime
) -> list[str]:
    wrong = []
    if _common_name(certificate) != name:
        wrong.append(f"the certificate of {name} has the CN {_common_name(certificate)!r}")
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        wrong.append(f"the certificate of {name} was not issued by the run's CA")
    if not certificate.not_valid_before_utc <= now <= until <= certificate.not_valid_after_utc:
        wrong.append(
            f"the certificate of {name} is valid from {certificate.not_valid_before_utc:%F %T} to "
            f"{certificate.not_valid_after_utc:%F %T} UTC, expected the run from {now.astimezone(UTC):%F %T} "
            f"to {until.astimezone(UTC):%F %T} within"
        )
    return wrong


def _common_name(certificate: x509.Certificate) -> str:
    return ", ".join(
        str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    )


def _spki(key: object) -> bytes:
    assert isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _findings(wrong: Sequence[str]) -> Findings:
    return tuple(Finding(problem=problem, remedy=_REMEDY) for problem in wrong)
