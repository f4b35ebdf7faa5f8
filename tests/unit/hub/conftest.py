"""A hub process as its DFSPs see it: doubles of DFSPs that say what a test wants and record all they hear."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sqlite3
import sys
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.faults import parse_fault
from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.headers import message_headers
from pytest_mojaloop_perf.fspiop.http import Client, Request, Response, Server
from pytest_mojaloop_perf.fspiop.jws import Signer, Verifier
from pytest_mojaloop_perf.fspiop.pki import create_security_folder
from pytest_mojaloop_perf.fspiop.tls import client_tls, server_tls
from pytest_mojaloop_perf.model import HubUrls, SecurityProfile
from pytest_mojaloop_perf.reference.ledger_money import format_instant, now_ms
from pytest_mojaloop_perf.reference.process import load_config
from pytest_mojaloop_perf.reference_config import HubConfig, Ready
from pytest_mojaloop_perf.wait import Pending, pause, wait_for

T = TypeVar("T")

DFSPS = ("alpha", "beta", "poor", "quiet")
"""poor has a net debit cap of 100 and funds of 60; quiet is onboarded, but nobody listens at its address."""

PREIMAGE = b"f" * 32
_REMEDY = "see the hub's log"


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Heard:
    """A message that a double received; `order` counts over all doubles."""

    order: int
    fsp: str
    request: Request

    @property
    def body(self) -> Any:
        return json.loads(self.request.body)

    @property
    def code(self) -> str:
        return str(self.body["errorInformation"]["errorCode"])


class Scheme:
    """One hub process and its DFSPs. Calls block; the doubles live on a loop in a thread of their own."""

    fulfilment = _b64url(PREIMAGE)
    condition = _b64url(hashlib.sha256(PREIMAGE).digest())

    def __init__(
        self, folder: Path, security: SecurityProfile, faults: tuple[str, ...], scan_s: float
    ) -> None:
        self.folder = folder
        self.security = security
        self.material = folder / "security"
        create_security_folder(self.material, (*DFSPS, "outsider", "Hub"), security.jws)
        self.config = HubConfig(
            run_id="conformance",
            ledger=folder / "ledger.sqlite",
            security_folder=self.material,
            security=security,
            ready_file=folder / "ready.json",
            faults=tuple(parse_fault(text) for text in faults),
            timeout_scan_s=scan_s,
        )
        self.heard: list[Heard] = []
        self.deaf: set[str] = set()
        self._ending = ExitStack()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="doubles")
        self._clients: dict[str | None, Client] = {}
        self._signers: dict[str, Signer] = {}
        self._process: command.Process | None = None
        self.urls: HubUrls

    # --- life ---

    def start(self) -> None:
        self._thread.start()
        self._ending.callback(self._end_loop)
        self.start_hub()
        self._plain = self.run(self._client(None, plain=True))
        for name in DFSPS:
            url = "http://127.0.0.1:9" if name == "quiet" else self._listen(name)
            self.onboard(
                name, url, ndc=100 if name == "poor" else 1_000_000, funds=60 if name == "poor" else 1_000_000
            )
        for number, owner in (("1001", "alpha"), ("2002", "beta"), ("4004", "quiet"), ("2003/shop", "beta")):
            assert self.admin("POST", f"/oracle/participants/MSISDN/{number}", {"fspId": owner}).status == 201

    def start_hub(self) -> None:
        """Start the hub, again if it has ended, on the same ledger."""
        if self._process is not None:
            self._process.stop()
        self.config.ready_file.unlink(missing_ok=True)
        path = self.folder / "hub.json"
        path.write_bytes(msgspec.json.encode(self.config, enc_hook=str))
        argv = [sys.executable, "-m", "pytest_mojaloop_perf.reference", "hub", str(path)]
        self._process = command.start(argv, name="hub", log=self.folder / "hub.log", remedy=_REMEDY)

        def ready() -> Ready | Pending:
            if self.config.ready_file.exists():
                return load_config(Ready, self.config.ready_file)
            assert self.process.poll() is None, self.process.tail()
            return Pending("no ready file")

        found = wait_for("the hub", ready, timeout_s=20, remedy=_REMEDY)
        assert found.hub is not None
        self.urls = found.hub

    def stop(self) -> None:
        self.process.stop()
        self._ending.close()

    @property
    def process(self) -> command.Process:
        assert self._process is not None
        return self._process

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _end_loop(self) -> None:
        async def close() -> None:
            for client in (*self._clients.values(), self._plain):
                await client.close()
            # Transports that were aborted close in a later turn of the loop.
            await asyncio.sleep(0.05)

        self.run(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _listen(self, name: str) -> str:
        async def answer(request: Request) -> Response:
            self.heard.append(Heard(len(self.heard), name, request))
            if name in self.deaf:
                return Response(503)
            return Response(202 if request.method in {"GET", "POST"} else 200)

        tls = server_tls(self.material, name) if self.security.mtls else None
        server = self.run(Server.start(answer, tls=tls))
        self._ending.callback(lambda: self.run(server.stop()))
        return f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"

    # --- admin side ---

    def admin(self, method: str, path: str, body: Any = None) -> Response:
        text = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return self.run(self._plain.request(method, self.urls.admin_url + path, headers, text))

    def admin_json(self, path: str) -> Any:
        answer = self.admin("GET", path)
        assert answer.status == 200
        return json.loads(answer.body)

    def onboard(self, name: str, url: str, *, ndc: int, funds: int) -> None:
        for kind in ("HUB_MULTILATERAL_SETTLEMENT", "HUB_RECONCILIATION"):
            self.admin("POST", "/participants/Hub/accounts", {"type": kind, "currency": "XXX"})
        self.admin("POST", "/settlementModels", self.settlement_model("DEFERREDNETXXX"))
        endpoint = {"value": self.urls.oracle_url, "endpointType": "URL"}
        self.admin("POST", "/oracles", {"oracleIdType": "MSISDN", "endpoint": endpoint, "currency": "XXX"})
        assert self.admin("POST", "/participants", {"name": name, "currency": "XXX"}).status == 201
        limit = {"type": "NET_DEBIT_CAP", "value": ndc}
        initial = {"currency": "XXX", "limit": limit, "initialPosition": 0}
        own = f"/participants/{name}"
        assert self.admin("POST", f"{own}/initialPositionAndLimits", initial).status == 201
        account = self.account(name, "SETTLEMENT")["id"]
        assert self.admin("POST", f"{own}/accounts/{account}", self.funds_in(funds)).status == 202
        for kind, value in self.endpoints(url):
            assert self.admin("POST", f"{own}/endpoints", {"type": kind, "value": value}).status == 201
        self.until(f"funds of {name}", lambda: self.account(name, "SETTLEMENT")["value"] == -funds)

    def funds_in(self, amount: int) -> dict[str, Any]:
        return {
            "transferId": str(uuid.uuid4()),
            "externalReference": "x",
            "action": "recordFundsIn",
            "reason": "x",
            "amount": {"amount": str(amount), "currency": "XXX"},
        }

    def settlement_model(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "settlementGranularity": "NET",
            "settlementInterchange": "MULTILATERAL",
            "settlementDelay": "DEFERRED",
            "requireLiquidityCheck": True,
            "ledgerAccountType": "POSITION",
            "settlementAccountType": "SETTLEMENT",
            "autoPositionReset": True,
            "currency": "XXX",
        }

    def endpoints(self, url: str) -> list[tuple[str, str]]:
        party = "{{partyIdType}}/{{partyIdentifier}}"
        sub_id = party + "/{{partySubIdOrType}}"
        rows = [
            ("QUOTES", ""),
            ("TRANSFER_POST", "/transfers"),
            ("TRANSFER_PUT", "/transfers/{{transferId}}"),
            ("TRANSFER_ERROR", "/transfers/{{transferId}}/error"),
            ("PARTICIPANT_BATCH_PUT", "/participants/{{requestId}}"),
        ]
        for middle, path in (("", party), ("SUB_ID_", sub_id)):
            rows += [
                (f"PARTIES_{middle}GET", f"/parties/{path}"),
                (f"PARTIES_{middle}PUT", f"/parties/{path}"),
                (f"PARTIES_{middle}PUT_ERROR", f"/parties/{path}/error"),
                (f"PARTICIPANT_{middle}PUT", f"/participants/{path}"),
                (f"PARTICIPANT_{middle}PUT_ERROR", f"/participants/{path}/error"),
            ]
        return [(f"FSPIOP_CALLBACK_URL_{kind}", url + path) for kind, path in rows]

    def account(self, name: str, kind: str) -> dict[str, Any]:
        accounts = self.admin_json(f"/participants/{name}/accounts")
        return next(account for account in accounts if account["ledgerAccountType"] == kind)

    def position(self, name: str) -> float:
        return float(self.admin_json(f"/participants/{name}/positions?currency=XXX")["value"])

    def metric(self, name: str) -> float:
        page = self.admin("GET", "/metrics").body.decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in page if line.startswith(name)), 0.0)

    def ledger_rows(self, query: str, *parameters: Any) -> list[Any]:
        reader = sqlite3.connect(f"file:{self.config.ledger}?mode=ro", uri=True)
        try:
            return reader.execute(query, parameters).fetchall()
        finally:
            reader.close()

    def states(self, transfer_id: str) -> list[str]:
        changes = "FROM transferStateChange WHERE transferId=? ORDER BY transferStateChangeId"
        return [state for (state,) in self.ledger_rows(f"SELECT transferStateId {changes}", transfer_id)]

    # --- FSPIOP side ---

    async def _client(self, name: str | None, *, plain: bool = False) -> Client:
        tls = None if plain or not self.security.mtls else client_tls(self.material, name)
        return Client(tls, timeout_s=10, connections=32)

    def client(self, name: str | None) -> Client:
        if name not in self._clients:
            self._clients[name] = self.run(self._client(name))
        return self._clients[name]

    def signer(self, name: str) -> Signer:
        if name not in self._signers:
            self._signers[name] = Signer.from_file(self.material / name / "jws.key.pem")
        return self._signers[name]

    def headers(
        self, method: str, path: str, body: bytes | None, *, source: str, to: str | None, version: str = "1.0"
    ) -> dict[str, str]:
        resource = path.split("/")[1]
        headers = message_headers(
            resource, source=source, destination=to, accept=method in {"GET", "POST"}, version=version
        )
        if body is not None and self.security.jws != "off":
            headers |= self.signer(source).headers(method, path, headers, body)
        return headers

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        source: str,
        to: str | None = None,
        version: str = "1.0",
        change: Mapping[str, str | None] | None = None,
        shown: str | None = "",
        sent: bytes | None = None,
    ) -> Response:
        """Send a signed message; `change` alters headers, `sent` the body, after signing; `shown` is whose
        certificate is shown (None: none)."""
        text = None if body is None else body if isinstance(body, bytes) else encode_sorted(body)
        headers = self.headers(method, path, text, source=source, to=to, version=version)
        for name, value in (change or {}).items():
            if value is None:
                headers.pop(name, None)
            else:
                headers[name] = value
        client = self.client(source if shown == "" else shown)
        url = self.urls.transfers_url + path
        return self.run(client.request(method, url, headers, text if sent is None else sent))

    def prepare_body(self, transfer_id: str, **change: Any) -> dict[str, Any]:
        body = {
            "transferId": transfer_id,
            "payerFsp": "alpha",
            "payeeFsp": "beta",
            "amount": {"amount": "10", "currency": "XXX"},
            "ilpPacket": "AAAA",
            "condition": self.condition,
            "expiration": format_instant(now_ms() + 60_000),
        }
        return body | change

    def prepare(self, transfer_id: str, *, source: str = "alpha", **change: Any) -> Response:
        body = self.prepare_body(transfer_id, **change)
        return self.send("POST", "/transfers", body, source=source, to=body["payeeFsp"])

    def reserve(self, **change: Any) -> str:
        """Prepare a transfer and return its id once the payee has been asked."""
        transfer_id = self.new_id()
        assert self.prepare(transfer_id, **change).status == 202
        self.hears(change.get("payeeFsp", "beta"), "POST", "/transfers", containing=transfer_id)
        return transfer_id

    def fulfil(
        self,
        transfer_id: str,
        state: str = "COMMITTED",
        *,
        source: str = "beta",
        version: str = "1.1",
        **change: Any,
    ) -> Response:
        body = {
            "completedTimestamp": format_instant(now_ms()),
            "fulfilment": self.fulfilment,
            "transferState": state,
        }
        return self.send(
            "PUT", f"/transfers/{transfer_id}", body | change, source=source, to="alpha", version=version
        )

    # --- what the doubles heard ---

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def all_heard(self, fsp: str, method: str, path: str, *, containing: str = "") -> list[Heard]:
        return [
            heard
            for heard in list(self.heard)
            if heard.fsp == fsp
            and heard.request.method == method
            and heard.request.path == path
            and containing.encode() in heard.request.body
        ]

    def hears(self, fsp: str, method: str, path: str, *, containing: str = "", number: int = 1) -> Heard:
        """Return the `number`-th such message as soon as it has come."""

        def probe() -> Heard | Pending:
            found = self.all_heard(fsp, method, path, containing=containing)
            return found[number - 1] if len(found) >= number else Pending(f"{len(found)} came")

        return wait_for(f"{method} {path} at {fsp}", probe, timeout_s=10, interval_s=0.01, remedy=_REMEDY)

    def settle(self) -> None:
        """Let everything that the hub has begun reach the doubles."""
        marker = self.new_id()
        assert self.send("GET", f"/transfers/{marker}", source="alpha").status == 202
        self.hears("alpha", "PUT", f"/transfers/{marker}/error")
        pause(0.05)

    def until(self, what: str, true: Callable[[], bool]) -> None:
        wait_for(
            what,
            lambda: True if true() else Pending("not yet"),
            timeout_s=10,
            interval_s=0.01,
            remedy=_REMEDY,
        )

    def verify(self, heard: Heard, *, by: str) -> None:
        """Check that a message holds against one sender's key alone."""
        key_folder = self.material / "jws-public"
        assert heard.request.headers["fspiop-source"] == by
        Verifier.from_folder(key_folder, names=[by]).verify(heard.request.headers, heard.request.body)


SchemeMaker = Callable[..., Scheme]


@pytest.fixture(scope="module")
def make_scheme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SchemeMaker]:
    """Return a function that starts a hub with its DFSPs; all are stopped at the end of the module."""
    with ExitStack() as ending:

        def make(*, faults: tuple[str, ...] = (), scan_s: float = 0.05, **security: Any) -> Scheme:
            profile = SecurityProfile(**{"jws": "ES256", **security})
            scheme = Scheme(tmp_path_factory.mktemp("hub"), profile, faults, scan_s)
            ending.callback(scheme.stop)
            scheme.start()
            return scheme

        yield make


@pytest.fixture(scope="module")
def scheme(make_scheme: SchemeMaker) -> Scheme:
    """Return the one hub that the tests of a module share."""
    return make_scheme()
