"""Payer and payee of the security probes: two participants with endpoints of their own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pytest_mojaloop_perf.fspiop.admin import Accepted, Admin, Step, error_code
from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.http import Client, HttpError, Request, Response, Server
from pytest_mojaloop_perf.fspiop.ilp import Ilp
from pytest_mojaloop_perf.fspiop.participant import ensure_participant, position
from pytest_mojaloop_perf.fspiop.sender import Sender
from pytest_mojaloop_perf.fspiop.tls import server_tls
from pytest_mojaloop_perf.model import PROBE_FSPS, Dfsp, Environment, Plan, Value

__all__ = ["PAYEE", "PAYER", "Callback", "Message", "Parties", "parties"]

PAYER, PAYEE = PROBE_FSPS
AMOUNT = "1"
_FUNDS = "1000000"
_EXPIRY_S = 30.0
CALLBACK_TIMEOUT_S = 8.0
_TIMEOUT_S = 10.0


class Callback(Value, frozen=True, kw_only=True):
    """A callback as one of the two received it; `code` is set in an error callback."""

    path: str
    source: str
    state: str | None
    code: str | None
    body: Any

    def __str__(self) -> str:
        what = f"error {self.code}" if self.code else f"state {self.state}"
        return f"callback {what} from {self.source}"


class Message(Value, frozen=True, kw_only=True):
    """A transfer that is ready to be sent; `fulfilment` is what its payee will answer with."""

    transfer_id: str
    body: dict[str, Any]
    fulfilment: str


class Parties:
    """The two participants while their endpoints listen."""

    def __init__(self, plan: Plan, environment: Environment, folder: Path, admin: Admin) -> None:
        self.plan = plan
        self.environment = environment
        self.folder = folder
        self.hub = environment.hub
        self.currency = plan.matrix.currency
        self.payer = Sender.of(PAYER, folder, plan.profile.security)
        self.payee = Sender.of(PAYEE, folder, plan.profile.security)
        self._admin = admin
        self._ilp = Ilp(uuid.uuid4().hex, plan.profile.security.ilp)
        self._fulfilments: dict[str, str] = {}
        self._callbacks: dict[tuple[str, str], asyncio.Future[Callback]] = {}
        self._answers: set[asyncio.Task[None]] = set()

    # --- messages ---

    def transfer(self, *, fulfilment: str | None = None) -> Message:
        """Return a new transfer from one to the other; the payee will answer with `fulfilment` if given."""
        transfer_id = str(uuid.uuid4())
        quote = quote_request(transfer_id, PAYEE, "1", self.amount())
        expiration = _instant(_EXPIRY_S)
        material = self._ilp.material(quote, {"transferAmount": self.amount(), "expiration": expiration})
        body = {
            "transferId": transfer_id,
            "payerFsp": PAYER,
            "payeeFsp": PAYEE,
            "amount": self.amount(),
            "ilpPacket": material.packet,
            "condition": material.condition,
            "expiration": expiration,
        }
        answer = fulfilment or material.fulfilment
        self._fulfilments[transfer_id] = answer
        return Message(transfer_id=transfer_id, body=body, fulfilment=answer)

    def amount(self) -> dict[str, str]:
        """Return the amount that every probe is about."""
        return {"amount": AMOUNT, "currency": self.currency}

    @property
    def transfers_url(self) -> str:
        """Where a transfer is sent to."""
        return f"{self.hub.transfers_url}/transfers"

    async def post(
        self,
        message: Message,
        *,
        client: Client | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Send a transfer as the payer; what is given replaces what an honest payer would send.

        Raises:
            HttpError: no answer.
        """
        self.expect(PAYER, message.transfer_id)
        text = encode_sorted(message.body) if body is None else body
        if headers is None:
            headers = self.payer.headers("POST", self.transfers_url, text, destination=PAYEE)
        return await (client or self.payer.client).request("POST", self.transfers_url, headers, text)

    # --- what comes back ---

    def expect(self, fsp_id: str, key: str) -> None:
        """Keep the next callback about an id, however soon it comes."""
        self._callbacks[fsp_id, key] = asyncio.get_running_loop().create_future()

    async def callback(self, fsp_id: str, key: str) -> Callback | None:
        """Return the callback about an id that was expected, or None when it does not come in time."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._callbacks[fsp_id, key]), CALLBACK_TIMEOUT_S)
        except TimeoutError:
            return None

    async def positions(self, *fsp_ids: str) -> tuple[Decimal, ...]:
        """Return positions as the hub's admin API tells them now."""
        url = self.hub.admin_url
        return tuple([await position(self._admin, url, name, self.currency) for name in fsp_ids])

    # --- the endpoints ---

    async def listen(self, stack: AsyncExitStack) -> None:
        """Start both endpoints and onboard both participants with them."""
        url = self.hub.admin_url
        for name, role in ((PAYER, "payer"), (PAYEE, "payee")):
            tls = server_tls(self.folder, name) if self.plan.profile.security.mtls else None
            # A hub may remember an endpoint for minutes: the same port again is what it remembers.
            port = await self._registered_port(name)
            try:
                server = await Server.start(self._handler(name), port=port, tls=tls)
            except OSError:
                server = await Server.start(self._handler(name), tls=tls)
            stack.push_async_callback(server.stop)
            dfsp = Dfsp(
                fsp_id=name,
                roles=("payer",) if role == "payer" else ("payee",),
                msisdn_first="1",
                currency=self.currency,
                ndc=_FUNDS,
                funds_in=_FUNDS,
            )
            scheme = "https" if tls else "http"
            await ensure_participant(self._admin, url, dfsp, f"{scheme}://127.0.0.1:{server.port}")

    async def close(self) -> None:
        """End what is still being answered, and close all connections."""
        for task in self._answers:
            task.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)
        await self.payer.close()
        await self.payee.close()

    async def _registered_port(self, name: str) -> int:
        step = Step(
            name=f"endpoints of {name}",
            method="GET",
            url=f"{self.hub.admin_url}/participants/{name}/endpoints",
            accepted=(Accepted(status=200),),
        )
        response = await self._admin.send(step)
        if response.status != 200:
            return 0
        for row in self._admin.judge(step, response).body:
            if row["type"] == "FSPIOP_CALLBACK_URL_QUOTES":
                return urlsplit(row["value"]).port or 0
        return 0

    def _handler(self, name: str) -> Any:
        async def handle(request: Request) -> Response:
            if request.method not in {"PUT", "PATCH"}:
                if request.method == "POST" and request.path == "/transfers":
                    self._answer(msgspec.json.decode(request.body)["transferId"])
                return Response(202)
            self._received(name, request)
            return Response(200)

        return handle

    def _received(self, name: str, request: Request) -> None:
        key = request.path.removesuffix("/error").rsplit("/", 1)[-1]
        waiting = self._callbacks.get((name, key))
        if waiting is None or waiting.done():
            return
        body = msgspec.json.decode(request.body) if request.body else {}
        waiting.set_result(
            Callback(
                path=request.path,
                source=request.headers.get("fspiop-source", ""),
                state=body.get("transferState"),
                code=error_code(request.body),
                body=body,
            )
        )

    def _answer(self, transfer_id: str) -> None:
        """Fulfil a transfer as its payee, with what was decided when it was made."""
        fulfilment = self._fulfilments.get(transfer_id)
        if fulfilment is not None:
            task = asyncio.create_task(self._fulfil(transfer_id, fulfilment))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def _fulfil(self, transfer_id: str, fulfilment: str) -> None:
        body = {"fulfilment": fulfilment, "transferState": "COMMITTED", "completedTimestamp": _instant(0)}
        try:
            await self.payee.send("PUT", f"{self.transfers_url}/{transfer_id}", body, destination=PAYER)
        except HttpError:
            # The payer's wait for a callback will say that nothing came.
            return


@asynccontextmanager
async def parties(plan: Plan, environment: Environment, folder: Path) -> AsyncIterator[Parties]:
    """Give the two participants, onboarded and listening; nothing listens afterwards.

    Raises:
        InfrastructureError: they cannot be onboarded.
    """
    async with AsyncExitStack() as stack:
        client = Client(timeout_s=_TIMEOUT_S)
        stack.push_async_callback(client.close)
        both = Parties(plan, environment, folder, Admin(client))
        stack.push_async_callback(both.close)
        await both.listen(stack)
        yield both


def quote_request(transfer_id: str, payee: str, msisdn: str, amount: dict[str, str]) -> dict[str, Any]:
    """Return the body of a quote request from the probes' payer."""
    return {
        "quoteId": str(uuid.uuid4()),
        "transactionId": transfer_id,
        "payer": _party(PAYER, "1"),
        "payee": _party(payee, msisdn),
        "amountType": "SEND",
        "amount": amount,
        "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
    }


def _party(fsp_id: str, msisdn: str) -> dict[str, Any]:
    return {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": msisdn, "fspId": fsp_id}}


def _instant(seconds_from_now: float) -> str:
    at = datetime.now(UTC) + timedelta(seconds=seconds_from_now)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
