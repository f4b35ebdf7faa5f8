"""What a hub does with transfers, seen from the DFSPs over mutual TLS with signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_mojaloop_perf.reference.ledger_money import format_instant, now_ms

if TYPE_CHECKING:
    from tests.unit.hub.conftest import Scheme


# --- the happy path ---


def test_a_committed_transfer_in_messages(scheme: Scheme) -> None:
    before = scheme.position("alpha"), scheme.position("beta")
    transfer_id = scheme.new_id()
    body = scheme.prepare_body(transfer_id)
    accepted = scheme.send("POST", "/transfers", body, source="alpha", to="beta")
    assert (accepted.status, accepted.body) == (202, b"")

    asked = scheme.hears("beta", "POST", "/transfers", containing=transfer_id)
    assert asked.body == body
    assert asked.request.headers["accept"].endswith("transfers+json;version=1")
    scheme.verify(asked, by="alpha")

    fulfilled = scheme.fulfil(transfer_id)
    assert (fulfilled.status, fulfilled.body) == (200, b"")
    told = scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}")
    assert told.body["transferState"] == "COMMITTED"
    assert told.body["fulfilment"] == scheme.fulfilment
    assert "accept" not in told.request.headers
    scheme.verify(told, by="beta")

    confirmed = scheme.hears("beta", "PUT", f"/transfers/{transfer_id}")
    assert confirmed.body == told.body
    assert confirmed.order > told.order, "the payer is told before the payee"
    assert confirmed.request.headers["fspiop-destination"] == "beta"
    scheme.verify(confirmed, by="Hub")

    assert (scheme.position("alpha"), scheme.position("beta")) == (before[0] + 10, before[1] - 10)
    assert scheme.states(transfer_id) == ["RECEIVED_PREPARE", "RESERVED", "RECEIVED_FULFIL", "COMMITTED"]


def test_the_body_text_and_content_type_are_forwarded_as_they_are(scheme: Scheme) -> None:
    transfer_id = scheme.new_id()
    odd = b'{ "payerFsp":"alpha",' + _members(scheme.prepare_body(transfer_id), without="payerFsp") + b"}"
    assert scheme.send("POST", "/transfers", odd, source="alpha", to="beta", version="1.1").status == 202
    asked = scheme.hears("beta", "POST", "/transfers", containing=transfer_id)
    assert asked.request.body == odd
    assert asked.request.headers["content-type"].endswith("transfers+json;version=1.1")
    scheme.verify(asked, by="alpha")


def test_a_payee_that_says_reserved_leaves_the_last_word_to_the_hub(scheme: Scheme) -> None:
    transfer_id = scheme.reserve()
    assert scheme.fulfil(transfer_id, "RESERVED").status == 200
    told = scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}")
    assert set(told.body) == {"completedTimestamp", "transferState", "fulfilment"}
    assert (told.body["transferState"], told.body["fulfilment"]) == ("COMMITTED", scheme.fulfilment)
    assert told.request.headers["content-type"].endswith(";version=2.0")
    scheme.verify(told, by="Hub")
    patched = scheme.hears("beta", "PATCH", f"/transfers/{transfer_id}")
    assert set(patched.body) == {"completedTimestamp", "transferState"}
    assert patched.body["transferState"] == "COMMITTED"
    assert patched.order > told.order
    scheme.verify(patched, by="Hub")
    assert scheme.all_heard("beta", "PUT", f"/transfers/{transfer_id}") == []


def test_reserved_in_version_1_0_is_dropped(scheme: Scheme) -> None:
    transfer_id = scheme.reserve(expiration=format_instant(now_ms() + 300))
    assert scheme.fulfil(transfer_id, "RESERVED", version="1.0").status == 200
    assert scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}/error").code == "3303"
    assert scheme.states(transfer_id)[-1] == "EXPIRED_RESERVED"


# --- refusals of a prepare, by callback ---


@pytest.mark.parametrize(
    ("source", "change", "code"),
    [
        ("alpha", {"payeeFsp": "alpha"}, "3100"),
        ("alpha", {"payeeFsp": "nobody"}, "3100"),
        ("alpha", {"payerFsp": "beta"}, "3100"),
        ("alpha", {"amount": {"amount": "10", "currency": "USD"}}, "3100"),
        ("alpha", {"amount": {"amount": "0", "currency": "XXX"}}, "3100"),
        ("alpha", {"amount": {"amount": "999999999999999999", "currency": "XXX"}}, "3100"),
        ("alpha", {"expiration": "2020-01-01T00:00:00.000Z"}, "3100"),
        ("alpha", {"amount": {"amount": "2000000", "currency": "XXX"}}, "4001"),
        ("poor", {"payerFsp": "poor", "amount": {"amount": "60.0001", "currency": "XXX"}}, "4001"),
    ],
)
def test_a_refused_prepare_is_accepted_and_answered_by_callback(
    scheme: Scheme, source: str, change: dict[str, Any], code: str
) -> None:
    before = scheme.position(source), scheme.position("beta")
    transfer_id = scheme.new_id()
    answer = scheme.prepare(transfer_id, source=source, **change)
    assert (answer.status, answer.body) == (202, b"")
    refused = scheme.hears(source, "PUT", f"/transfers/{transfer_id}/error")
    assert refused.code == code
    scheme.verify(refused, by="Hub")
    scheme.settle()
    assert scheme.all_heard("beta", "POST", "/transfers", containing=transfer_id) == []
    assert (scheme.position(source), scheme.position("beta")) == before


def test_cover_and_cap_are_kept_and_equality_passes(scheme: Scheme) -> None:
    poor = {"payerFsp": "poor", "source": "poor"}
    first = scheme.reserve(amount={"amount": "60", "currency": "XXX"}, **poor)
    second = scheme.new_id()
    scheme.prepare(second, amount={"amount": "0.0001", "currency": "XXX"}, **poor)
    assert scheme.hears("poor", "PUT", f"/transfers/{second}/error").code == "4001"
    account = scheme.account("poor", "SETTLEMENT")
    url = f"/participants/poor/accounts/{account['id']}"
    assert scheme.admin("POST", url, scheme.funds_in(940)).status == 202
    scheme.until("funds", lambda: scheme.account("poor", "SETTLEMENT")["value"] == -1000)
    third = scheme.new_id()
    scheme.prepare(third, amount={"amount": "40.0001", "currency": "XXX"}, **poor)
    assert scheme.hears("poor", "PUT", f"/transfers/{third}/error").code == "4200"
    scheme.reserve(amount={"amount": "40", "currency": "XXX"}, **poor)
    assert scheme.position("poor") == 100
    assert scheme.states(third) == ["RECEIVED_PREPARE", "ABORTED_REJECTED"]
    assert scheme.states(first)[-1] == "RESERVED"


def test_an_inactive_participant_is_refused_by_callback(scheme: Scheme) -> None:
    assert scheme.admin("PUT", "/participants/quiet", {"isActive": False}).status == 200
    transfer_id = scheme.new_id()
    scheme.prepare(transfer_id, payeeFsp="quiet")
    assert scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}/error").code == "3100"
    assert scheme.admin("PUT", "/participants/quiet", {"isActive": True}).status == 200


# --- duplicates ---


def test_a_repeated_prepare_is_answered_with_the_state(scheme: Scheme) -> None:
    before = scheme.position("alpha")
    transfer_id = scheme.new_id()
    body = scheme.prepare_body(transfer_id)
    for _ in range(2):
        assert scheme.send("POST", "/transfers", body, source="alpha", to="beta").status == 202
    reserved = scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}")
    assert reserved.body == {"transferState": "RESERVED"}
    scheme.verify(reserved, by="Hub")
    scheme.fulfil(transfer_id)
    scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}", number=2)
    assert scheme.send("POST", "/transfers", body, source="alpha", to="beta").status == 202
    again = scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}", number=3)
    assert (again.body["transferState"], again.body["fulfilment"]) == ("COMMITTED", scheme.fulfilment)
    assert len(scheme.all_heard("beta", "POST", "/transfers", containing=transfer_id)) == 1
    assert scheme.position("alpha") == before + 10


@pytest.mark.parametrize("other", ["amount", "member order"])
def test_the_same_id_with_other_content_is_refused(scheme: Scheme, other: str) -> None:
    before = scheme.position("alpha")
    transfer_id = scheme.new_id()
    body = scheme.prepare_body(transfer_id)
    scheme.send("POST", "/transfers", body, source="alpha", to="beta")
    scheme.hears("beta", "POST", "/transfers", containing=transfer_id)
    changed: Any = body | {"amount": {"amount": "11", "currency": "XXX"}}
    if other == "member order":
        changed = (
            b'{"transferId":"' + transfer_id.encode() + b'",' + _members(body, without="transferId") + b"}"
        )
    assert scheme.send("POST", "/transfers", changed, source="alpha", to="beta").status == 202
    assert scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}/error").code == "3106"
    scheme.fulfil(transfer_id)
    assert scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}").body["transferState"] == "COMMITTED"
    assert scheme.position("alpha") == before + 10


def test_a_repeated_fulfil_is_answered_to_the_payee_and_moves_nothing(scheme: Scheme) -> None:
    before = scheme.position("beta")
    transfer_id = scheme.reserve()
    at = format_instant(now_ms())
    for _ in range(2):
        assert scheme.fulfil(transfer_id, completedTimestamp=at).status == 200
    again = scheme.hears("beta", "PUT", f"/transfers/{transfer_id}", number=2)
    assert again.body["transferState"] == "COMMITTED"
    scheme.verify(again, by="Hub")
    other = format_instant(now_ms() - 1000)
    assert scheme.fulfil(transfer_id, completedTimestamp=other).status == 200
    assert scheme.hears("beta", "PUT", f"/transfers/{transfer_id}/error").code == "3106"
    scheme.settle()
    assert scheme.position("beta") == before - 10
    assert len(scheme.all_heard("alpha", "PUT", f"/transfers/{transfer_id}")) == 1


# --- fulfilment, abort ---


@pytest.mark.parametrize("state", ["COMMITTED", "RESERVED"])
def test_a_wrong_fulfilment_aborts_and_tells_both(scheme: Scheme, state: str) -> None:
    before = scheme.position("alpha"), scheme.position("beta")
    transfer_id = scheme.reserve()
    assert scheme.fulfil(transfer_id, state, fulfilment="A" * 43).status == 200
    payer = scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}/error")
    payee = scheme.hears("beta", "PUT", f"/transfers/{transfer_id}/error")
    assert (payer.code, payee.code) == ("3100", "3100")
    assert payer.order < payee.order
    scheme.verify(payer, by="Hub")
    if state == "RESERVED":
        patched = scheme.hears("beta", "PATCH", f"/transfers/{transfer_id}")
        assert patched.body["transferState"] == "ABORTED"
    assert (scheme.position("alpha"), scheme.position("beta")) == before
    assert scheme.states(transfer_id)[-1] == "ABORTED_ERROR"


def test_a_payees_error_aborts_with_its_code(scheme: Scheme) -> None:
    before = scheme.position("alpha")
    transfer_id = scheme.reserve()
    body = {"errorInformation": {"errorCode": "5104", "errorDescription": "no"}}
    path = f"/transfers/{transfer_id}/error"
    answer = scheme.send("PUT", path, body, source="beta", to="alpha")
    assert (answer.status, answer.body) == (200, b"")
    payer = scheme.hears("alpha", "PUT", path)
    assert payer.code == "5104"
    scheme.verify(payer, by="beta")
    payee = scheme.hears("beta", "PUT", path)
    assert payee.body == body
    scheme.verify(payee, by="Hub")
    assert scheme.position("alpha") == before
    assert scheme.fulfil(transfer_id).status == 200
    assert scheme.hears("beta", "PUT", path, number=2).code == "3100"
    assert scheme.position("alpha") == before


def test_nobody_but_the_payee_fulfils(scheme: Scheme) -> None:
    transfer_id = scheme.reserve()
    assert scheme.fulfil(transfer_id, source="poor").status == 200
    assert scheme.hears("poor", "PUT", f"/transfers/{transfer_id}/error").code == "3100"
    assert scheme.states(transfer_id)[-1] == "RESERVED"
    unknown = scheme.new_id()
    assert scheme.fulfil(unknown).status == 200
    assert scheme.hears("beta", "PUT", f"/transfers/{unknown}/error").code == "2001"


# --- expiry ---


def test_a_transfer_that_nobody_fulfils_expires_and_both_are_told(scheme: Scheme) -> None:
    before = scheme.position("alpha")
    transfer_id = scheme.reserve(expiration=format_instant(now_ms() + 200))
    payer = scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}/error")
    payee = scheme.hears("beta", "PUT", f"/transfers/{transfer_id}/error")
    assert (payer.code, payee.code) == ("3303", "3303")
    assert payer.order < payee.order
    assert scheme.position("alpha") == before
    assert scheme.states(transfer_id) == [
        "RECEIVED_PREPARE",
        "RESERVED",
        "RESERVED_TIMEOUT",
        "EXPIRED_RESERVED",
    ]


def test_a_late_fulfil_is_refused_and_moves_nothing(scheme: Scheme) -> None:
    before = scheme.position("alpha"), scheme.position("beta")
    transfer_id = scheme.reserve(expiration=format_instant(now_ms() + 100))
    scheme.hears("beta", "PUT", f"/transfers/{transfer_id}/error")
    assert scheme.fulfil(transfer_id, "RESERVED").status == 200
    assert scheme.hears("beta", "PUT", f"/transfers/{transfer_id}/error", number=2).code == "3303"
    assert scheme.hears("beta", "PATCH", f"/transfers/{transfer_id}").body["transferState"] == "ABORTED"
    assert (scheme.position("alpha"), scheme.position("beta")) == before


def test_a_payee_that_cannot_be_reached_lets_the_transfer_expire(scheme: Scheme) -> None:
    transfer_id = scheme.new_id()
    scheme.prepare(transfer_id, payeeFsp="quiet", expiration=format_instant(now_ms() + 200))
    assert scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}/error").code == "3303"


# --- questions ---


def test_either_side_may_ask_for_the_state(scheme: Scheme) -> None:
    transfer_id = scheme.reserve()
    answer = scheme.send("GET", f"/transfers/{transfer_id}", source="beta")
    assert (answer.status, answer.body) == (202, b"")
    assert scheme.hears("beta", "PUT", f"/transfers/{transfer_id}").body == {"transferState": "RESERVED"}
    scheme.fulfil(transfer_id)
    scheme.hears("beta", "PUT", f"/transfers/{transfer_id}", number=2)
    scheme.send("GET", f"/transfers/{transfer_id}", source="alpha")
    told = scheme.hears("alpha", "PUT", f"/transfers/{transfer_id}", number=2)
    assert (told.body["transferState"], told.body["fulfilment"]) == ("COMMITTED", scheme.fulfilment)
    scheme.verify(told, by="Hub")


def test_questions_that_have_no_answer(scheme: Scheme) -> None:
    unknown = scheme.new_id()
    scheme.send("GET", f"/transfers/{unknown}", source="alpha")
    assert scheme.hears("alpha", "PUT", f"/transfers/{unknown}/error").code == "3208"
    transfer_id = scheme.reserve()
    scheme.send("GET", f"/transfers/{transfer_id}", source="poor")
    assert scheme.hears("poor", "PUT", f"/transfers/{transfer_id}/error").code == "3000"


def _members(body: dict[str, Any], *, without: str) -> bytes:
    """Return the members of a body but one, as compact text in their order."""
    import msgspec

    return msgspec.json.encode({name: value for name, value in body.items() if name != without})[1:-1]
