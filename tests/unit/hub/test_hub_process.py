"""The hub as a process: readiness, security profiles, metrics, restart, and death in the middle of a load."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mojaloop_perf.fspiop.http import HttpError
from pytest_mojaloop_perf.reference.hub_metrics import TOPICS
from pytest_mojaloop_perf.reference.process import load_config
from pytest_mojaloop_perf.reference_config import Ready

if TYPE_CHECKING:
    from tests.unit.hub.conftest import Scheme, SchemeMaker

MESSAGES = "kafka_server_brokertopicmetrics_messagesinpersec_count"


def messages(scheme: Scheme) -> dict[str, float]:
    return {topic: scheme.metric(f'{MESSAGES}{{topic="{topic}"}}') for topic in TOPICS}


def gained(scheme: Scheme, before: dict[str, float]) -> dict[str, float]:
    after = messages(scheme)
    return {topic: after[topic] - before[topic] for topic in TOPICS if after[topic] != before[topic]}


def test_readiness_names_every_address_and_all_are_loopback(scheme: Scheme) -> None:
    ready = load_config(Ready, scheme.config.ready_file)
    assert ready.pid == scheme.process.pid
    assert len(ready.listen) == 2
    assert all(address.startswith("127.0.0.1:") for address in ready.listen)
    assert ready.hub is not None
    assert ready.hub.als_url.startswith("https://127.0.0.1:")


def test_messages_per_committed_transfer(scheme: Scheme) -> None:
    before = messages(scheme)
    transfer_id = scheme.reserve()
    scheme.fulfil(transfer_id)
    scheme.hears("beta", "PUT", f"/transfers/{transfer_id}")
    assert gained(scheme, before) == {
        "topic-transfer-prepare": 1,
        "topic-transfer-position": 2,
        "topic-transfer-fulfil": 1,
        "topic-notification-event": 2,
    }


def test_messages_of_a_rejected_prepare(scheme: Scheme) -> None:
    before = messages(scheme)
    transfer_id = scheme.new_id()
    scheme.prepare(transfer_id, amount={"amount": "90000000", "currency": "XXX"})
    scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}/error")
    assert gained(scheme, before) == {
        "topic-transfer-prepare": 1,
        "topic-transfer-position": 1,
        "topic-notification-event": 1,
    }


def test_the_metrics_page(scheme: Scheme) -> None:
    transfer_id = scheme.reserve()
    scheme.fulfil(transfer_id)
    scheme.hears("beta", "PUT", f"/transfers/{transfer_id}")
    scheme.send("GET", "/parties/MSISDN/2002", source="alpha")
    scheme.hears("beta", "GET", "/parties/MSISDN/2002")
    answer = scheme.admin("GET", "/metrics")
    assert answer.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    for name in ("moja_transfer_prepare", "moja_transfer_fulfil", "moja_getPartiesByTypeAndID"):
        count = scheme.metric(f'{name}_count{{success="true"}}')
        assert count >= 1
        assert scheme.metric(f'{name}_bucket{{success="true",le="+Inf"}}') == count
    assert scheme.metric("moja_notification_event_delivery_count") >= 1
    assert scheme.metric("process_cpu_seconds_total") > 0
    assert scheme.metric("process_resident_memory_bytes") > 1_000_000
    assert scheme.metric("reference_ledger_commits_total") > 0


@pytest.mark.parametrize("security", [{"jws": "RS256"}, {"jws": "off"}, {"mtls": False}])
def test_a_transfer_under_every_security_profile(make_scheme: SchemeMaker, security: dict[str, Any]) -> None:
    scheme = make_scheme(**security)
    transfer_id = scheme.reserve()
    assert scheme.fulfil(transfer_id).status == 200
    told = scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}")
    confirmed = scheme.hears("beta", "PUT", f"/transfers/{transfer_id}")
    if security.get("jws") == "off":
        assert "fspiop-signature" not in confirmed.request.headers
    else:
        scheme.verify(told, by="beta")
        scheme.verify(confirmed, by="Hub")
    assert scheme.urls.als_url.startswith("http://" if security.get("mtls") is False else "https://")


def test_it_ends_in_order_when_told_to(make_scheme: SchemeMaker) -> None:
    scheme = make_scheme()
    transfer_id = scheme.reserve()
    scheme.process.signal(signal.SIGTERM)
    assert scheme.process.wait(5) == 0
    scheme.start_hub()
    assert scheme.fulfil(transfer_id).status == 200
    told = scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}")
    assert told.body["transferState"] == "COMMITTED", "a transfer that was open when the hub ended goes on"


def test_a_hub_that_is_killed_loses_nothing_that_it_acknowledged(make_scheme: SchemeMaker) -> None:
    scheme = make_scheme()
    acknowledged: list[str] = []

    def pay() -> None:
        try:
            while True:
                transfer_id = scheme.new_id()
                if scheme.prepare(transfer_id).status == 202 and scheme.fulfil(transfer_id).status == 200:
                    acknowledged.append(transfer_id)
        except HttpError:
            return

    with ThreadPoolExecutor(8) as lanes:
        lanes_at_work = [lanes.submit(pay) for _ in range(8)]
        scheme.until("payments", lambda: len(acknowledged) > 100)
        scheme.process.signal(signal.SIGKILL)
        for lane in lanes_at_work:
            lane.result(30)
    heard = {
        heard.request.path.removeprefix("/transfers/")
        for heard in scheme.heard
        if heard.fsp == "alpha"
        and heard.request.method == "PUT"
        and heard.body.get("transferState") == "COMMITTED"
    }
    rows = dict(
        scheme.ledger_rows(
            "SELECT transferId, transferStateId FROM transferStateChange WHERE transferStateChangeId IN"
            " (SELECT max(transferStateChangeId) FROM transferStateChange GROUP BY transferId)"
        )
    )
    assert len(acknowledged) > 100
    assert {rows.get(key) for key in {*acknowledged, *heard}} == {"COMMITTED"}

    scheme.start_hub()
    committed = sum(state == "COMMITTED" for state in rows.values())
    reserved = sum(state == "RESERVED" for state in rows.values())
    assert scheme.position("beta") == -10 * committed
    assert scheme.position("alpha") == 10 * (committed + reserved)
    sums = scheme.ledger_rows(
        "SELECT p.value - total(c.change) FROM participantPosition p"
        " LEFT JOIN participantPositionChange c USING(participantCurrencyId) GROUP BY participantCurrencyId"
    )
    assert {difference for (difference,) in sums} == {0}
    again = scheme.reserve()
    scheme.fulfil(again)
    scheme.hears("alpha", "PUT", f"/transfers/{again}")
