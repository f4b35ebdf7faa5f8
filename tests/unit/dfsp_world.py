"""Two reference DFSPs over real mutual TLS, and a small double of the hub that forwards and answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.headers import message_headers
from pytest_mojaloop_perf.fspiop.http import Client, Request, Response, Server
from pytest_mojaloop_perf.fspiop.jws import JwsError, Signer, Verifier
from pytest_mojaloop_perf.fspiop.tls import client_tls, server_tls
from pytest_mojaloop_perf.model import Dfsp, Fault, HubUrls, SecurityProfile
from pytest_mojaloop_perf.reference.dfsp import DfspServer
from pytest_mojaloop_perf.reference_config import DfspsConfig

PAYER = Dfsp(fsp_id="fsp201", roles=("payer",), msisdn_first="17039811918")
PAYEE = Dfsp(fsp_id="fsp202", roles=("payee",), msisdn_first="17039811929", msisdn_count=10)
ID = "0181F0F245F972132C8BAADCEE"
QUOTE_ID = "01A1B3DAF6A9BE0F15B85CB6D6"
TIMEOUT_S = 0.4


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


async def quoted_by(made: World) -> dict[str, Any]:
    status, body = await made.call("POST", "/quotes", quote_call())
    assert status == 200, body
    quoted: dict[str, Any] = body["quotes"]["body"]
    return quoted


def run(work: Awaitable[None]) -> None:
    async def main() -> None:
        await work

    asyncio.run(main())
