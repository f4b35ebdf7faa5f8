"""The transfer in three steps of the synchronous API."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pytest_mojaloop_perf.fspiop.http import Response
from pytest_mojaloop_perf.fspiop.ilp import fulfils
from pytest_mojaloop_perf.fspiop.pki import create_security_folder
from pytest_mojaloop_perf.fspiop.schema import is_correlation_id
from pytest_mojaloop_perf.reference.dfsp_steps import new_ulid
from tests.unit.dfsp_world import run, world


@pytest.fixture(scope="module")
def security_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security") / "material"
    create_security_folder(folder, ["fsp201", "fsp202", "Hub"], "ES256")
    return folder


def begin(**changed: object) -> dict[str, Any]:
    body = {
        "homeTransactionId": "home-1",
        "from": {"idType": "MSISDN", "idValue": "17039811918", "displayName": "P"},
        "to": {"idType": "MSISDN", "idValue": "17039811930"},
        "amountType": "SEND",
        "currency": "XXX",
        "amount": "1.5",
        "transactionType": "TRANSFER",
    }
    return body | changed


def test_all_three_steps(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            status, state = await made.call("POST", "/transfers", begin(note="thanks"))
            assert (status, state["currentState"]) == (200, "WAITING_FOR_PARTY_ACCEPTANCE")
            assert state["to"]["fspId"] == "fsp202"
            assert state["to"]["firstName"] == "Holder"
            path = f"/transfers/{state['transferId']}"
            status, state = await made.call("PUT", path, {"acceptParty": True})
            assert (status, state["currentState"]) == (200, "WAITING_FOR_QUOTE_ACCEPTANCE")
            assert state["quoteResponseSource"] == "fsp202"
            condition = state["quoteResponse"]["body"]["condition"]
            status, state = await made.call("PUT", path, {"acceptQuote": True})
            assert (status, state["currentState"]) == (200, "COMPLETED")
            assert fulfils(state["fulfil"]["body"]["fulfilment"], condition)
            assert [row["state"] for row in await made.view(made.payer)] == ["COMMITTED"]
            versions = {request.headers["content-type"].split("=")[1] for request in made.hub.seen}
            assert versions == {"2.0"}
            status, body = await made.call("PUT", path, {"acceptQuote": True})
            assert (status, body["statusCode"]) == (500, "2001")

    run(work())


def test_the_look_up_can_be_skipped(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            to = {"idType": "MSISDN", "idValue": "17039811930", "fspId": "fsp202"}
            _, state = await made.call("POST", "/transfers", begin(to=to, skipPartyLookup=True))
            assert state["currentState"] == "WAITING_FOR_QUOTE_ACCEPTANCE"
            assert [request.method for request in made.hub.seen] == ["POST", "PUT"]

    run(work())


@pytest.mark.parametrize("at_quote", [False, True])
def test_no_is_an_abort(security_folder: Path, tmp_path: Path, at_quote: bool) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            _, state = await made.call("POST", "/transfers", begin())
            path = f"/transfers/{state['transferId']}"
            if at_quote:
                await made.call("PUT", path, {"acceptParty": True})
            status, state = await made.call(
                "PUT", path, {"acceptQuote" if at_quote else "acceptParty": False}
            )
            assert (status, state["currentState"]) == (200, "ABORTED")
            assert state["abortedReason"]
            assert await made.view(made.payer) == []

    run(work())


def test_errors_carry_the_code_and_the_state(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            to = {"idType": "MSISDN", "idValue": "1"}
            status, body = await made.call("POST", "/transfers", begin(to=to))
            assert (status, body["statusCode"]) == (500, "3204")
            assert body["transferState"]["currentState"] == "ERROR_OCCURRED"
            status, body = await made.call("GET", "/transfers/01D8FFCD2E22147CFF20541363")
            assert (status, body["statusCode"]) == (500, "3208")
            status, body = await made.call("PUT", "/transfers/unknown", {"acceptParty": True})
            assert (status, body["statusCode"]) == (500, "2001")
            made.hub.answer = lambda _request: Response(202)
            status, body = await made.call("POST", "/transfers", begin())
            assert (status, body["statusCode"]) == (504, "504")
            made.hub.answer = lambda _request: Response(503)
            status, body = await made.call("POST", "/transfers", begin())
            assert (status, body["statusCode"]) == (500, "500")

    run(work())


@pytest.mark.parametrize("body", [{}, begin(amount="1.0"), begin(more=1), begin(transactionType="REFUND")])
def test_bad_requests(security_folder: Path, tmp_path: Path, body: dict[str, Any]) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            status, answer = await made.call("POST", "/transfers", body)
            assert (status, answer["statusCode"]) == (400, 400)

    run(work())


def test_ulids_are_ids_in_order_of_time() -> None:
    made = [new_ulid() for _ in range(50)]
    assert all(is_correlation_id(each) for each in made)
    assert len(set(made)) == 50
    assert all(re.fullmatch("[0-7].{25}", each) for each in made)
