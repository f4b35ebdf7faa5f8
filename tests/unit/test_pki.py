"""The security folder: modes, names, and that nothing secret of the CA is left."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from pytest_mojaloop_perf.fspiop.pki import create_security_folder
from pytest_mojaloop_perf.fspiop.tls import client_context, client_tls, server_context, server_tls

NAMES = ("fsp201", "Hub")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pki") / "security"
    create_security_folder(made, NAMES, "RS256", dns_names=("hub.local",))
    return made


def test_layout_and_modes(folder: Path) -> None:
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "ca.crt.pem",
        *(f"{name}/{file}" for name in NAMES for file in ("tls.crt.pem", "tls.key.pem", "jws.key.pem")),
        *(f"jws-public/{name}.pem" for name in NAMES),
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.rglob("*.key.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in folder.rglob("*"):
        if path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_no_two_keys_are_alike_and_none_is_the_cas(folder: Path) -> None:
    ca = x509.load_pem_x509_certificate((folder / "ca.crt.pem").read_bytes())
    seen = [ca.public_key()]
    for path in folder.rglob("*.key.pem"):
        key = load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        assert all(key.public_key() != other for other in seen)
        seen.append(key.public_key())
    assert len(seen) == 1 + 2 * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_certificate_is_good_for_both_sides(folder: Path, name: str) -> None:
    certificate = x509.load_pem_x509_certificate((folder / name / "tls.crt.pem").read_bytes())
    ca = x509.load_pem_x509_certificate((folder / "ca.crt.pem").read_bytes())
    certificate.verify_directly_issued_by(ca)
    assert certificate.subject.rfc4514_string() == f"CN={name}"
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "hub.local"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    subject = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert authority.key_identifier == subject.digest
    assert ca.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert certificate.not_valid_before_utc < datetime.now(UTC) < certificate.not_valid_after_utc


def test_jws_keys_are_pairs_of_the_wanted_kind(folder: Path, tmp_path: Path) -> None:
    create_security_folder(tmp_path / "ec", ["fsp201"], "ES256")
    for made, kind in ((folder, rsa.RSAPrivateKey), (tmp_path / "ec", ec.EllipticCurvePrivateKey)):
        private = load_pem_private_key((made / "fsp201" / "jws.key.pem").read_bytes(), None)
        assert isinstance(private, kind)
        public = load_pem_public_key((made / "jws-public" / "fsp201.pem").read_bytes())
        assert private.public_key() == public


def test_without_jws_there_are_no_jws_keys(tmp_path: Path) -> None:
    create_security_folder(tmp_path / "off", ["Hub"], "off")
    assert not list((tmp_path / "off").rglob("jws*"))


def test_an_existing_folder_is_not_touched(folder: Path) -> None:
    before = (folder / "ca.crt.pem").read_bytes()
    with pytest.raises(FileExistsError):
        create_security_folder(folder, NAMES)
    assert (folder / "ca.crt.pem").read_bytes() == before


def test_contexts_demand_what_they_should(folder: Path) -> None:
    server = server_context(server_tls(folder, "Hub"))
    assert server.verify_mode == ssl.CERT_REQUIRED
    assert server.minimum_version == ssl.TLSVersion.TLSv1_2
    lax = server_context(server_tls(folder, "Hub", demand_client_certificate=False))
    assert lax.verify_mode == ssl.CERT_NONE
    client = client_context(client_tls(folder, "fsp201"))
    assert client.verify_mode == ssl.CERT_REQUIRED
    assert client.check_hostname
    assert [ca["subject"] for ca in client.get_ca_certs()] == [
        ((("commonName", "pytest-mojaloop-perf run CA"),),)
    ]
