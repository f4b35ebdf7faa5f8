from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.fspiop.pki import create_security_folder
from pytest_mojaloop_perf.fspiop.tls import client_tls, server_context, server_tls
from pytest_mojaloop_perf.infra import certificates, deployment, deployment_facts
from pytest_mojaloop_perf.infra.deployment import Answered, FileMode, Listening, LookUp
from pytest_mojaloop_perf.infra.finding import Findings, tell
from pytest_mojaloop_perf.model import (
    Dfsp,
    DfspEndpoints,
    Environment,
    HubUrls,
    LoadShape,
    Matrix,
    OnboardedDfsp,
    Plan,
    ProcessInfo,
    Profile,
    Roster,
)

NAMES = ("fsp201", "fsp202", "Hub")
NOW = datetime.now(UTC)
SOON = NOW + timedelta(minutes=5)


def problems(findings: Findings) -> str:
    for finding in findings:
        assert "Remedy: " in str(finding)
    return tell(findings)


# --- processes, ports, pages ---

HUB = ProcessInfo(name="hub", role="hub", pid=1, version="1")
DFSPS = ProcessInfo(name="dfsps-1", role="dfsp", pid=2, version="1")
UP = {"hub": True, "dfsps-1": True}
VERSIONS = {"hub": "1", "dfsp": "1"}


def test_processes_that_run_in_the_wanted_version_are_fine() -> None:
    assert not deployment.check_processes((HUB, DFSPS), UP, VERSIONS)


@pytest.mark.parametrize(
    ("processes", "running", "words"),
    [
        ((HUB, DFSPS), {"hub": True, "dfsps-1": False}, r"process dfsps-1 \(pid 2\) does not run"),
        ((HUB, DFSPS), {"hub": True}, "process dfsps-1 .* does not run"),
        ((msgspec.structs.replace(HUB, version="0"), DFSPS), UP, "process hub is version 0, expected 1"),
        ((HUB,), UP, "no process has the role dfsp"),
    ],
)
def test_a_process_that_is_not_as_wanted_is_named(
    processes: tuple[ProcessInfo, ...], running: dict[str, bool], words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(problems(deployment.check_processes(processes, running, VERSIONS)))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1"])
def test_loopback_is_loopback(address: str) -> None:
    assert not deployment.check_listening((Listening(process="hub", address=address, port=1),))


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.1.2.3"])  # noqa: S104 - it is what must be refused
def test_listening_beyond_loopback_is_found(address: str) -> None:
    findings = deployment.check_listening((Listening(process="hub", address=address, port=80),))
    assert "expected loopback only" in problems(findings)


def test_ports_and_their_names_must_agree() -> None:
    listening = (Listening(process="hub", address="127.0.0.1", port=1000),)
    assert not deployment.check_named_ports(listening, {1000})
    assert "port 1000, which the environment does not name" in problems(
        deployment.check_named_ports(listening, set())
    )
    assert "nothing listens on port 2000" in problems(deployment.check_named_ports(listening, {1000, 2000}))


@pytest.mark.parametrize(
    "answered",
    [
        Answered(status=503, text='{"status":"OK"}'),
        Answered(status=200, text='{"status":"DOWN"}'),
        Answered(status=0),
    ],
)
def test_a_hub_that_is_not_well_is_found(answered: Answered) -> None:
    assert "health page of the hub answers" in problems(deployment.check_health("the hub", answered))


def test_a_healthy_hub_is_fine() -> None:
    assert not deployment.check_health("the hub", Answered(status=200, text='{"status": "OK", "uptime": 3}'))


def test_metrics_must_be_there_by_name() -> None:
    page = Answered(status=200, text="# HELP a x\n# TYPE a counter\na 1\n")
    assert not deployment.check_metrics(page, {"a"})
    assert "has no b" in problems(deployment.check_metrics(page, {"a", "b"}))
    assert "answers 404" in problems(deployment.check_metrics(Answered(status=404), {"a"}))


def test_letting_a_stranger_in_is_found() -> None:
    silent, answered = Answered(status=0, text="closed"), Answered(status=404)
    assert not deployment.check_refused("fsp201", silent, answered)
    let_in = deployment.check_refused("fsp201", answered, answered)
    assert "fsp201 answered 404 to a client without a certificate" in problems(let_in)
    dead = deployment.check_refused("fsp201", silent, silent)
    assert "does not answer a client with a trusted certificate either: closed" in problems(dead)


def test_look_ups() -> None:
    good = LookUp(payer="fsp201", msisdn="1", expected="fsp202", status=200, found="fsp202")
    assert not deployment.check_look_up(good)
    for bad in (
        msgspec.structs.replace(good, found="fsp204"),
        msgspec.structs.replace(good, status=404, found=None, text="3204"),
    ):
        assert "fsp201 looked 1 up and got" in problems(deployment.check_look_up(bad))


def test_clocks() -> None:
    now_s = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC).timestamp()
    assert not deployment.check_clocks({"fsp202": "Thu, 01 Jan 2026 12:00:01 GMT"}, now_s)
    late = deployment.check_clocks({"fsp202": "Thu, 01 Jan 2026 11:59:30 GMT"}, now_s)
    assert "the clock of fsp202 is -30 s from ours" in problems(late)
    assert "sends no Date header" in problems(deployment.check_clocks({"fsp202": None}, now_s))


