"""Is the switch deployed, secured and onboarded as planned? What must hold before load makes sense.

Run it with `-m deploy`. Each test is one requirement, and its message names the remedy.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_mojaloop_perf import __version__
from pytest_mojaloop_perf.fspiop.pki import HUB_NAME
from pytest_mojaloop_perf.fspiop.tls import client_tls
from pytest_mojaloop_perf.infra import certificates, deployment, deployment_facts
from pytest_mojaloop_perf.infra.certificates import Material
from pytest_mojaloop_perf.infra.deployment import LookUp
from pytest_mojaloop_perf.infra.finding import Finding, tell
from pytest_mojaloop_perf.model import Environment, Plan, Roster

pytestmark = pytest.mark.deploy

HUB_METRICS = ("kafka_server_brokertopicmetrics_messagesinpersec_count", "process_cpu_seconds_total")
"""Names that a Mojaloop deployment and the reference hub have in common."""


@pytest.fixture(scope="module")
def security_folder(perf_environment: Environment) -> Path:
    if perf_environment.security_folder is None:
        pytest.skip("the security material of this environment is not ours to look into")
    return perf_environment.security_folder


@pytest.fixture(scope="module")
def names(perf_plan: Plan) -> tuple[str, ...]:
    """Return who has security material: every DFSP, and the hub."""
    return (*(dfsp.fsp_id for dfsp in perf_plan.dfsps), HUB_NAME)


@pytest.fixture(scope="module")
def material(security_folder: Path, names: tuple[str, ...]) -> Material:
    return certificates.read_material(security_folder, names)


@pytest.fixture(scope="module")
def fspiop_addresses(perf_plan: Plan, perf_environment: Environment) -> dict[str, str]:
    """Return every address that must demand a client certificate, by whose it is."""
    if not perf_plan.profile.security.mtls:
        pytest.skip("the profile switches mTLS off")
    addresses = {endpoints.fsp_id: endpoints.callback_url for endpoints in perf_environment.dfsps}
    return {HUB_NAME: perf_environment.hub.transfers_url, **addresses}


@pytest.fixture(scope="module")
def look_ups(perf_plan: Plan, perf_environment: Environment, perf_roster: Roster) -> tuple[LookUp, ...]:
    """Return a look-up for every pair of the matrix; the DFSPs must have been onboarded."""
    return deployment_facts.look_ups(perf_plan, perf_environment)


def test_every_process_is_up_in_the_wanted_version(perf_environment: Environment) -> None:
    processes = perf_environment.processes
    if not processes:
        pytest.skip("this environment has no processes of ours")
    wanted = dict.fromkeys(("host", "hub", "dfsp"), __version__)
    findings = deployment.check_processes(processes, deployment_facts.running(processes), wanted)
    assert not findings, tell(findings)


def test_every_dfsp_has_a_certificate_of_its_own(
    material: Material, names: tuple[str, ...], perf_plan: Plan
) -> None:
    load = perf_plan.profile.load
    now = datetime.now(UTC)
    until = now + timedelta(seconds=load.duration_s + load.drain_s)
    findings = certificates.check_certificates(material, names, now=now, until=until)
    assert not findings, tell(findings)


def test_everybody_shows_their_own_certificate(
    fspiop_addresses: dict[str, str], material: Material, security_folder: Path
) -> None:
    served = deployment_facts.served_certificates(fspiop_addresses, client_tls(security_folder, HUB_NAME))
    findings = certificates.check_served(served, material)
    assert not findings, tell(findings)


def test_every_dfsp_signs_with_a_key_of_its_own(
    material: Material, names: tuple[str, ...], perf_plan: Plan
) -> None:
    algorithm = perf_plan.profile.security.jws
    if algorithm == "off":
        pytest.skip("the profile switches JWS off")
    findings = certificates.check_jws_keys(material, names, algorithm)
    assert not findings, tell(findings)


def test_private_keys_are_for_their_owner_only(security_folder: Path) -> None:
    modes = deployment_facts.file_modes(security_folder)
    findings = deployment.check_private_files(modes, user=os.getuid())
    assert not findings, tell(findings)


def test_no_secret_lies_in_the_run_folder(security_folder: Path, perf_plan: Plan) -> None:
    assert perf_plan.run_folder.resolve() not in security_folder.resolve().parents, (
        f"the security material {security_folder} lies in the run folder, which people pass on. "
        "Remedy: set TMPDIR to a folder outside of it."
    )


def test_nothing_listens_beyond_loopback(perf_environment: Environment) -> None:
    listening = deployment_facts.listening_ports(perf_environment.processes)
    assert listening, "no process of the environment listens at all"
    findings = deployment.check_listening(listening)
    assert not findings, tell(findings)


def test_every_listening_port_is_one_that_the_environment_names(perf_environment: Environment) -> None:
    listening = deployment_facts.listening_ports(perf_environment.processes)
    findings = deployment.check_named_ports(listening, deployment_facts.named_ports(perf_environment))
    assert not findings, tell(findings)


def test_the_hub_says_that_it_is_well(perf_environment: Environment) -> None:
    answered = deployment_facts.ask(f"{perf_environment.hub.admin_url}/health")
    findings = deployment.check_health("the hub", answered)
    assert not findings, tell(findings)


def test_the_hub_shows_its_numbers(perf_environment: Environment) -> None:
    if perf_environment.hub.metrics_url is None:
        pytest.skip("this environment names no metrics page")
    findings = deployment.check_metrics(deployment_facts.ask(perf_environment.hub.metrics_url), HUB_METRICS)
    assert not findings, tell(findings)


def test_every_dfsp_is_onboarded_as_planned(
    perf_plan: Plan, perf_environment: Environment, perf_roster: Roster
) -> None:
    findings = deployment.check_roster(perf_plan, perf_environment, perf_roster)
    assert not findings, tell(findings)


def test_every_payer_finds_every_payee_that_it_pays(look_ups: tuple[LookUp, ...]) -> None:
    findings = [finding for look_up in look_ups for finding in deployment.check_look_up(look_up)]
    assert not findings, tell(findings)


def test_a_client_without_a_certificate_is_refused(
    fspiop_addresses: dict[str, str], security_folder: Path
) -> None:
    findings: list[Finding] = []
    for name, url in fspiop_addresses.items():
        # The hub is a client of every DFSP, and the DFSPs are clients of the hub.
        peer = next(other for other in fspiop_addresses if (other == HUB_NAME) == (name != HUB_NAME))
        stranger, known = (
            deployment_facts.ask(f"{url}/health", client_tls(security_folder, who)) for who in (None, peer)
        )
        findings += deployment.check_refused(name, stranger, known)
    assert not findings, tell(findings)


def test_all_clocks_agree(perf_plan: Plan, perf_environment: Environment, perf_roster: Roster) -> None:
    # Asked anew: the dates must be of this moment.
    answers = deployment_facts.look_ups(perf_plan, perf_environment)
    dates = {look_up.expected: look_up.date for look_up in answers}
    findings = deployment.check_clocks(dates, time.time())
    assert not findings, tell(findings)
