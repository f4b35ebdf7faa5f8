"""The hub's admin side: first and repeated calls, and what can be read back."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mojaloop_perf.fspiop.http import Response

if TYPE_CHECKING:
    from tests.unit.hub.conftest import Scheme

INITIAL = {"currency": "XXX", "limit": {"type": "NET_DEBIT_CAP", "value": 100}, "initialPosition": 0}


def outcome(answer: Response) -> tuple[int, str | None]:
    """Return the status and, of an error, its code."""
    if answer.status < 300:
        return answer.status, None
    return answer.status, json.loads(answer.body)["errorInformation"]["errorCode"]


@pytest.mark.parametrize(
    ("path", "body", "first", "repeated"),
    [
        (
            "/participants/Hub/accounts",
            {"type": "HUB_MULTILATERAL_SETTLEMENT", "currency": "USD"},
            (201, None),
            (400, "3003"),
        ),
        (
            "/participants/Hub/accounts",
            {"type": "HUB_RECONCILIATION", "currency": "USD"},
            (201, None),
            (400, "3003"),
        ),
        (
            "/participants/Hub/endpoints",
            {"type": "NET_DEBIT_CAP_ADJUSTMENT_EMAIL", "value": "hub@example.org"},
            (201, None),
            (201, None),
        ),
        ("/participants", {"name": "newbank", "currency": "XXX"}, (201, None), (400, "3000")),
        ("/participants/newbank/initialPositionAndLimits", INITIAL, (201, None), (500, "2001")),
        (
            "/participants/newbank/endpoints",
            {"type": "FSPIOP_CALLBACK_URL_QUOTES", "value": "http://localhost:1"},
            (201, None),
            (201, None),
        ),
        (
            "/oracles",
            {
                "oracleIdType": "ALIAS",
                "endpoint": {"value": "http://x", "endpointType": "URL"},
                "isDefault": True,
            },
            (201, None),
            (500, "2001"),
        ),
    ],
)
def test_first_and_repeated_calls(
    scheme: Scheme, path: str, body: Any, first: tuple[int, str], repeated: tuple[int, str]
) -> None:
    assert outcome(scheme.admin("POST", path, body)) == first
    assert outcome(scheme.admin("POST", path, body)) == repeated


def settlement_is(scheme: Scheme, value: float) -> bool:
    return bool(scheme.account("beta", "SETTLEMENT")["value"] == value)


def test_settlement_models(scheme: Scheme) -> None:
    model = scheme.settlement_model("DEFAULTDEFERREDNET")
    del model["currency"]
    assert outcome(scheme.admin("POST", "/settlementModels", model)) == (201, None)
    assert outcome(scheme.admin("POST", "/settlementModels", model)) == (400, "3000")
    names = [row["name"] for row in scheme.admin_json("/settlementModels")]
    assert names == ["DEFERREDNETXXX", "DEFAULTDEFERREDNET"]


def test_accounts_come_inactive_and_are_activated_with_the_first_limit(scheme: Scheme) -> None:
    scheme.admin("POST", "/participants", {"name": "lateBank", "currency": "XXX"})
    accounts = scheme.admin_json("/participants/lateBank/accounts")
    assert [(row["ledgerAccountType"], row["isActive"], row["value"]) for row in accounts] == [
        ("POSITION", 0, 0),
        ("SETTLEMENT", 0, 0),
    ]
    assert scheme.admin_json("/participants/lateBank/limits") == []
    scheme.admin("POST", "/participants/lateBank/initialPositionAndLimits", INITIAL)
    accounts = scheme.admin_json("/participants/lateBank/accounts")
    assert [row["isActive"] for row in accounts] == [1, 1]
    assert set(accounts[0]) == {
        "id",
        "ledgerAccountType",
        "currency",
        "isActive",
        "value",
        "reservedValue",
        "changedDate",
    }


def test_a_currency_without_hub_accounts_is_refused(scheme: Scheme) -> None:
    answer = scheme.admin("POST", "/participants", {"name": "eurobank", "currency": "EUR"})
    assert outcome(answer) == (400, "3003")


def test_funds_come_in_a_moment_later_and_once_per_transfer_id(scheme: Scheme) -> None:
    account = scheme.account("beta", "SETTLEMENT")
    hub_before = scheme.account("Hub", "HUB_MULTILATERAL_SETTLEMENT")["value"]
    url = f"/participants/beta/accounts/{account['id']}"
    body = scheme.funds_in(500)
    for _ in range(3):
        assert outcome(scheme.admin("POST", url, body)) == (202, None)
    scheme.until("funds", lambda: scheme.account("beta", "SETTLEMENT")["value"] == account["value"] - 500)
    assert outcome(scheme.admin("POST", url, body)) == (202, None)
    assert outcome(scheme.admin("POST", url, scheme.funds_in(1))) == (202, None)
    scheme.until("more", lambda: scheme.account("beta", "SETTLEMENT")["value"] == account["value"] - 501)
    assert scheme.account("Hub", "HUB_MULTILATERAL_SETTLEMENT")["value"] == hub_before + 501


def test_funds_go_out_in_two_steps(scheme: Scheme) -> None:
    account = scheme.account("beta", "SETTLEMENT")
    url = f"/participants/beta/accounts/{account['id']}"
    for action, left in (("recordFundsOutCommit", 30), ("recordFundsOutAbort", 0)):
        before = scheme.account("beta", "SETTLEMENT")["value"]
        body = scheme.funds_in(30) | {"action": "recordFundsOutPrepareReserve"}
        assert outcome(scheme.admin("POST", url, body)) == (202, None)
        reserved = partial(settlement_is, scheme, before + 30)
        scheme.until("out", reserved)
        answer = scheme.admin(
            "PUT", f"{url}/transfers/{body['transferId']}", {"action": action, "reason": "x"}
        )
        assert outcome(answer) == (202, None)
        assert scheme.account("beta", "SETTLEMENT")["value"] == before + left


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"action": "recordFundsSideways"}, (400, "3100")),
        ({"amount": {"amount": "0", "currency": "XXX"}}, (400, "3100")),
        ({"amount": {"amount": "5", "currency": "USD"}}, (400, "3100")),
        ({"transferId": "x"}, (400, "3100")),
    ],
)
def test_wrong_funds(scheme: Scheme, change: dict[str, Any], expected: tuple[int, str]) -> None:
    account = scheme.account("beta", "SETTLEMENT")
    answer = scheme.admin("POST", f"/participants/beta/accounts/{account['id']}", scheme.funds_in(5) | change)
    assert outcome(answer) == expected
    assert scheme.account("beta", "SETTLEMENT")["value"] == account["value"]


def test_limits_are_changed_and_read_back(scheme: Scheme) -> None:
    body = {"currency": "XXX", "limit": {"type": "NET_DEBIT_CAP", "value": 5.25, "alarmPercentage": 20}}
    assert scheme.admin("PUT", "/participants/quiet/limits", body).status == 200
    limit = {"type": "NET_DEBIT_CAP", "value": 5.25, "alarmPercentage": 20}
    assert scheme.admin_json("/participants/quiet/limits?currency=XXX&type=NET_DEBIT_CAP") == [
        {"currency": "XXX", "limit": limit}
    ]
    assert {row["name"] for row in scheme.admin_json("/participants/limits")} >= {"alpha", "beta", "quiet"}
    too_fine = {"currency": "XXX", "limit": {"type": "NET_DEBIT_CAP", "value": 0.00001}}
    assert outcome(scheme.admin("PUT", "/participants/quiet/limits", too_fine)) == (400, "3100")


def test_positions(scheme: Scheme) -> None:
    row = scheme.admin_json("/participants/alpha/positions?currency=XXX")
    assert (row["currency"], row["value"]) == ("XXX", 0)
    assert [position["currency"] for position in scheme.admin_json("/participants/alpha/positions")] == [
        "XXX"
    ]
    assert outcome(scheme.admin("GET", "/participants/alpha/positions?currency=EUR")) == (400, "3003")


def test_endpoints_are_replaced_and_read_back(scheme: Scheme) -> None:
    kind = "FSPIOP_CALLBACK_URL_TRANSFER_POST"
    for value in ("http://localhost:1/a", "http://localhost:1/b"):
        scheme.admin("POST", "/participants/quiet/endpoints", {"type": kind, "value": value})
    assert scheme.admin_json(f"/participants/quiet/endpoints?type={kind}") == [
        {"type": kind, "value": "http://localhost:1/b"}
    ]


def test_participants_and_accounts_are_switched_off_and_on(scheme: Scheme) -> None:
    for active in (False, True):
        assert scheme.admin("PUT", "/participants/quiet", {"isActive": active}).status == 200
        assert scheme.admin_json("/participants/quiet")["isActive"] == int(active)
        position, settlement = (scheme.account("quiet", kind)["id"] for kind in ("POSITION", "SETTLEMENT"))
        url = "/participants/quiet/accounts/"
        assert scheme.admin("PUT", f"{url}{position}", {"isActive": active}).status == 200
        assert scheme.account("quiet", "POSITION")["isActive"] == int(active)
        assert outcome(scheme.admin("PUT", f"{url}{settlement}", {"isActive": active})) == (400, "3000")


def test_the_oracle(scheme: Scheme) -> None:
    assert scheme.admin_json("/oracle/participants/MSISDN/123456") == {"partyList": []}
    party = {"partyIdType": "MSISDN", "partyIdentifier": "123456", "fspId": "beta"}
    batch = {"requestId": "1", "partyList": [party], "currency": "XXX"}
    assert scheme.admin("POST", "/oracle/participants", batch).status == 201
    assert scheme.admin_json("/oracle/participants/MSISDN/123456") == {
        "partyList": [{"fspId": "beta", "currency": "XXX"}]
    }
    assert outcome(scheme.admin("POST", "/oracle/participants/MSISDN/1", {"fspId": "nobody"})) == (
        404,
        "3000",
    )
    assert scheme.admin_json("/oracles")[0]["oracleIdType"] == "MSISDN"


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/nowhere", None, (404, "3002")),
        ("DELETE", "/participants", None, (405, "3000")),
        ("GET", "/participants/nobody/accounts", None, (404, "3000")),
        ("POST", "/participants", {"name": "x y", "currency": "XXX"}, (400, "3100")),
        ("POST", "/participants", {"currency": "XXX"}, (400, "3102")),
        ("POST", "/participants", {"name": "abank", "currency": "XXX", "colour": "red"}, (400, "3103")),
        ("POST", "/participants/alpha/accounts/1", None, (400, "3101")),
    ],
)
def test_wrong_calls(scheme: Scheme, method: str, path: str, body: Any, expected: tuple[int, str]) -> None:
    assert outcome(scheme.admin(method, path, body)) == expected


def test_health(scheme: Scheme) -> None:
    assert scheme.admin_json("/health")["status"] == "OK"
