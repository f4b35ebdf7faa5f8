"""Whole transactions through two DFSPs and the hub, as real processes over the network."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.errors import CommandError
from pytest_mojaloop_perf.fspiop.http import Client, Response
from pytest_mojaloop_perf.fspiop.ilp import decode_packet, fulfils
from pytest_mojaloop_perf.fspiop.pki import create_security_folder
from pytest_mojaloop_perf.model import (
    Dfsp,
    DfspEndpoints,
    Environment,
    LoadShape,
    Matrix,
    Pair,
    Plan,
    Profile,
    SecurityProfile,
)
from pytest_mojaloop_perf.onboard.client import onboard
from pytest_mojaloop_perf.progress import Silent
from pytest_mojaloop_perf.reference_config import DfspsConfig, HubConfig, Ready
from pytest_mojaloop_perf.wait import Pending, wait_for

PAYER = Dfsp(fsp_id="fsp201", roles=("payer",), msisdn_first="17039811918")
PAYEE = Dfsp(fsp_id="fsp202", roles=("payee",), msisdn_first="17039811929", msisdn_count=3)
REMEDY = "read the log"


def _fetch(method: str, url: str, body: bytes | None = None) -> Response:
    async def main() -> Response:
        client = Client(timeout_s=20)
        try:
            return await client.request(method, url, {"content-type": "application/json"}, body)
        finally:
            await client.close()

    return asyncio.run(main())


class Chain:
    """A running hub with two onboarded DFSPs."""

    def __init__(self, environment: Environment, processes: list[command.Process]) -> None:
        self.environment = environment
        self.processes = processes

    def endpoints(self, fsp_id: str) -> DfspEndpoints:
        return self.environment.dfsp(fsp_id)

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        content = None if body is None else json.dumps(body).encode()
        response = _fetch(method, self.endpoints("fsp201").outbound_url + path, content)
        return response.status, json.loads(response.body)

    def view(self, fsp_id: str) -> dict[str, dict[str, str]]:
        url = self.endpoints(fsp_id).ledger_url
        assert url is not None
        rows = [json.loads(line) for line in _fetch("GET", url).body.splitlines()]
        return {row["transferId"]: row for row in rows}

    def until_state(self, fsp_id: str, transfer_id: str, state: str) -> None:
        def look() -> bool | Pending:
            row = self.view(fsp_id).get(transfer_id)
            return True if row and row["state"] == state else Pending(str(row))

        wait_for(f"{state} at {fsp_id}", look, timeout_s=10, remedy=REMEDY)

    def positions(self) -> dict[str, int]:
        query = (
            "SELECT p.name, q.value FROM participantPosition q JOIN participantCurrency USING "
            "(participantCurrencyId) JOIN participant p USING (participantId) "
            "WHERE ledgerAccountType = 'POSITION'"
        )
        uri = f"file:{self.environment.ledger}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            return dict(connection.execute(query).fetchall())


def _start(stack: ExitStack, role: str, config: HubConfig | DfspsConfig, folder: Path) -> tuple[Any, Ready]:
    path = folder / f"{role}.json"
    path.write_bytes(msgspec.json.encode(config, enc_hook=str))
    process = stack.enter_context(
        command.start(
            [sys.executable, "-m", "pytest_mojaloop_perf.reference", role, path],
            name=role,
            log=folder / f"{role}.log",
            remedy=REMEDY,
        )
    )

    def look() -> Ready | Pending:
        assert process.poll() is None, process.tail()
        if not config.ready_file.exists():
            return Pending("not listening yet")
        return msgspec.json.decode(config.ready_file.read_bytes(), type=Ready)

    return process, wait_for(f"{role} listens", look, timeout_s=30, remedy=REMEDY)


def _plan(environment: Environment, security: SecurityProfile, folder: Path) -> Plan:
    load = LoadShape(tps=1, duration_s=3, warmup_s=1, cooldown_s=1)
    return Plan(
        run_id=environment.run_id,
        created="2026-08-04T09:00:00Z",
        target="embedded",
        target_reason="test",
        switch="reference",
        kind="smoke",
        profile=Profile(name="t", summary="t", load=load, objectives=(), security=security),
        matrix=Matrix(name="t", pairs=(Pair(payer="fsp201", payee="fsp202", weight_percent=100),)),
        dfsps=(PAYER, PAYEE),
        seed=1,
        run_folder=folder,
    )


@contextmanager
def running(folder: Path, security: SecurityProfile) -> Iterator[Chain]:
    material = folder / "security"
    names = ["fsp201", "fsp202", "Hub"]
    create_security_folder(material, names, security.jws)
    with ExitStack() as stack:
        hub_config = HubConfig(
            run_id="run",
            ledger=folder / "ledger.sqlite",
            security_folder=material,
            security=security,
            ready_file=folder / "hub.ready.json",
        )
        hub_process, hub = _start(stack, "hub", hub_config, folder)
        assert hub.hub is not None
        dfsps_config = DfspsConfig(
            run_id="run",
            dfsps=(PAYER, PAYEE),
            hub=hub.hub,
            security_folder=material,
            security=security,
            ready_file=folder / "dfsps.ready.json",
        )
        dfsps_process, dfsps = _start(stack, "dfsps", dfsps_config, folder)
        environment = Environment(
            run_id="run",
            target="embedded",
            switch="reference",
            switch_version=hub.version,
            hub=hub.hub,
            dfsps=dfsps.dfsps,
            security_folder=material,
            ledger=hub_config.ledger,
        )
        onboard(_plan(environment, security, folder), environment, progress=Silent())
        yield Chain(environment, [hub_process, dfsps_process])


def _quote(number: int) -> tuple[str, dict[str, Any]]:
    transaction_id = f"01D8FFCD2E22147CFF2054{number:04d}"
    return transaction_id, {
        "fspId": "fsp202",
        "quotesPostRequest": {
            "quoteId": f"01A1B3DAF6A9BE0F15B85C{number:04d}",
            "transactionId": transaction_id,
            "payer": {
                "partyIdInfo": {
                    "partyIdType": "MSISDN",
                    "partyIdentifier": "17039811918",
                    "fspId": "fsp201",
                }
            },
            "payee": {
                "partyIdInfo": {
                    "partyIdType": "MSISDN",
                    "partyIdentifier": "17039811930",
                    "fspId": "fsp202",
                }
            },
            "amountType": "SEND",
            "amount": {"amount": "1", "currency": "XXX"},
            "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
        },
    }


def _transfer(transaction_id: str, quoted: dict[str, Any], **changed: object) -> dict[str, Any]:
    request = {
        "transferId": transaction_id,
        "payerFsp": "fsp201",
        "payeeFsp": "fsp202",
        "amount": {"amount": "1", "currency": "XXX"},
        "ilpPacket": quoted["ilpPacket"],
        "condition": quoted["condition"],
        "expiration": quoted["expiration"],
    }
    return {"fspId": "fsp202", "transfersPostRequest": request | changed}


def _quoted(chain: Chain, number: int) -> tuple[str, dict[str, Any]]:
    transaction_id, call = _quote(number)
    status, body = chain.call("POST", "/quotes", call)
    assert status == 200, body
    return transaction_id, body["quotes"]["body"]


@pytest.mark.parametrize(
    "security",
    [
        SecurityProfile(jws="RS256", ilp="1"),
        SecurityProfile(jws="ES256", ilp="4"),
        SecurityProfile(mtls=False, jws="off", ilp="1"),
    ],
    ids=["RS256-ilp1", "ES256-ilp4", "plain"],
)
def test_money_moves_once_and_everybody_agrees(tmp_path: Path, security: SecurityProfile) -> None:
    with running(tmp_path, security) as chain:
        before = chain.positions()
        status, body = chain.call("GET", "/parties/MSISDN/17039811930")
        assert (status, body["party"]["body"]["partyIdInfo"]["fspId"]) == (200, "fsp202")
        for number in range(3):
            transaction_id, quoted = _quoted(chain, number)
            assert decode_packet(quoted["ilpPacket"]).version == security.ilp
            status, body = chain.call("POST", "/simpleTransfers", _transfer(transaction_id, quoted))
            assert status == 200
            assert body["transfer"]["body"]["transferState"] == "COMMITTED"
            assert fulfils(body["transfer"]["body"]["fulfilment"], quoted["condition"])
            chain.until_state("fsp202", transaction_id, "COMMITTED")
            assert chain.view("fsp201")[transaction_id]["state"] == "COMMITTED"
        after = chain.positions()
        assert after["fsp201"] - before["fsp201"] == 30_000
        assert after["fsp202"] - before["fsp202"] == -30_000


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    with running(folder, SecurityProfile(jws="ES256")) as made:
        yield made


def test_a_refused_transfer_moves_nothing(chain: Chain) -> None:
    before = chain.positions()
    transaction_id, quoted = _quoted(chain, 10)
    wrong = _transfer(transaction_id, quoted, condition="m" * 43)
    status, body = chain.call("POST", "/simpleTransfers", wrong)
    assert (status, body["currentState"]) == (200, "COMPLETED")
    assert body["transfer"]["body"]["errorInformation"]["errorCode"] == "2001"
    assert chain.view("fsp201")[transaction_id]["state"] == "ABORTED"
    assert transaction_id not in chain.view("fsp202")
    assert chain.positions() == before


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"amount": {"amount": "999999999999", "currency": "XXX"}}, "4001"),
        ({"expiration": "2020-01-01T00:00:00.000Z"}, "3100"),
        ({"payerFsp": "fsp202", "payeeFsp": "fsp201"}, "3100"),
    ],
)
def test_the_hub_refuses_by_callback(chain: Chain, changed: dict[str, Any], code: str) -> None:
    before = chain.positions()
    transaction_id, quoted = _quoted(chain, 20 + int(code) % 1000 + len(changed))
    _, body = chain.call("POST", "/simpleTransfers", _transfer(transaction_id, quoted, **changed))
    assert body["transfer"]["body"]["errorInformation"]["errorCode"] == code
    assert chain.positions() == before


def test_an_unknown_party_is_404(chain: Chain) -> None:
    status, body = chain.call("GET", "/parties/MSISDN/999")
    assert (status, body["errorInformation"]["errorCode"]) == (404, "3204")


def test_three_steps_commit_too(chain: Chain) -> None:
    before = chain.positions()
    wanted = {
        "homeTransactionId": "home-1",
        "from": {"idType": "MSISDN", "idValue": "17039811918"},
        "to": {"idType": "MSISDN", "idValue": "17039811931"},
        "amountType": "SEND",
        "currency": "XXX",
        "amount": "2.5",
        "transactionType": "TRANSFER",
    }
    status, state = chain.call("POST", "/transfers", wanted)
    assert status == 200, state
    path = f"/transfers/{state['transferId']}"
    assert chain.call("PUT", path, {"acceptParty": True})[0] == 200
    status, state = chain.call("PUT", path, {"acceptQuote": True})
    assert (status, state["currentState"]) == (200, "COMPLETED")
    chain.until_state("fsp202", state["transferId"], "COMMITTED")
    status, looked_up = chain.call("GET", path)
    assert (status, looked_up["fulfil"]["body"]["transferState"]) == (200, "COMMITTED")
    assert chain.positions()["fsp201"] - before["fsp201"] == 25_000


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_ends_with_its_parent(tmp_path: Path, index: Literal[0, 1]) -> None:
    with running(tmp_path, SecurityProfile(mtls=False, jws="off")) as chain:
        process = chain.processes[index]
        assert process._popen.stdin is not None
        process._popen.stdin.close()
        assert process.wait(10) == 0, process.tail()
        assert "Traceback" not in process.tail(200)


def test_sigterm_ends_a_process_in_order(tmp_path: Path) -> None:
    with running(tmp_path, SecurityProfile(jws="ES256")) as chain:
        for process in reversed(chain.processes):
            assert process.stop() == 0, process.tail()
            assert process.tail() == ""


def test_a_wrong_call_says_how(tmp_path: Path) -> None:
    for arguments, status in ((["nobody"], 2), (["dfsps", str(tmp_path / "none.json")], 1)):
        with pytest.raises(CommandError, match=f"{status}"):
            command.run(
                [sys.executable, "-m", "pytest_mojaloop_perf.reference", *arguments],
                timeout_s=20,
                remedy=REMEDY,
            )