# --- the roster ---

PLAN = Plan(
    run_id="r",
    created="2026-01-01",
    target="embedded",
    target_reason="test",
    switch="reference",
    kind="perf",
    profile=Profile(
        name="p", summary="s", load=LoadShape(tps=1, duration_s=9, warmup_s=1, cooldown_s=1), objectives=()
    ),
    matrix=Matrix(name="m", pairs=()),
    dfsps=(Dfsp(fsp_id="fsp202", roles=("payee",), msisdn_first="100", ndc="50", funds_in="60"),),
    seed=1,
    run_folder=Path("run"),
)
URLS = HubUrls(
    admin_url="http://127.0.0.1:1000",
    als_admin_url="http://127.0.0.1:1000",
    oracle_url="http://127.0.0.1:1000/oracle",
    als_url="https://127.0.0.1:1001",
    quotes_url="https://127.0.0.1:1001",
    transfers_url="https://127.0.0.1:1001",
    metrics_url="http://127.0.0.1:1000/metrics",
)
ENVIRONMENT = Environment(
    run_id="r",
    target="embedded",
    switch="reference",
    switch_version="1",
    hub=URLS,
    dfsps=(
        DfspEndpoints(
            fsp_id="fsp202", outbound_url="http://127.0.0.1:1002", callback_url="https://127.0.0.1:1003"
        ),
    ),
)
ONBOARDED = OnboardedDfsp(
    fsp_id="fsp202",
    currency="XXX",
    position_account_id=1,
    settlement_account_id=2,
    position="0",
    settlement="-60.0000",
    ndc="50.0000",
    endpoints=(
        "FSPIOP_CALLBACK_URL_PARTIES_PUT",
        "FSPIOP_CALLBACK_URL_QUOTES",
        "FSPIOP_CALLBACK_URL_TRANSFER_POST",
    ),
    msisdn_first="100",
    msisdn_count=1,
    looked_up="100",
)


def roster(*dfsps: OnboardedDfsp) -> Roster:
    return Roster(dfsps=dfsps, calls=1, already=0, took_s=0.1)


def test_a_roster_as_planned_is_fine() -> None:
    assert not deployment.check_roster(PLAN, ENVIRONMENT, roster(ONBOARDED))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ndc": "49"}, "the NDC of fsp202 is 49, expected 50"),
        ({"settlement": "-59"}, "the funds of fsp202 are 59, expected at least 60"),
        ({"endpoints": ("FSPIOP_CALLBACK_URL_PARTIES_PUT",)}, "fsp202 has no endpoint for transfer"),
        ({"msisdn_count": 2}, "fsp202 holds 2 MSISDNs from 100, expected 1 from 100"),
        ({"looked_up": None}, "no MSISDN of fsp202 was looked up"),
        ({"settlement_account_id": 1}, "two accounts have one id"),
    ],
)
def test_a_roster_that_differs_is_found(changes: dict[str, Any], words: str) -> None:
    changed = roster(msgspec.structs.replace(ONBOARDED, **changes))
    assert words in problems(deployment.check_roster(PLAN, ENVIRONMENT, changed))


