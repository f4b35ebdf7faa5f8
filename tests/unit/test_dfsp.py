"""The reference DFSP over real mutual TLS, against a small double of the hub that forwards and answers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.headers import message_headers
from pytest_mojaloop_perf.fspiop.http import Client, ConnectError, Request, Response, Server
from pytest_mojaloop_perf.fspiop.ilp import decode_packet, fulfils
from pytest_mojaloop_perf.fspiop.jws import JwsError, Signer, Verifier
from pytest_mojaloop_perf.fspiop.pki import create_security_folder
from pytest_mojaloop_perf.fspiop.tls import client_tls, server_tls
from pytest_mojaloop_perf.model import Dfsp, Fault, HubUrls, SecurityProfile
from pytest_mojaloop_perf.reference.config import DfspsConfig
from pytest_mojaloop_perf.reference.dfsp import DfspServer

PAYER = Dfsp(fsp_id="fsp201", roles=("payer",), msisdn_first="17039811918")
PAYEE = Dfsp(fsp_id="fsp202", roles=("payee",), msisdn_first="17039811929", msisdn_count=10)
ID = "0181F0F245F972132C8BAADCEE"
QUOTE_ID = "01A1B3DAF6A9BE0F15B85CB6D6"
TIMEOUT_S = 0.4


@pytest.fixture(scope="module")
def security_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security") / "material"
    create_security_folder(folder, ["fsp201", "fsp202", "Hub"], "ES256")
    return folder


class HubDouble:
    """Passes everything on to the destination (parties without one: to the payee), as the hub would."""

    def __init__(self, folder: Path) -> None:
        self.seen: list[Request] = []
        self.answer: Callable[[Request], Response | None] = lambda _request: None
        self.callbacks: dict[str, str] = {}
        self.client = Client(client_tls(folder, "Hub"))
        self.verifier = Verifier.from_folder(folder / "jws-public")
        self.failures: list[str] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, request: Request) -> Response:
        async with self._changed:
            self.seen.append(request)
            self._changed.notify_all()
        if request.headers["fspiop-source"] != request.peer:
            self.failures.append(f"{request.path} from {request.peer}")
        if request.method != "GET":
            try:
                self.verifier.verify(request.headers, request.body)
            except JwsError as error:
                self.failures.append(f"{request.path}: {error}")
        answer = self.answer(request)
        if answer is not None:
            return answer
        task = asyncio.create_task(self._forward(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Response(202 if request.method in {"GET", "POST"} else 200)

    async def settled(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.seen) >= count)

    async def _forward(self, request: Request) -> None:
        destination = request.headers.get("fspiop-destination", "fsp202")
        url = self.callbacks[destination] + request.path
        await self.client.request(request.method, url, request.headers, request.body or None)

    async def finish(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()


class World:
    """Two DFSPs, the double, and a client that plays k6."""

    def __init__(self, hub: HubDouble, payer: DfspServer, payee: DfspServer, folder: Path) -> None:
        self.hub = hub
        self.payer = payer
        self.payee = payee
        self.folder = folder
        self.k6 = Client()

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        content = None if body is None else json.dumps(body).encode()
        url = self.payer.endpoints.outbound_url + path
        response = await self.k6.request(method, url, {"content-type": "application/json"}, content)
        return response.status, json.loads(response.body) if response.body else None

    async def view(self, dfsp: DfspServer) -> list[dict[str, str]]:
        assert dfsp.endpoints.ledger_url is not None
        response = await self.k6.request("GET", dfsp.endpoints.ledger_url)
        return [json.loads(line) for line in response.body.splitlines()]

    async def as_hub(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        name: str = "Hub",
        sign: bool = True,
        **changed: str,
    ) -> Response:
        """Send a message to the payee, by default well-formed and from the hub."""
        resource = path.split("/")[1]
        headers = message_headers(resource, source="Hub", destination="fsp202", accept=method != "PUT")
        content = encode_sorted(body) if body is not None else b""
        if sign and body is not None:
            signer = Signer.from_file(self.folder / "Hub" / "jws.key.pem")
            headers |= signer.headers(method, path, headers, content)
        headers |= {key.replace("_", "-"): value for key, value in changed.items()}
        client = Client(client_tls(self.folder, name))
        try:
            url = self.payee.endpoints.callback_url + path
            return await client.request(method, url, headers, content or None)
        finally:
            await client.close()


@asynccontextmanager
async def world(
    folder: Path, tmp_path: Path, *, ilp: Literal["1", "4"] = "1", faults: tuple[Fault, ...] = ()
) -> AsyncIterator[World]:
    hub = HubDouble(folder)
    server = await Server.start(hub.handle, tls=server_tls(folder, "Hub"))
    base = f"https://127.0.0.1:{server.port}"
    config = DfspsConfig(
        run_id="run",
        dfsps=(PAYER, PAYEE),
        hub=HubUrls(
            admin_url=base,
            als_admin_url=base,
            oracle_url=base,
            als_url=base,
            quotes_url=base,
            transfers_url=base,
        ),
        security_folder=folder,
        security=SecurityProfile(jws="ES256", ilp=ilp),
        ready_file=tmp_path / "ready.json",
        faults=faults,
        request_timeout_s=TIMEOUT_S,
    )
    payer = await DfspServer.start(PAYER, config)
    payee = await DfspServer.start(PAYEE, config)
    hub.callbacks = {"fsp201": payer.endpoints.callback_url, "fsp202": payee.endpoints.callback_url}
    made = World(hub, payer, payee, folder)
    try:
        yield made
        assert hub.failures == []
    finally:
        await made.k6.close()
        await payer.stop()
        await payee.stop()
        await server.stop()
        await hub.finish()


def quote_call(**changed: object) -> dict[str, Any]:
    request = {
        "quoteId": QUOTE_ID,
        "transactionId": ID,
        "payer": {
            "partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "17039811918", "fspId": "fsp201"}
        },
        "payee": {
            "partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "17039811930", "fspId": "fsp202"}
        },
        "amountType": "SEND",
        "amount": {"amount": "1", "currency": "XXX"},
        "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
    }
    return {"fspId": "fsp202", "quotesPostRequest": request | changed}


def transfer_call(quoted: dict[str, Any], **changed: object) -> dict[str, Any]:
    request = {
        "transferId": ID,
        "payerFsp": "fsp201",
        "payeeFsp": "fsp202",
        "amount": {"amount": "1", "currency": "XXX"},
        "ilpPacket": quoted["ilpPacket"],
        "condition": quoted["condition"],
        "expiration": quoted["expiration"],
    }
    return {"fspId": "fsp202", "transfersPostRequest": request | changed}


async def _quoted(made: World) -> dict[str, Any]:
    status, body = await made.call("POST", "/quotes", quote_call())
    assert status == 200, body
    quoted: dict[str, Any] = body["quotes"]["body"]
    return quoted


def run(work: Awaitable[None]) -> None:
    async def main() -> None:
        await work

    asyncio.run(main())


@pytest.mark.parametrize("ilp", ["1", "4"])
def test_a_whole_transaction(security_folder: Path, tmp_path: Path, ilp: Literal["1", "4"]) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path, ilp=ilp) as made:
            status, body = await made.call("GET", "/parties/MSISDN/17039811930")
            assert (status, body["currentState"]) == (200, "COMPLETED")
            assert body["party"]["body"]["partyIdInfo"]["fspId"] == "fsp202"
            assert body["party"]["headers"]["fspiop-source"] == "fsp202"
            quoted = await _quoted(made)
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
            await _quoted(made)
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
            await made.call("POST", "/simpleTransfers", transfer_call(await _quoted(made)))
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
            quoted = await _quoted(made)
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
            quoted = await _quoted(made)
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
            await _quoted(made)
            assert made.payer.endpoints.metrics_url is not None
            page = (await made.k6.request("GET", made.payer.endpoints.metrics_url)).body.decode()
            assert 'dfsp_calls_total{fsp="fsp201",call="quotes",outcome="ok"} 1' in page
            assert 'dfsp_callback_seconds_bucket{fsp="fsp201",call="quotes",le="+Inf"} 1' in page
            assert 'dfsp_messages_total{fsp="fsp201",direction="in",method="PUT",resource="quotes"} 1' in page

    run(work())


def test_requests_are_taken_with_empty_bodies(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            taken = await made.as_hub("GET", "/parties/MSISDN/17039811930", fspiop_source="fsp201")
            assert (taken.status, taken.body) == (202, b"")
            request = quote_call()["quotesPostRequest"]
            taken = await made.as_hub("POST", "/quotes", request)
            assert (taken.status, taken.body) == (202, b"")
            taken = await made.as_hub("GET", f"/transfers/{ID}", fspiop_source="fsp201")
            assert (taken.status, taken.body) == (202, b"")

    run(work())


def test_get_transfers_is_answered(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            quoted = await _quoted(made)
            await made.call("POST", "/simpleTransfers", transfer_call(quoted))
            confirm = {"transferState": "COMMITTED", "fulfilment": "m" * 43}
            await made.as_hub("PUT", f"/transfers/{ID}", confirm)
            made.hub.seen.clear()
            made.hub.answer = lambda _request: Response(200)
            for transfer_id in (ID, "0181F0F245F972132C8BAADCEF"):
                await made.as_hub("GET", f"/transfers/{transfer_id}")
            await made.hub.settled(2)
            answers = {request.path: json.loads(request.body) for request in made.hub.seen}
            known = answers[f"/transfers/{ID}"]
            assert known["transferState"] == "COMMITTED"
            assert fulfils(known["fulfilment"], quoted["condition"])
            unknown = answers["/transfers/0181F0F245F972132C8BAADCEF/error"]
            assert unknown["errorInformation"]["errorCode"] == "3208"

    run(work())


def _tampered(signature: str) -> str:
    envelope = json.loads(signature)
    raw = bytearray(base64.urlsafe_b64decode(envelope["signature"] + "=="))
    raw[-1] ^= 1
    envelope["signature"] = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return json.dumps(envelope)


def test_bad_signatures_are_refused(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            request = quote_call()["quotesPostRequest"]
            unsigned = await made.as_hub("POST", "/quotes", request, sign=False)
            stolen = await made.as_hub("POST", "/quotes", request, fspiop_source="fsp201")
            headers = message_headers("quotes", source="Hub", destination="fsp202", accept=True)
            signer = Signer.from_file(security_folder / "Hub" / "jws.key.pem")
            signed = signer.headers("POST", "/quotes", headers, encode_sorted(request))
            forged = await made.as_hub(
                "POST", "/quotes", request, fspiop_signature=_tampered(signed["fspiop-signature"])
            )
            for answer in (unsigned, stolen, forged):
                assert answer.status == 400
                assert json.loads(answer.body)["errorInformation"]["errorCode"] == "3105"
            party = {"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1"}}}
            taken = await made.as_hub("PUT", "/parties/MSISDN/1", party, sign=False)
            assert taken.status == 200
            assert made.hub.seen == []

    run(work())


def test_the_fault_turns_the_check_off(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        fault = Fault(name="no-jws-check")
        async with world(security_folder, tmp_path, faults=(fault,)) as made:
            request = quote_call()["quotesPostRequest"]
            taken = await made.as_hub("POST", "/quotes", request, sign=False, fspiop_source="fsp201")
            assert taken.status == 202

    run(work())


@pytest.mark.parametrize(
    ("method", "path", "body", "changed", "refusal"),
    [
        ("POST", "/quotes", {}, {}, (400, "3102")),
        ("POST", "/quotes", {**quote_call()["quotesPostRequest"], "more": "x"}, {}, (400, "3100")),
        ("POST", "/quotes", {}, {"accept": ""}, (400, "3102")),
        ("POST", "/quotes", {}, {"content_type": "application/json"}, (400, "3101")),
        ("POST", "/quotes/1", {}, {}, (404, "3002")),
        ("POST", "/parties/MSISDN/1", {}, {}, (405, "3000")),
        ("GET", "/health", None, {}, (404, "3002")),
        ("GET", "/transfers", None, {}, (404, "3002")),
        ("PUT", "/transfers/1/2", {"transferState": "COMMITTED"}, {}, (404, "3002")),
        ("PUT", f"/transfers/{ID}", {"transferState": "DONE"}, {}, (400, "3100")),
        ("PUT", f"/quotes/{ID}/error", {"errorInformation": {}}, {}, (400, "3102")),
    ],
)
def test_bad_messages_are_refused(  # noqa: PLR0917  # fixtures and one parameter set
    security_folder: Path,
    tmp_path: Path,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    changed: dict[str, str],
    refusal: tuple[int, str],
) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            signable = path != "/health"
            answer = await made.as_hub(method, path, body, sign=signable, **changed)
            code = json.loads(answer.body)["errorInformation"]["errorCode"]
            assert (answer.status, code) == refusal

    run(work())


def test_only_the_hub_may_call_the_inbound_port(security_folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with world(security_folder, tmp_path) as made:
            other = await made.as_hub("GET", "/parties/MSISDN/17039811930", name="fsp201")
            assert other.status == 403
            nobody = Client(client_tls(security_folder, None))
            with pytest.raises(ConnectError):
                await nobody.request("GET", made.payee.endpoints.callback_url + "/parties/MSISDN/1")
            await nobody.close()

    run(work())
