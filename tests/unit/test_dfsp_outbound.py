"""The synchronous API of the reference DFSP, against a double of the hub."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Literal

import pytest

from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.http import Response
from pytest_mojaloop_perf.fspiop.ilp import decode_packet, fulfils
from pytest_mojaloop_perf.fspiop.pki import create_security_folder
from tests.unit.dfsp_world import ID, QUOTE_ID, quote_call, quoted_by, run, transfer_call, world


@pytest.fixture(scope="module")
def security_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security") / "material"
    create_security_folder(folder, ["fsp201", "fsp202", "Hub"], "ES256")
    return folder


@pytest.mark.parametrize("ilp", ["1", "4"])
def test_a_whole_transaction(security_folder: Path, tmp_path: Path, ilp: Literal["1", "4"]) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path, ilp=ilp) as made:
            status, body = await made.call("GET", "/parties/MSISDN/17039811930")
            assert (status, body["currentState"]) == (200, "COMPLETED")
            assert body["party"]["body"]["partyIdInfo"]["fspId"] == "fsp202"
            assert body["party"]["headers"]["fspiop-source"] == "fsp202"
            quoted = await quoted_by(made)
            assert quoted["payeeFspFee"] == {"amount": "0", "currency": "XXX"}
            assert decode_packet(quoted["ilpPacket"]).version == ilp
            status, body = await made.call("POST", "/simpleTransfers", transfer_call(quoted))
            assert status == 200
            assert body["transfer"]["body"]["transferState"] == "COMMITTED"
            assert fulfils(body["transfer"]["body"]["fulfilment"], quoted["condition"])
            (payer_view,) = await made.view(made.payer)
            assert payer_view == {
                "transferId": ID,
                "role": "payer",
                "state": "COMMITTED",
                "amount": "1",
                "currency": "XXX",
                "counterparty": "fsp202",
            }

    run(work())


def test_what_is_sent_is_signed_versioned_and_without_accept_on_put(
    security_folder: Path, tmp_path: Path
) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            await made.call("GET", "/parties/MSISDN/17039811930")
            await quoted_by(made)
            kinds = [(request.method, request.path) for request in made.hub.seen]
            assert kinds == [
                ("GET", "/parties/MSISDN/17039811930"),
                ("PUT", "/parties/MSISDN/17039811930"),
                ("POST", "/quotes"),
                ("PUT", f"/quotes/{QUOTE_ID}"),
            ]
            get, put, post, _ = made.hub.seen
            assert "fspiop-destination" not in get.headers
            assert "fspiop-signature" not in get.headers
            assert get.headers["content-type"].endswith("version=1.0")
            assert get.headers["accept"].endswith("version=1")
            assert "accept" not in put.headers
            assert put.headers["fspiop-destination"] == "fsp201"
            assert post.body == encode_sorted(json.loads(post.body))

    run(work())


def test_the_payee_waits_for_the_hubs_word(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            await made.call("POST", "/simpleTransfers", transfer_call(await quoted_by(made)))
            assert [row["state"] for row in await made.view(made.payee)] == ["FULFILLED"]
            body = {"transferState": "COMMITTED", "completedTimestamp": "2026-08-04T09:00:00.000Z"}
            assert (await made.as_hub("PATCH", f"/transfers/{ID}", body)).status == 200
            assert [row["state"] for row in await made.view(made.payee)] == ["COMMITTED"]
            # What is final stays, whatever comes later.
            error = {"errorInformation": {"errorCode": "3303", "errorDescription": "expired"}}
            assert (await made.as_hub("PUT", f"/transfers/{ID}/error", error)).status == 200
            assert [row["state"] for row in await made.view(made.payee)] == ["COMMITTED"]

    run(work())


def test_unknown_party_is_404(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            status, body = await made.call("GET", "/parties/MSISDN/999")
            assert status == 404
            assert body["errorInformation"]["errorCode"] == "3204"
            assert body["currentState"] == "COMPLETED"
            status, body = await made.call("GET", "/parties/MSISDN/17039811930/sub")
            assert (status, body["currentState"]) == (200, "COMPLETED")

    run(work())


def test_one_look_up_serves_all_who_wait(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            calls = [made.call("GET", "/parties/MSISDN/17039811930") for _ in range(5)]
            answers = await asyncio.gather(*calls)
            assert [status for status, _ in answers] == [200] * 5
            assert [request.method for request in made.hub.seen].count("GET") < 5

    run(work())


def test_error_callbacks_come_with_status_200(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            wrong = quote_call(amount={"amount": "1", "currency": "XDR"})
            status, body = await made.call("POST", "/quotes", wrong)
            assert status == 200
            assert body["currentState"] == "COMPLETED"
            assert body["quotes"]["errorInformation"]["errorCode"] == "3100"
            quoted = await quoted_by(made)
            other = transfer_call(quoted, condition="m" * 43)
            status, body = await made.call("POST", "/simpleTransfers", other)
            assert status == 200
            assert body["currentState"] == "COMPLETED"
            assert body["transfer"]["body"]["errorInformation"]["errorCode"] == "2001"
            assert [row["state"] for row in await made.view(made.payer)] == ["ABORTED"]
            assert await made.view(made.payee) == []

    run(work())


def test_a_transfer_without_a_quote_is_refused(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            quoted = await quoted_by(made)
            unknown = transfer_call(quoted, transferId="0181F0F245F972132C8BAADCEF")
            _, body = await made.call("POST", "/simpleTransfers", unknown)
            assert body["transfer"]["body"]["errorInformation"]["errorCode"] == "2001"

    run(work())


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ("/parties/MSISDN/17039811930", "requestPartiesInformationState"),
        ("/quotes", "requestQuotesInformationState"),
        ("/simpleTransfers", "requestSimpleTransfersInformationState"),
    ],
)
def test_no_callback_is_a_timeout(security_folder: Path, tmp_path: Path, path: str, state: str) -> None:
    bodies = {
        "/quotes": quote_call(),
        "/simpleTransfers": transfer_call(
            {"ilpPacket": "AAAA", "condition": "m" * 43, "expiration": "2026-08-04T09:00:00.000Z"}
        ),
    }

    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            made.hub.answer = lambda _request: Response(202)
            method = "GET" if path.startswith("/parties") else "POST"
            status, body = await made.call(method, path, bodies.get(path))
            assert (status, body) == (500, {"message": "Timeout", state: {}, "statusCode": "500"})

    run(work())


@pytest.mark.parametrize("answer", [Response(400, b"{}"), Response(500), Response(202, b"surplus")])
def test_a_refusal_is_500(security_folder: Path, tmp_path: Path, answer: Response) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            made.hub.answer = lambda _request: answer
            status, body = await made.call("POST", "/quotes", quote_call())
            assert status == 500
            assert f"status code {answer.status}" in body["message"]
            assert body["requestQuotesInformationState"] == {}

    run(work())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/nothing", None),
        ("GET", "/parties/MSISDN", None),
        ("GET", "/reference/other", None),
        ("POST", "/parties/MSISDN/1", None),
        ("POST", "/quotes", {"fspId": "fsp202"}),
        ("POST", "/quotes", {**quote_call(), "more": 1}),
        ("POST", "/quotes", quote_call(amountType="GIVE")),
        ("POST", "/simpleTransfers", {"fspId": "fsp202", "transfersPostRequest": {}}),
    ],
)
def test_bad_calls_are_400(
    security_folder: Path, tmp_path: Path, method: str, path: str, body: object
) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            status, answer = await made.call(method, path, body)
            assert (status, answer["statusCode"]) == (400, 400)
            assert answer["message"]
            assert made.hub.seen == []

    run(work())


def test_health_and_metrics(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            assert await made.call("GET", "/") == (200, None)
            await quoted_by(made)
            assert made.payer.endpoints.metrics_url is not None
            page = (await made.k6.request("GET", made.payer.endpoints.metrics_url)).body.decode()
            assert 'dfsp_calls_total{fsp="fsp201",call="quotes",outcome="ok"} 1' in page
            assert 'dfsp_callback_seconds_bucket{fsp="fsp201",call="quotes",le="+Inf"} 1' in page
            assert 'dfsp_messages_total{fsp="fsp201",direction="in",method="PUT",resource="quotes"} 1' in page

    run(work())