def test_a_missing_dfsp_is_found() -> None:
    assert "fsp202 is not on the roster" in problems(deployment.check_roster(PLAN, ENVIRONMENT, roster()))
    empty = msgspec.structs.replace(ENVIRONMENT, dfsps=())
    assert "not in the environment" in problems(deployment.check_roster(PLAN, empty, roster(ONBOARDED)))


# --- certificates, keys, files ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "security"
    create_security_folder(path, NAMES, "ES256")
    return path


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("other") / "security"
    create_security_folder(path, NAMES, "RS256")
    return path


def check(material: certificates.Material, **times: datetime) -> str:
    moments = {"now": NOW, "until": SOON, **times}
    return problems(certificates.check_certificates(material, NAMES, **moments))


def test_material_of_a_run_is_fine(folder: Path) -> None:
    material = certificates.read_material(folder, NAMES)
    assert check(material) == ""
    assert not certificates.check_jws_keys(material, NAMES, "ES256")
    assert not deployment.check_private_files(deployment_facts.file_modes(folder), user=os.getuid())


def test_foreign_or_missing_certificates_are_found(folder: Path, other_folder: Path) -> None:
    material = certificates.read_material(folder, NAMES)
    other = certificates.read_material(other_folder, NAMES)

    def with_certificate(pem: bytes) -> certificates.Material:
        return msgspec.structs.replace(material, certificates={**material.certificates, "fsp201": pem})

    assert "fsp201 was not issued by the run's CA" in check(with_certificate(other.certificates["fsp201"]))
    shared = check(with_certificate(material.certificates["fsp202"]))
    assert "the certificate of fsp201 has the CN 'fsp202'" in shared
    assert "fsp202 and fsp201 share one TLS key" in shared
    some = {name: pem for name, pem in material.certificates.items() if name != "fsp201"}
    assert "fsp201 has no TLS certificate" in check(msgspec.structs.replace(material, certificates=some))
    matches = {**material.key_matches, "fsp201": False}
    assert "private TLS key of fsp201" in check(msgspec.structs.replace(material, key_matches=matches))


def test_a_certificate_that_ends_before_the_run_is_found(folder: Path) -> None:
    material = certificates.read_material(folder, NAMES)
    assert "expected the run from" in check(material, until=NOW + timedelta(days=30))
    assert "expected the run from" in check(material, now=NOW - timedelta(days=30))


def test_a_key_file_that_does_not_fit_is_found(tmp_path: Path) -> None:
    create_security_folder(tmp_path / "s", NAMES, "off")
    other = (tmp_path / "s" / "fsp202" / "tls.key.pem").read_bytes()
    (tmp_path / "s" / "fsp201" / "tls.key.pem").write_bytes(other)
    assert "private TLS key of fsp201" in check(certificates.read_material(tmp_path / "s", NAMES))


