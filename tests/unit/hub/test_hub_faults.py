"""Each fault of the hub, switched on: what then goes wrong, seen over the network."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from pytest_mojaloop_perf.faults import FAULTS

if TYPE_CHECKING:
    from tests.unit.hub.conftest import Scheme, SchemeMaker


def committed(scheme: Scheme) -> str:
    transfer_id = scheme.reserve()
    assert scheme.fulfil(transfer_id).status == 200
    scheme.hears("beta", "PUT", f"/transfers/{transfer_id}")
    return transfer_id


def changes(scheme: Scheme, transfer_id: str) -> list[tuple[int, str]]:
    query = (
        "SELECT change / 10000, reason FROM participantPositionChange WHERE transferId=?"
        " ORDER BY participantPositionChangeId"
    )
    return [(change, reason) for change, reason in scheme.ledger_rows(query, transfer_id)]


def test_no_jws_check(make_scheme: SchemeMaker) -> None:
    scheme = make_scheme(faults=("no-jws-check",))
    transfer_id = scheme.new_id()
    body = scheme.prepare_body(transfer_id)
    answer = scheme.send(
        "POST", "/transfers", body, source="alpha", to="beta", change={"fspiop-signature": "{}"}
    )
    assert answer.status == 202
    scheme.hears("beta", "POST", "/transfers", containing=transfer_id)
    altered = body | {"transferId": scheme.new_id()}
    answer = scheme.send(
        "POST", "/transfers", body, source="alpha", to="beta", sent=json.dumps(altered).encode()
    )
    assert answer.status == 202
    assert scheme.prepare(scheme.new_id(), source="alpha").status == 202
    assert scheme.send("GET", "/parties/MSISDN/2002", source="alpha", shown="beta").status == 403


def test_no_client_certificate_check(make_scheme: SchemeMaker) -> None:
    scheme = make_scheme(faults=("no-client-certificate-check",))
    for shown in ("beta", None):
        transfer_id = scheme.new_id()
        body = scheme.prepare_body(transfer_id)
        answer = scheme.send("POST", "/transfers", body, source="alpha", to="beta", shown=shown)
        assert answer.status == 202
        scheme.hears("beta", "POST", "/transfers", containing=transfer_id)
    forged = scheme.send("POST", "/transfers", body, source="alpha", change={"fspiop-signature": "{}"})
    assert forged.status == 400, "signatures are still checked"


def test_error_callbacks(make_scheme: SchemeMaker) -> None:
    scheme = make_scheme(faults=("error-callbacks=50",))
    before = scheme.position("alpha")
    ids = [scheme.new_id() for _ in range(6)]
    for transfer_id in ids:
        assert scheme.prepare(transfer_id).status == 202
    scheme.settle()
    failed = [key for key in ids if scheme.all_heard("alpha", "PUT", f"/transfers/{key}/error")]
    asked = [key for key in ids if scheme.all_heard("beta", "POST", "/transfers", containing=key)]
    assert len(failed) == len(asked) == 3
    assert sorted(failed + asked) == sorted(ids), "the payee never hears of a failed one"
    for key in failed:
        refused = scheme.hears("alpha", "PUT", f"/transfers/{key}/error")
        assert refused.code == "2001"
        scheme.verify(refused, by="Hub")
        assert scheme.states(key)[-1] == "ABORTED_ERROR"
        assert changes(scheme, key) == [(10, "reserve"), (-10, "abort")]
    assert scheme.position("alpha") == before + 30


def test_slow_leg(make_scheme: SchemeMaker) -> None:
    scheme = make_scheme(faults=("slow-leg=discovery:700",))
    committed(scheme)
    scheme.send("GET", "/parties/MSISDN/2002", source="alpha")
    asked = time.monotonic()
    scheme.hears("beta", "GET", "/parties/MSISDN/2002")
    assert time.monotonic() - asked >= 0.6, "the request of that leg is held back"


def test_lost_callbacks(make_scheme: SchemeMaker) -> None:
    scheme = make_scheme(faults=("lost-callbacks=25",))
    ids = [committed(scheme) for _ in range(8)]
    scheme.settle()
    heard = [key for key in ids if scheme.all_heard("alpha", "PUT", f"/transfers/{key}")]
    assert len(heard) == 6
    assert all(scheme.states(key)[-1] == "COMMITTED" for key in ids), "the money moved nevertheless"


def test_booked_twice(make_scheme: SchemeMaker) -> None:
    scheme = make_scheme(faults=("booked-twice=2",))
    once, twice = committed(scheme), committed(scheme)
    assert changes(scheme, once) == [(10, "reserve"), (-10, "commit-payee")]
    assert changes(scheme, twice) == [(10, "reserve"), (-10, "commit-payee")] * 2
    assert (scheme.position("alpha"), scheme.position("beta")) == (30, -30)


def test_not_reversed(make_scheme: SchemeMaker) -> None:
    scheme = make_scheme(faults=("not-reversed=2",))
    good = committed(scheme)
    kept = scheme.new_id()
    scheme.prepare(kept)
    assert scheme.hears("alpha", "PUT", f"/transfers/{kept}/error").code == "2001"
    assert scheme.states(kept)[-1] == "ABORTED_ERROR"
    assert changes(scheme, kept) == [(10, "reserve")]
    assert changes(scheme, good) == [(10, "reserve"), (-10, "commit-payee")]
    reversed_id = scheme.reserve()
    scheme.fulfil(reversed_id, fulfilment="A" * 43)
    scheme.hears("alpha", "PUT", f"/transfers/{reversed_id}/error")
    assert changes(scheme, reversed_id)[-1] == (-10, "abort"), "only its own aborts are not reversed"


def test_every_fault_of_the_hub_is_shown_here() -> None:
    shown = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert {spec.name for spec in FAULTS.values() if "hub" in spec.where} <= shown
