"""What a hub does with parties, quotes and participants, seen from the DFSPs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.unit.hub.conftest import Scheme

PARTY = "/parties/MSISDN/2002"
FOUND = {"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "2002", "fspId": "beta"}}}


def quote(scheme: Scheme) -> dict[str, Any]:
    return {
        "quoteId": scheme.new_id(),
        "transactionId": scheme.new_id(),
        "payer": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1001", "fspId": "alpha"}},
        "payee": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "2002", "fspId": "beta"}},
        "amountType": "SEND",
        "amount": {"amount": "1", "currency": "XXX"},
        "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
    }


def quoted(scheme: Scheme) -> dict[str, Any]:
    return {
        "transferAmount": {"amount": "1", "currency": "XXX"},
        "expiration": "2030-01-01T00:00:00.000Z",
        "ilpPacket": "AAAA",
        "condition": scheme.condition,
    }


# --- parties ---


def test_a_look_up_goes_to_the_payee_and_its_answer_to_the_payer(scheme: Scheme) -> None:
    answer = scheme.send("GET", PARTY, source="alpha")
    assert (answer.status, answer.body) == (202, b"")
    asked = scheme.hears("beta", "GET", PARTY)
    assert asked.request.headers["fspiop-source"] == "alpha"
    assert asked.request.headers["fspiop-destination"] == "beta"
    assert asked.request.headers["accept"].endswith("parties+json;version=1")
    assert asked.request.body == b""
    surplus = asked.request.headers["accept"]
    answer = scheme.send("PUT", PARTY, FOUND, source="beta", to="alpha", change={"accept": surplus})
    assert (answer.status, answer.body) == (200, b"")
    told = scheme.hears("alpha", "PUT", PARTY)
    assert "accept" not in told.request.headers, "a callback is never forwarded with Accept"
    assert told.body == FOUND
    scheme.verify(told, by="beta")


def test_trace_headers_are_forwarded(scheme: Scheme) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    scheme.send("GET", PARTY, source="poor", change={"traceparent": trace})
    scheme.until(
        "the trace", lambda: any(h.request.headers.get("traceparent") == trace for h in scheme.heard)
    )


def test_a_destination_skips_the_oracle(scheme: Scheme) -> None:
    path = "/parties/MSISDN/777777"
    assert scheme.send("GET", path, source="alpha", to="beta").status == 202
    assert scheme.hears("beta", "GET", path).request.headers["fspiop-destination"] == "beta"


def test_a_party_under_a_sub_id(scheme: Scheme) -> None:
    path = "/parties/MSISDN/2003/shop"
    assert scheme.send("GET", path, source="alpha").status == 202
    scheme.hears("beta", "GET", path)
    assert scheme.send("PUT", f"{path}/error", _error("3204"), source="beta", to="alpha").status == 200
    assert scheme.hears("alpha", "PUT", f"{path}/error").code == "3204"


@pytest.mark.parametrize(
    ("path", "to", "code"),
    [
        ("/parties/MSISDN/999", None, "3204"),
        ("/parties/MSISDN/2003", None, "3200"),
        ("/parties/IBAN/999", None, "3200"),
        ("/parties/MSISDN/2002", "nobody", "3201"),
        ("/parties/MSISDN/4004", None, "1001"),
    ],
)
def test_a_look_up_that_fails_is_answered_by_error_callback(
    scheme: Scheme, path: str, to: str | None, code: str
) -> None:
    answer = scheme.send("GET", path, source="alpha", to=to)
    assert (answer.status, answer.body) == (202, b"")
    refused = scheme.hears("alpha", "PUT", f"{path}/error")
    assert refused.code == code
    scheme.verify(refused, by="Hub")


def test_an_answer_for_nobody_is_refused_to_its_sender(scheme: Scheme) -> None:
    assert scheme.send("PUT", PARTY, FOUND, source="beta", to="nobody").status == 200
    assert scheme.hears("beta", "PUT", f"{PARTY}/error").code == "3201"


def test_a_source_that_is_not_onboarded_is_answered_and_not_served(scheme: Scheme) -> None:
    path = "/parties/MSISDN/777778"
    assert scheme.send("GET", path, source="outsider", to="beta").status == 202
    scheme.settle()
    assert scheme.all_heard("beta", "GET", path) == []


# --- quotes ---


def test_a_quote_is_passed_on_and_so_is_its_answer(scheme: Scheme) -> None:
    body = quote(scheme)
    answer = scheme.send("POST", "/quotes", body, source="alpha", to="beta")
    assert (answer.status, answer.body) == (202, b"")
    asked = scheme.hears("beta", "POST", "/quotes", containing=body["quoteId"])
    assert asked.body == body
    scheme.verify(asked, by="alpha")
    path = f"/quotes/{body['quoteId']}"
    answer = scheme.send("PUT", path, quoted(scheme), source="beta", to="alpha")
    assert (answer.status, answer.body) == (200, b"")
    told = scheme.hears("alpha", "PUT", path)
    assert told.body == quoted(scheme)
    scheme.verify(told, by="beta")
    assert scheme.send("PUT", f"{path}/error", _error("5103"), source="beta", to="alpha").status == 200
    assert scheme.hears("alpha", "PUT", f"{path}/error").code == "5103"


def test_a_repeated_quote_is_passed_on_again(scheme: Scheme) -> None:
    body = quote(scheme)
    for _ in range(2):
        assert scheme.send("POST", "/quotes", body, source="alpha", to="beta").status == 202
    scheme.hears("beta", "POST", "/quotes", containing=body["quoteId"], number=2)


@pytest.mark.parametrize(("to", "code"), [("nobody", "3203"), ("quiet", "1001")])
def test_a_quote_that_cannot_be_delivered(scheme: Scheme, to: str, code: str) -> None:
    body = quote(scheme)
    assert scheme.send("POST", "/quotes", body, source="alpha", to=to).status == 202
    refused = scheme.hears("alpha", "PUT", f"/quotes/{body['quoteId']}/error")
    assert refused.code == code
    scheme.verify(refused, by="Hub")


# --- participants ---


def test_a_dfsp_registers_a_party_and_finds_it(scheme: Scheme) -> None:
    path = "/participants/MSISDN/5005"
    answer = scheme.send("POST", path, {"fspId": "beta", "currency": "XXX"}, source="beta")
    assert (answer.status, answer.body) == (202, b"")
    told = scheme.hears("beta", "PUT", path)
    party = {"partyIdType": "MSISDN", "partyIdentifier": "5005", "fspId": "beta"}
    assert told.body == {"partyList": [party], "currency": "XXX"}
    scheme.verify(told, by="Hub")
    scheme.send("GET", "/parties/MSISDN/5005", source="alpha")
    scheme.hears("beta", "GET", "/parties/MSISDN/5005")
    scheme.send("GET", path, source="alpha")
    assert scheme.hears("alpha", "PUT", path).body == {"fspId": "beta"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/participants/MSISDN/6006", {"fspId": "alpha", "currency": "XXX"}),
        ("/participants/MSISDN/6007", {"fspId": "beta", "currency": "USD"}),
        ("/participants/IBAN/6008", {"fspId": "beta", "currency": "XXX"}),
        ("/participants/MSISDN/6009/shop", {"fspId": "nobody"}),
    ],
)
def test_a_registration_that_is_refused(scheme: Scheme, path: str, body: dict[str, str]) -> None:
    assert scheme.send("POST", path, body, source="beta").status == 202
    assert scheme.hears("beta", "PUT", f"{path}/error").code == "3003"
    if "IBAN" not in path:
        scheme.send("GET", path, source="alpha")
        assert scheme.hears("alpha", "PUT", f"{path}/error").code == "3204"


def test_thousands_of_parties_are_registered_at_once(scheme: Scheme) -> None:
    request_id = scheme.new_id()
    parties = [
        {"partyIdType": "MSISDN", "partyIdentifier": str(70_000_000 + number), "fspId": "beta"}
        for number in range(2000)
    ]
    foreign = {"partyIdType": "MSISDN", "partyIdentifier": "1001", "fspId": "alpha"}
    body = {"requestId": request_id, "partyList": [*parties, foreign], "currency": "XXX"}
    answer = scheme.send("POST", "/participants", body, source="beta")
    assert (answer.status, answer.body) == (202, b"")
    told = scheme.hears("beta", "PUT", f"/participants/{request_id}")
    results = told.body["partyList"]
    assert [result["partyId"] for result in results] == [*parties, foreign]
    assert [result["errorInformation"]["errorCode"] for result in results if len(result) > 1] == ["3003"]
    assert scheme.admin_json("/oracle/participants/MSISDN/70001999")["partyList"][0]["fspId"] == "beta"
    assert scheme.admin_json("/oracle/participants/MSISDN/1001")["partyList"][0]["fspId"] == "alpha"


def _error(code: str) -> dict[str, dict[str, str]]:
    return {"errorInformation": {"errorCode": code, "errorDescription": "x"}}
