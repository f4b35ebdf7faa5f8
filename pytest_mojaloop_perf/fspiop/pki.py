"""Per-run security material: a CA, TLS certificates and JWS keys, one pair for each DFSP and the hub."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["HUB_NAME", "create_security_folder"]

HUB_NAME = "Hub"
"""The hub's name in FSPIOP-Source, in certificates and among the JWS keys."""

_VALID_FOR = timedelta(days=2)
# Clocks of containers and virtual machines differ by a little.
_VALID_SINCE = timedelta(minutes=10)
_RSA_BITS = 2048


def create_security_folder(
    folder: Path,
    names: Sequence[str],
    jws_algorithm: Literal["RS256", "ES256", "off"] = "RS256",
    *,
    dns_names: Sequence[str] = (),
) -> None:
    """Make a new folder with all TLS and JWS material of one run.

    Layout: `ca.crt.pem`, `<name>/tls.crt.pem`, `<name>/tls.key.pem`, `<name>/jws.key.pem` and
    `jws-public/<name>.pem`. The folder has mode 0700, keys 0600. The CA's private key is never written. With
    `off` there are no JWS keys.

    Args:
        folder: must not exist yet.
        names: the DFSP ids and `Hub`; each becomes the CN of its certificate.
        jws_algorithm: RS256 makes RSA-2048 keys, ES256 makes P-256 keys.
        dns_names: further names that every certificate is valid for, besides localhost and 127.0.0.1.

    Raises:
        FileExistsError: the folder is there already.
    """
    folder.mkdir(mode=0o700, parents=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _ca_certificate(ca_key)
    _write(folder / "ca.crt.pem", ca.public_bytes(serialization.Encoding.PEM), mode=0o644)
    if jws_algorithm != "off":
        (folder / "jws-public").mkdir(mode=0o700)
    for name in names:
        own = folder / name
        own.mkdir(mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _leaf_certificate(name, key, ca, ca_key, dns_names)
        _write(own / "tls.crt.pem", leaf.public_bytes(serialization.Encoding.PEM), mode=0o644)
        _write(own / "tls.key.pem", _private_pem(key), mode=0o600)
        if jws_algorithm != "off":
            jws_key = _jws_key(jws_algorithm)
            _write(own / "jws.key.pem", _private_pem(jws_key), mode=0o600)
            public = jws_key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            _write(folder / "jws-public" / f"{name}.pem", public, mode=0o644)


def _jws_key(algorithm: Literal["RS256", "ES256"]) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """Return a new private key for a JWS algorithm."""
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    """Return what all certificates have in common: names, validity, key, subject key identifier."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID_SINCE)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    """Return the key usage of the CA (signs certificates) or of a leaf (signs handshakes)."""
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _ca_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return the self-signed CA of one run."""
    name = "pytest-mojaloop-perf run CA"
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        _builder(name, issuer, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf_certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    dns_names: Sequence[str],
) -> x509.Certificate:
    """Return a certificate for one DFSP or the hub, good as a server and as a client."""
    names: list[x509.GeneralName] = [x509.DNSName(dns) for dns in ("localhost", *dns_names)]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    ca_identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _builder(name, ca.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_identifier), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )


def _private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as unencrypted PKCS#8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Write a new file that never exists with wider permissions than `mode`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