def test_jws_keys_that_are_shared_missing_or_of_another_kind_are_found(
    folder: Path, other_folder: Path
) -> None:
    material = certificates.read_material(folder, NAMES)
    keys = material.jws_public

    def checked(changed: dict[str, bytes], algorithm: str = "ES256") -> str:
        return problems(
            certificates.check_jws_keys(
                msgspec.structs.replace(material, jws_public=changed), NAMES, algorithm
            )
        )

    assert "fsp202 and fsp201 share one JWS key" in checked({**keys, "fsp202": keys["fsp201"]})
    assert "Hub has no public JWS key" in checked({k: v for k, v in keys.items() if k != "Hub"})
    assert "does not fit RS256" in checked(keys, "RS256")
    rsa_keys = certificates.read_material(other_folder, NAMES).jws_public
    assert checked(rsa_keys, "RS256") == ""
    assert "does not fit ES256" in checked(rsa_keys)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (FileMode(path="/s/a/tls.key.pem", mode=0o644, owner=1), "has mode 0644, expected 0600"),
        (FileMode(path="/s/a/tls.key.pem", mode=0o600, owner=2), "belongs to user 2, expected 1"),
        (FileMode(path="/s", mode=0o755, owner=1, is_folder=True), "/s has mode 0755, expected 0700"),
        (FileMode(path="/s/ca.key.pem", mode=0o600, owner=1), "the CA's private key is kept"),
    ],
)
def test_private_files_that_are_not_private_are_found(file: FileMode, words: str) -> None:
    good = FileMode(path="/s/b/tls.key.pem", mode=0o600, owner=1)
    assert words in problems(deployment.check_private_files((good, file), user=1))


def test_a_folder_without_any_key_is_found() -> None:
    assert "no private key at all" in problems(deployment.check_private_files((), user=1))


# --- what is observed ---


@pytest.fixture
def tls_port(folder: Path) -> Iterator[int]:
    """A TLS server of fsp201 that demands a client certificate and hangs up after the handshake."""
    context = server_context(server_tls(folder, "fsp201"))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain:
                try:
                    context.wrap_socket(plain, server_side=True).close()
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_a_served_certificate_is_compared_with_its_owners(folder: Path, tls_port: int) -> None:
    material = certificates.read_material(folder, NAMES)
    url = f"https://127.0.0.1:{tls_port}"
    served = deployment_facts.served_certificates({"fsp201": url}, client_tls(folder, "Hub"))
    assert not certificates.check_served(served, material)
    wrong = certificates.check_served({"fsp202": served["fsp201"]}, material)
    assert "fsp202 serves the certificate of 'fsp201', expected its own" in problems(wrong)


def test_a_stranger_gets_no_answer(folder: Path, tls_port: int) -> None:
    answered = deployment_facts.ask(f"https://127.0.0.1:{tls_port}/health", client_tls(folder, None))
    assert answered.status == 0
    assert answered.text


def test_a_port_without_tls_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InfrastructureError, match="fsp201 does not answer TLS"):
        deployment_facts.served_certificates(
            {"fsp201": f"https://127.0.0.1:{port}"}, client_tls(folder, "Hub")
        )


def test_ports_of_a_process_are_seen() -> None:
    me = ProcessInfo(name="me", role="hub", pid=os.getpid(), version="1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = deployment_facts.listening_ports((me,))
        assert Listening(process="me", address="127.0.0.1", port=server.getsockname()[1]) in seen
    assert deployment_facts.running((me,)) == {"me": True}


def test_ports_of_a_process_that_ended_are_an_error() -> None:
    from pytest_mojaloop_perf import command

    done = command.run([sys.executable, "-c", "import os; print(os.getpid())"], timeout_s=20, remedy="none")
    gone = ProcessInfo(name="gone", role="hub", pid=int(done.stdout), version="1")
    assert deployment_facts.running((gone,)) == {"gone": False}
    with pytest.raises(InfrastructureError, match="gone"):
        deployment_facts.listening_ports((gone,))


def test_the_ports_that_an_environment_names() -> None:
    assert deployment_facts.named_ports(ENVIRONMENT) == {1000, 1001, 1002, 1003}


def test_certificates_are_compared_as_certificates(folder: Path) -> None:
    """PEM and DER of one certificate are the same certificate."""
    material = certificates.read_material(folder, NAMES)
    der = x509.load_pem_x509_certificate(material.certificates["Hub"]).public_bytes(
        serialization.Encoding.DER
    )
    assert ssl.DER_cert_to_PEM_cert(der).encode() == material.certificates["Hub"]
    assert not certificates.check_served({"Hub": der}, material)
