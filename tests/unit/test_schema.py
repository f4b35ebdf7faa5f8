"""Bodies and headers of messages: what is refused, and with which code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_mojaloop_perf.fspiop import bodies
from pytest_mojaloop_perf.fspiop.codes import FspiopError, error_body
from pytest_mojaloop_perf.fspiop.headers import check_headers, http_date, message_headers
from pytest_mojaloop_perf.fspiop.schema import Flavour, body_type, decode_body, is_correlation_id

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "jws.json").read_text())
WIRE = {case["id"]: case["wire"] for case in VECTORS["cases"] if case["kind"] == "positive"}
TRANSFER = {
    "transferId": "0181F0F245F972132C8BAADCEE",
    "payerFsp": "fsp201",
    "payeeFsp": "fsp202",
    "amount": {"amount": "1", "currency": "XXX"},
    "ilpPacket": "AYIC",
    "condition": "m" * 43,
    "expiration": "2026-08-04T09:01:00.123Z",
}
HEADERS = {
    "content-type": "application/vnd.interoperability.transfers+json;version=1.0",
    "accept": "application/vnd.interoperability.transfers+json;version=1",
    "date": "Tue, 04 Aug 2026 09:00:00 GMT",
    "fspiop-source": "fsp201",
}


def _code(value: object, kind: type[bodies.Body] = bodies.TransfersPost, flavour: Flavour = "hub") -> str:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(FspiopError) as caught:
        decode_body(kind, body, flavour=flavour)
    assert caught.value.status == 400
    return caught.value.code


@pytest.mark.parametrize(
    ("case", "method", "resource", "error"),
    [
        ("post-quotes", "POST", "quotes", False),
        ("put-quotes", "PUT", "quotes", False),
        ("put-quotes-error", "PUT", "quotes", True),
        ("post-transfers", "POST", "transfers", False),
        ("put-transfers", "PUT", "transfers", False),
        ("put-transfers-error", "PUT", "transfers", True),
        ("patch-transfers", "PATCH", "transfers", False),
        ("put-parties", "PUT", "parties", False),
        ("put-parties-subid-error", "PUT", "parties", True),
        ("post-participants-no-destination", "POST", "participants", False),
        ("put-participants-query", "PUT", "participants", False),
    ],
)
def test_real_messages_pass(case: str, method: str, resource: str, error: bool) -> None:
    decode_body(body_type(method, resource, error=error), WIRE[case].encode())


def test_the_result_of_a_list_of_parties_passes() -> None:
    party = {"partyIdType": "MSISDN", "partyIdentifier": "1", "fspId": "fsp202"}
    failed = {"errorInformation": {"errorCode": "3003", "errorDescription": "there already"}}
    body = {"currency": "XXX", "partyList": [{"partyId": party}, {"partyId": party, **failed}]}
    decode_body(bodies.ParticipantsPut, json.dumps(body).encode())


def test_a_body_is_typed() -> None:
    body = decode_body(bodies.TransfersPost, json.dumps(TRANSFER).encode())
    assert (body.payer_fsp, body.amount.amount) == ("fsp201", "1")


@pytest.mark.parametrize(("flavour", "expected"), [("hub", "3102"), ("sdk", "3102")])
def test_missing_member(flavour: Flavour, expected: str) -> None:
    body = {name: value for name, value in TRANSFER.items() if name != "condition"}
    assert _code(body, flavour=flavour) == expected


@pytest.mark.parametrize(("flavour", "expected"), [("hub", "3103"), ("sdk", "3100")])
def test_unknown_member(flavour: Flavour, expected: str) -> None:
    assert _code({**TRANSFER, "more": 1}, flavour=flavour) == expected
    amount = {"amount": "1", "currency": "XXX", "more": "1"}
    assert _code({**TRANSFER, "amount": amount}, flavour=flavour) == expected


@pytest.mark.parametrize(("flavour", "expected"), [("hub", "3101"), ("sdk", "3100")])
def test_wrong_json_type(flavour: Flavour, expected: str) -> None:
    assert _code({**TRANSFER, "payerFsp": 201}, flavour=flavour) == expected
    assert _code({**TRANSFER, "amount": "1"}, flavour=flavour) == expected
    assert _code([], flavour=flavour) == expected


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("transferId", "0181f0f245f972132c8baadcee"),
        ("transferId", "912DF4DE-2D57-4E2F-9C64-766C3CE1F7AD"),
        ("payerFsp", ""),
        ("payerFsp", "x" * 33),
        ("amount", {"amount": "1.0", "currency": "XXX"}),
        ("amount", {"amount": "-1", "currency": "XXX"}),
        ("amount", {"amount": "1\n", "currency": "XXX"}),
        ("amount", {"amount": "1", "currency": "xxx"}),
        ("condition", "m" * 42),
        ("condition", "m" * 42 + "="),
        ("condition", "m" * 43 + "\n"),
        ("ilpPacket", "A" * 32769),
        ("ilpPacket", "A+/"),
        ("expiration", "2026-08-04T09:01:00Z"),
        ("expiration", "2026-08-04T09:01:00.123"),
        ("expiration", "2026-13-04T09:01:00.123Z"),
    ],
)
def test_wrong_form(member: str, value: object) -> None:
    assert _code({**TRANSFER, member: value}) == "3100"


def test_wrong_enumeration_value() -> None:
    assert _code({"transferState": "DONE"}, bodies.TransfersPut) == "3100"


@pytest.mark.parametrize("body", [b"", b"{", b'{"transferId":"\xff"}'])
def test_what_is_not_json(body: bytes) -> None:
    assert _code(body) == "3101"


def test_a_request_without_a_body_type() -> None:
    with pytest.raises(FspiopError, match="3002") as caught:
        body_type("PATCH", "quotes")
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("912df4de-2d57-4e2f-9c64-766c3ce1f7ad", True),
        ("0181F0F245F972132C8BAADCEE", True),
        ("0181F0F245F972132C8BAADCEI", False),
        ("912df4de-2d57-8e2f-9c64-766c3ce1f7ad", False),
        ("912df4de-2d57-4e2f-7c64-766c3ce1f7ad", False),
        ("", False),
    ],
)
def test_correlation_ids(text: str, ok: bool) -> None:
    assert is_correlation_id(text) == ok


def test_error_body_is_cut_and_sorted() -> None:
    body = json.loads(error_body("3100", "x" * 200, [("1", "0")]))
    information = body["errorInformation"]
    assert list(information) == ["errorCode", "errorDescription", "extensionList"]
    assert len(information["errorDescription"]) == 128
    assert information["extensionList"] == {"extension": [{"key": "1", "value": "0"}]}
    decode_body(bodies.ErrorInformationObject, json.dumps(body).encode())


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH"])
def test_good_headers_pass(method: str) -> None:
    check_headers(method, "transfers", HEADERS)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_our_own_headers_pass(version: str) -> None:
    made = message_headers("quotes", source="a", destination="b", accept=True, version=version)
    check_headers("POST", "quotes", made)
    assert made["fspiop-destination"] == "b"
    assert made["accept"].endswith(f"version={version[0]}")
    assert made["date"].endswith("GMT")
    assert "accept" not in message_headers("quotes", source="a", destination=None, accept=False)


@pytest.mark.parametrize("name", ["content-type", "accept", "date", "fspiop-source"])
def test_a_missing_header(name: str) -> None:
    headers = {key: value for key, value in HEADERS.items() if key != name}
    with pytest.raises(FspiopError, match="3102"):
        check_headers("POST", "transfers", headers)


def test_put_needs_no_accept_and_a_dfsp_needs_no_date() -> None:
    headers = {name: HEADERS[name] for name in ("content-type", "fspiop-source")}
    check_headers("PUT", "transfers", headers, date_required=False)
    with pytest.raises(FspiopError, match="3102"):
        check_headers("PUT", "transfers", headers)


@pytest.mark.parametrize(
    ("name", "value", "code", "status"),
    [
        ("content-type", "application/json", "3101", 400),
        ("content-type", "application/vnd.interoperability.quotes+json;version=1.0", "3101", 400),
        ("content-type", "application/vnd.interoperability.transfers+json;version=1", "3101", 400),
        ("content-type", "application/vnd.interoperability.transfers+json;version=3.0", "3001", 406),
        ("accept", "*/*", "3101", 400),
        ("accept", "application/vnd.interoperability.quotes+json;version=1", "3101", 400),
        ("accept", "application/vnd.interoperability.transfers+json;version=9", "3001", 406),
        ("date", "2026-08-04T09:00:00Z", "3101", 400),
        ("date", "Tue, 04 Aug 2026 09:00:00 CET", "3101", 400),
        ("date", "Tue, 31 Feb 2026 09:00:00 GMT", "3101", 400),
    ],
)
def test_a_wrong_header(name: str, value: str, code: str, status: int) -> None:
    for _ in range(2):  # a cached parse must not let the second one through
        with pytest.raises(FspiopError) as caught:
            check_headers("POST", "transfers", {**HEADERS, name: value})
        assert (caught.value.code, caught.value.status) == (code, status)
    assert (b"extensionList" in caught.value.body()) == (code == "3001")


@pytest.mark.parametrize(
    "accept",
    [
        "application/vnd.interoperability.transfers+json",
        f"{HEADERS['accept']}9,{HEADERS['content-type']}",
        "application/vnd.interoperability.iso20022.transfers+json;version=2.0",
    ],
)
def test_accept_lists_and_no_version(accept: str) -> None:
    check_headers("GET", "transfers", {**HEADERS, "accept": accept})


def test_http_date_is_accepted_by_ourselves() -> None:
    check_headers("PUT", "transfers", {**HEADERS, "date": http_date()})
