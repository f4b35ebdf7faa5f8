"""What a hub refuses at once, with which status and code; none of it may move money."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mojaloop_perf.fspiop.http import ConnectError, HttpError, Response
from pytest_mojaloop_perf.reference.ledger_money import format_instant, now_ms

if TYPE_CHECKING:
    from tests.unit.hub.conftest import Scheme, SchemeMaker

TYPE = "application/vnd.interoperability.transfers+json;version="


@pytest.fixture(autouse=True)
def no_money_moves(scheme: Scheme) -> Iterator[None]:
    def total() -> Any:
        return scheme.ledger_rows("SELECT count(*), total(change) FROM participantPositionChange")

    before = total()
    yield
    scheme.settle()
    assert total() == before


def refusal(answer: Response) -> tuple[int, str]:
    body = json.loads(answer.body)
    assert set(body["errorInformation"]) >= {"errorCode", "errorDescription"}
    return answer.status, body["errorInformation"]["errorCode"]


def prepare(scheme: Scheme, **how: Any) -> Response:
    body = how.pop("body", None) or scheme.prepare_body(scheme.new_id())
    return scheme.send("POST", "/transfers", body, source="alpha", to="beta", **how)


# --- paths and methods ---


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/transfers/1/2/3", "/quotes//", "/parties/MSISDN", "/participants/x"]
)
def test_an_unknown_path(scheme: Scheme, path: str) -> None:
    headers = scheme.headers("GET", "/transfers", None, source="alpha", to=None)
    answer = scheme.run(scheme.client("alpha").request("GET", scheme.urls.als_url + path, headers))
    assert refusal(answer) == (404, "3002")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/transfers/1"),
        ("PUT", "/transfers"),
        ("POST", "/parties/MSISDN/1"),
        ("PUT", "/participants/MSISDN/1"),
    ],
)
def test_a_wrong_method(scheme: Scheme, method: str, path: str) -> None:
    headers = scheme.headers(method, path, None, source="alpha", to=None)
    answer = scheme.run(scheme.client("alpha").request(method, scheme.urls.als_url + path, headers, b"{}"))
    assert refusal(answer) == (405, "3000")


def test_a_dfsp_may_not_patch(scheme: Scheme) -> None:
    body = {"transferState": "COMMITTED", "completedTimestamp": format_instant(now_ms())}
    answer = scheme.send("PATCH", f"/transfers/{scheme.new_id()}", body, source="alpha", to="beta")
    assert refusal(answer) == (501, "2002")


# --- headers ---


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"accept": None}, (400, "3102")),
        ({"content-type": None}, (400, "3102")),
        ({"date": None}, (400, "3102")),
        ({"fspiop-source": None}, (400, "3102")),
        ({"accept": "application/json"}, (400, "3101")),
        ({"content-type": "application/json"}, (400, "3101")),
        ({"content-type": TYPE.replace("transfers", "quotes") + "1.0"}, (400, "3101")),
        ({"date": "yesterday"}, (400, "3101")),
        ({"accept": TYPE + "3"}, (406, "3001")),
        ({"content-type": TYPE + "9.9"}, (406, "3001")),
    ],
)
def test_a_wrong_header(scheme: Scheme, change: dict[str, str | None], expected: tuple[int, str]) -> None:
    assert refusal(prepare(scheme, change=change)) == expected


def test_an_unsupported_version_is_answered_with_the_supported_ones(scheme: Scheme) -> None:
    body = json.loads(prepare(scheme, change={"accept": TYPE + "3"}).body)
    pairs = body["errorInformation"]["extensionList"]["extension"]
    assert {(pair["key"], pair["value"]) for pair in pairs} == {("1", "0"), ("1", "1"), ("2", "0")}


# --- bodies ---


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"condition": None}, "3102"),
        ({"surplus": "x"}, "3103"),
        ({"payerFsp": 5}, "3101"),
        ({"amount": {"amount": 10, "currency": "XXX"}}, "3101"),
        ({"amount": {"amount": "10.0", "currency": "XXX"}}, "3100"),
        ({"amount": {"amount": "-1", "currency": "XXX"}}, "3100"),
        ({"transferId": "not-an-id"}, "3100"),
        ({"condition": "short"}, "3100"),
        ({"expiration": "2030-01-01T00:00:00Z"}, "3100"),
        ({"expiration": "2030-02-30T00:00:00.000Z"}, "3100"),
    ],
)
def test_a_wrong_body(scheme: Scheme, change: dict[str, Any], code: str) -> None:
    body = scheme.prepare_body(scheme.new_id()) | change
    body = {name: value for name, value in body.items() if value is not None}
    assert refusal(prepare(scheme, body=body)) == (400, code)


def test_a_body_that_is_not_json(scheme: Scheme) -> None:
    assert refusal(prepare(scheme, body=b"{")) == (400, "3101")


@pytest.mark.parametrize("offset_ms", [1000, -301_000])
def test_a_completion_that_is_not_of_now(scheme: Scheme, offset_ms: int) -> None:
    answer = scheme.fulfil(scheme.new_id(), completedTimestamp=format_instant(now_ms() + offset_ms))
    assert refusal(answer) == (400, "3100")


def test_an_answer_without_destination(scheme: Scheme) -> None:
    body = {"errorInformation": {"errorCode": "3204", "errorDescription": "x"}}
    answer = scheme.send("PUT", "/parties/MSISDN/1/error", body, source="beta")
    assert refusal(answer) == (400, "3102")


# --- who is speaking ---


def test_no_client_certificate_no_connection(scheme: Scheme) -> None:
    with pytest.raises(HttpError):
        prepare(scheme, shown=None)


def test_another_dfsps_certificate(scheme: Scheme) -> None:
    assert refusal(prepare(scheme, shown="beta")) == (403, "3100")
    answer = scheme.send("GET", "/parties/MSISDN/2002", source="alpha", shown="beta")
    assert refusal(answer) == (403, "3100")


@pytest.mark.parametrize("header", ["fspiop-signature", "fspiop-uri", "fspiop-http-method"])
def test_a_missing_part_of_the_signature(scheme: Scheme, header: str) -> None:
    assert refusal(prepare(scheme, change={header: None})) == (400, "3105")


def test_a_body_altered_after_signing(scheme: Scheme) -> None:
    transfer_id = scheme.new_id()
    body = scheme.prepare_body(transfer_id)
    altered = json.dumps(body | {"amount": {"amount": "1", "currency": "XXX"}}).encode()
    assert refusal(prepare(scheme, body=body, sent=altered)) == (400, "3105")
    assert scheme.states(transfer_id) == []


@pytest.mark.parametrize(
    "change",
    [
        {"fspiop-destination": "poor"},
        {"fspiop-destination": None},
        {"date": "Mon, 01 Jan 2024 00:00:00 GMT"},
        {"fspiop-uri": "/quotes"},
        {"fspiop-http-method": "PUT"},
        {"fspiop-signature": "{}"},
    ],
)
def test_headers_altered_after_signing(scheme: Scheme, change: dict[str, str | None]) -> None:
    assert refusal(prepare(scheme, change=change)) == (400, "3105")


def test_a_signature_by_another_key(scheme: Scheme) -> None:
    body = json.dumps(scheme.prepare_body(scheme.new_id()), separators=(",", ":"), sort_keys=True).encode()
    headers = scheme.headers("POST", "/transfers", body, source="alpha", to="beta")
    forged = scheme.signer("beta").headers("POST", "/transfers", headers, body)
    assert refusal(prepare(scheme, body=body, change=forged)) == (400, "3105")


def test_a_signed_message_at_another_path(scheme: Scheme) -> None:
    """A fulfil for one transfer must not be good for another with the same condition."""
    first, second = scheme.new_id(), scheme.new_id()
    body = json.dumps({"transferState": "COMMITTED", "fulfilment": scheme.fulfilment}).encode()
    headers = scheme.headers("PUT", f"/transfers/{first}", body, source="beta", to="alpha")
    url = f"{scheme.urls.transfers_url}/transfers/{second}"
    answer = scheme.run(scheme.client("beta").request("PUT", url, headers, body))
    assert refusal(answer) == (400, "3105")


def test_a_certificate_of_another_ca(scheme: Scheme, make_scheme: SchemeMaker) -> None:
    stranger = make_scheme()
    headers = scheme.headers("GET", "/parties/MSISDN/2002", None, source="alpha", to=None)
    client = stranger.client("alpha")
    with pytest.raises(ConnectError):
        scheme.run(client.request("GET", f"{scheme.urls.als_url}/parties/MSISDN/2002", headers))
