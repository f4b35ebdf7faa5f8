"""An in-test DFSP that answers the synchronous API rightly and wrongly, and plans for a real k6 to run."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.load import K6, find_k6, run_load
from pytest_mojaloop_perf.load.scenario import Settings
from pytest_mojaloop_perf.model import (
    COMMITTED,
    Dfsp,
    DfspEndpoints,
    Environment,
    HubUrls,
    LoadRun,
    LoadShape,
    Matrix,
    Pair,
    Plan,
    Profile,
)
from pytest_mojaloop_perf.progress import Silent

FULFILMENT = base64.urlsafe_b64encode(b"f" * 32).rstrip(b"=").decode()
CONDITION = base64.urlsafe_b64encode(hashlib.sha256(b"f" * 32).digest()).rstrip(b"=").decode()
HUNG_S = 4.0

Answer = tuple[int, Any]
"""A status and a JSON value; a status of 0 closes the connection, -1 answers too late."""


def error(code: str) -> dict[str, Any]:
    return {"errorInformation": {"errorCode": code, "errorDescription": "x"}}


def party(fsp_id: str) -> Answer:
    info = {"partyIdType": "MSISDN", "partyIdentifier": "1", "fspId": fsp_id}
    return 200, {"party": {"body": {"partyIdInfo": info}, "headers": {}}, "currentState": "COMPLETED"}


def quote(**body: Any) -> Answer:
    full = {"transferAmount": {"currency": "XXX", "amount": "1"}, "ilpPacket": "AAAA", "condition": CONDITION}
    kept = {name: value for name, value in {**full, **body}.items() if value is not None}
    return 200, {"quotes": {"body": kept, "headers": {}}, "currentState": "COMPLETED"}


def transfer(**body: Any) -> Answer:
    full = {"transferState": "COMMITTED", "fulfilment": FULFILMENT}
    kept = {name: value for name, value in {**full, **body}.items() if value is not None}
    return 200, {"transfer": {"body": kept, "headers": {}}, "currentState": "COMPLETED"}


TIMED_OUT = (500, {"message": "Timeout", "statusCode": "500"})
OUTCOMES: list[tuple[str, str, Answer]] = [
    (COMMITTED, "transfer", transfer()),
    ("discovery:3204", "discovery", (404, {**error("3204"), "currentState": "COMPLETED"})),
    ("discovery:timeout", "discovery", TIMED_OUT),
    ("discovery:timeout", "discovery", (-1, {})),
    ("discovery:http-404", "discovery", (404, {})),
    ("discovery:connection", "discovery", (0, {})),
    ("discovery:malformed", "discovery", (200, "not an object")),
    ("discovery:malformed", "discovery", party("another")),
    ("quote:5103", "quote", (200, {"quotes": error("5103"), "currentState": "COMPLETED"})),
    ("quote:http-500", "quote", (500, {"message": "Request failed with status code 400"})),
    ("quote:http-400", "quote", (400, {"message": "must have property payer", "statusCode": 400})),
    ("quote:malformed", "quote", quote(ilpPacket=None)),
    ("transfer:4001", "transfer", (200, {"transfer": {"body": error("4001")}, "currentState": "COMPLETED"})),
    ("transfer:not-committed", "transfer", transfer(transferState="RESERVED")),
    ("transfer:not-committed", "transfer", transfer(transferState=None)),
    ("transfer:no-fulfilment", "transfer", transfer(fulfilment=None)),
    ("transfer:fulfilment-mismatch", "transfer", transfer(fulfilment="A" * 43)),
    ("transfer:fulfilment-mismatch", "transfer", transfer(fulfilment="no base64url!")),
    ("transfer:timeout", "transfer", (504, {"message": "x", "statusCode": "504"})),
    ("transfer:timeout", "transfer", TIMED_OUT),
    ("transfer:connection", "transfer", (0, {})),
    ("transfer:malformed", "transfer", (200, {"transfer": {}, "currentState": "COMPLETED"})),
    ("transfer:http-503", "transfer", (503, None)),
]


class World:
    """The DFSP's outbound API and what it was asked. `wrong[msisdn]` is (leg, answer) for one look-up."""

    def __init__(self) -> None:
        self.wrong: dict[str, tuple[str, Answer]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.delay_s = 0.0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, path: str, body: Any) -> Answer:
        _, fsp, *rest = path.split("/")
        self.asked.append((fsp, "/".join(rest), body))
        if rest[0] == "parties":
            leg, right, msisdn = "discovery", party("fsp202"), rest[2]
        elif rest[0] == "quotes":
            leg, right = "quote", quote()
            msisdn = body["quotesPostRequest"]["payee"]["partyIdInfo"]["partyIdentifier"]
            self.wrong[body["quotesPostRequest"]["transactionId"]] = self.wrong.get(msisdn, ("", (200, {})))
        else:
            leg, right, msisdn = "transfer", transfer(), body["transfersPostRequest"]["transferId"]
        wrong = self.wrong.get(msisdn)
        return wrong[1] if wrong is not None and wrong[0] == leg else right

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
                pass

            def _answer(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = json.loads(self.rfile.read(length)) if length else None
                status, value = world.answer(self.path, body)
                time.sleep(HUNG_S if status == -1 else world.delay_s)
                if status <= 0:
                    self.close_connection = True
                    return
                text = b"" if value is None else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = _answer  # noqa: N815 (the base class's name)
            do_POST = _answer  # noqa: N815

        return Handler


def usable_k6() -> K6:
    """The k6 of this machine; without one the test is skipped."""
    found = find_k6(None)
    if found is None:
        pytest.skip("no k6 on PATH nor in the cache")
    return found


def make_plan(folder: Path, **load: Any) -> Plan:
    shape: dict[str, Any] = {
        "tps": 50.0,
        "duration_s": 1.2,
        "warmup_s": 0.1,
        "cooldown_s": 0.1,
        "drain_s": 5.0,
        "offered_percent": 100.0,
        "request_timeout_s": 10.0,
        **load,
    }
    return Plan(
        run_id="20260101-000000-abcd",
        created="2026-01-01T00:00:00Z",
        target="embedded",
        target_reason="test",
        switch="reference",
        kind="perf",
        profile=Profile(name="t", summary="", load=LoadShape(**shape), objectives=()),
        matrix=Matrix(name="one", pairs=(Pair(payer="fsp201", payee="fsp202", weight_percent=100),)),
        dfsps=(
            Dfsp(fsp_id="fsp201", roles=("payer",), msisdn_first="17039811918"),
            Dfsp(fsp_id="fsp202", roles=("payee",), msisdn_first="17039811929", msisdn_count=1000),
        ),
        seed=7,
        run_folder=folder,
    )


def make_environment(url: str) -> Environment:
    nowhere = "http://127.0.0.1:9"
    return Environment(
        run_id="r",
        target="embedded",
        switch="reference",
        switch_version="0",
        hub=HubUrls(
            admin_url=nowhere,
            als_admin_url=nowhere,
            oracle_url=nowhere,
            als_url=nowhere,
            quotes_url=nowhere,
            transfers_url=nowhere,
        ),
        dfsps=tuple(
            DfspEndpoints(fsp_id=fsp, outbound_url=f"{url}/{fsp}", callback_url=nowhere)
            for fsp in ("fsp201", "fsp202")
        ),
    )


def msisdn(settings: Settings, iteration: int) -> str:
    payee = settings.pairs[0].payee_msisdns
    return str(payee.first + (payee.offset + iteration * payee.stride) % payee.count)


def load(
    plan: Plan,
    world: World,
    k6: K6,
    *,
    alive: Callable[[], None] = lambda: None,
    on_started: Callable[[int], None] | None = None,
    script: Path | None = None,
) -> LoadRun:
    return run_load(
        plan,
        make_environment(world.url),
        RunFolder.create(plan.run_folder),
        k6,
        progress=Silent(),
        alive=alive,
        on_started=on_started,
        script=script,
    )
