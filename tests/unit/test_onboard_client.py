"""Onboarding against a hub's recorded answers: each call, each "already exists", each refusal."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from pytest_mojaloop_perf.errors import InfrastructureError, WaitTimeoutError
from pytest_mojaloop_perf.fspiop import participant
from pytest_mojaloop_perf.fspiop.http import Request, Response, Server
from pytest_mojaloop_perf.fspiop.jws import Verifier
from pytest_mojaloop_perf.fspiop.pki import create_security_folder
from pytest_mojaloop_perf.fspiop.tls import server_tls
from pytest_mojaloop_perf.model import (
    Dfsp,
    DfspEndpoints,
    Environment,
    HubUrls,
    LoadShape,
    Matrix,
    Pair,
    Plan,
    Profile,
    SecurityProfile,
)
from pytest_mojaloop_perf.onboard import calls, onboard, parties, roster
from pytest_mojaloop_perf.progress import Silent

DFSPS = (
    Dfsp(fsp_id="fsp201", roles=("payer",), msisdn_first="100", ndc="500", funds_in="1000.5"),
    Dfsp(fsp_id="fsp202", roles=("payee",), msisdn_first="200", msisdn_count=3, ndc="500", funds_in="1000.5"),
)


def error(status: int, code: str) -> tuple[int, Any]:
    return status, {"errorInformation": {"errorCode": code, "errorDescription": "as recorded"}}


@dataclass
class RecordedHub:
    """Answers as a Mojaloop hub does, first and repeated; what a test puts into `overrides` comes first."""

    overrides: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    made: dict[str, Any] = field(default_factory=dict)
    accounts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    endpoints: dict[str, dict[str, str]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    booked: set[str] = field(default_factory=set)
    batch: bool = True
    funds_reads: int = 2
    waiting: list[tuple[str, float]] = field(default_factory=list)
    verifier: Verifier | None = None

    async def handle(self, request: Request) -> Response:
        self.requests.append(request)
        for (method, pattern), (status, body) in self.overrides.items():
            if method == request.method and re.fullmatch(pattern, request.path):
                return Response(status, json.dumps(body).encode())
        body = json.loads(request.body) if request.body else None
        status, answer = self.answer(request, request.path.strip("/").split("/"), body)
        return Response(status, b"" if answer is None else json.dumps(answer).encode())

    def answer(  # noqa: PLR0911  # one return per recorded answer
        self, request: Request, path: list[str], body: Any
    ) -> tuple[int, Any]:
        match request.method, path:
            case "POST", ["participants", "Hub", "accounts"]:
                return self.once(f"hub {body['type']} {body['currency']}", error(400, "3003"))
            case "POST", ["settlementModels"]:
                return self.once(f"model {body['name']}", error(400, "3000"))
            case "POST", ["oracles"]:
                assert request.headers["content-type"].endswith("participants+json;version=1.0")
                return self.once("oracle", error(500, "2001"))
            case "POST", ["participants"] if "partyList" in body:
                return self.register(request, [(p["partyIdentifier"], p["fspId"]) for p in body["partyList"]])
            case "POST", ["participants"]:
                return self.participant(body["name"])
            case "POST", ["participants", "MSISDN", msisdn]:
                return self.register(request, [(msisdn, body["fspId"])], single=True)
            case _, ["participants", "MSISDN", msisdn]:
                owner = self.owners.get(msisdn)
                return 200, {"partyList": [{"fspId": owner, "currency": "XXX"}] if owner else []}
            case "GET", ["outbound", _, "parties", "MSISDN", msisdn]:
                party = {"partyIdInfo": {"partyIdentifier": msisdn, "fspId": self.owners.get(msisdn)}}
                return 200, {"party": {"body": party, "headers": {}}, "currentState": "COMPLETED"}
            case _, ["participants", name, *rest]:
                return self.own(request.method, name, rest, body)
        return error(404, "3002")

    def own(  # noqa: PLR0911  # one return per recorded answer
        self, method: str, name: str, rest: list[str], body: Any
    ) -> tuple[int, Any]:
        match method, rest:
            case "POST", ["initialPositionAndLimits"]:
                if name in self.limits:
                    return error(500, "2001")
                self.limits[name] = body["limit"]["value"]
                for account in self.accounts[name]:
                    account["isActive"] = 1
                return 201, None
            case "GET", ["limits"]:
                limit = {"type": "NET_DEBIT_CAP", "value": self.limits[name]}
                return 200, [{"currency": "XXX", "limit": limit}]
            case "PUT", ["limits"]:
                self.limits[name] = body["limit"]["value"]
                return 200, {}
            case "POST", ["endpoints"]:
                self.endpoints.setdefault(name, {})[body["type"]] = body["value"]
                return 201, None
            case "GET", ["endpoints"]:
                return 200, [{"type": t, "value": v} for t, v in self.endpoints.get(name, {}).items()]
            case "GET", ["accounts"]:
                self.book(name)
                return 200, self.accounts[name]
            case "POST", ["accounts", number]:
                return self.funds(name, int(number), body)
        return error(404, "3002")

    def once(self, key: str, again: tuple[int, Any]) -> tuple[int, Any]:
        if key in self.made:
            return again
        self.made[key] = True
        return 201, None

    def participant(self, name: str) -> tuple[int, Any]:
        if name in self.accounts:
            return error(400, "3000")
        first = 10 * (1 + len(self.accounts))
        self.accounts[name] = [
            {
                "id": first + offset,
                "ledgerAccountType": kind,
                "currency": "XXX",
                "isActive": 0,
                "value": 0,
                "reservedValue": 0,
                "changedDate": None,
            }
            for offset, kind in enumerate(("POSITION", "SETTLEMENT"))
        ]
        return 201, None

    def funds(self, name: str, number: int, body: Any) -> tuple[int, Any]:
        settlement = self.accounts[name][1]
        assert number == settlement["id"]
        assert body["action"] == "recordFundsIn"
        if body["transferId"] not in self.booked:
            self.booked.add(body["transferId"])
            self.waiting += [(name, 0.0)] * self.funds_reads + [(name, float(body["amount"]["amount"]))]
        return 202, None

    def book(self, name: str) -> None:
        """Book funds only some reads later, as a hub with queues does."""
        for index, (owner, amount) in enumerate(self.waiting):
            if owner == name:
                del self.waiting[index]
                self.accounts[name][1]["value"] -= amount
                self.accounts[name][1]["changedDate"] = f"change {len(self.requests)}" if amount else None
                return

    def register(
        self, request: Request, pairs: list[tuple[str, str]], *, single: bool = False
    ) -> tuple[int, Any]:
        if not single and not self.batch:
            return error(404, "3002")
        assert request.headers["content-type"].startswith(
            "application/vnd.interoperability.participants+json"
        )
        assert {owner for _, owner in pairs} == {request.headers["fspiop-source"]}
        if self.verifier is not None:
            self.verifier.verify(request.headers, request.body)
            assert request.peer == request.headers["fspiop-source"]
        self.owners |= dict(pairs)
        return 202, None

    def sent(self, method: str, pattern: str) -> list[Request]:
        return [r for r in self.requests if r.method == method and re.fullmatch(pattern, r.path)]

    def funds_in(self) -> dict[str, float]:
        return {name: -accounts[1]["value"] for name, accounts in self.accounts.items()}


async def stop_all(servers: list[Server]) -> None:
    """Stop servers whose clients may have vanished in mid-connect; sockets close in the turns around it."""
    await asyncio.sleep(0.02)
    for server in servers:
        await server.stop()
    await asyncio.sleep(0.01)


@contextmanager
def served(hub: RecordedHub, *, security: Path | None = None) -> Iterator[Environment]:
    """Serve the hub over loopback from a thread; with security material its FSPIOP side has mTLS and JWS."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[Server] = []

    def start(*, secure: bool) -> str:
        tls = server_tls(security, "Hub") if secure and security else None
        server = asyncio.run_coroutine_threadsafe(Server.start(hub.handle, tls=tls), loop).result(10)
        servers.append(server)
        return f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"

    try:
        admin, fspiop = start(secure=False), start(secure=True)
        hub_urls = HubUrls(
            admin_url=admin,
            als_admin_url=admin,
            oracle_url=admin,
            als_url=fspiop,
            quotes_url=fspiop,
            transfers_url=fspiop,
        )
        yield Environment(
            run_id="r",
            target="existing",
            switch="installed",
            switch_version="?",
            hub=hub_urls,
            dfsps=tuple(
                DfspEndpoints(
                    fsp_id=dfsp.fsp_id,
                    outbound_url=f"{admin}/outbound/{dfsp.fsp_id}",
                    callback_url=f"https://{dfsp.fsp_id}.example:4000",
                )
                for dfsp in DFSPS
            ),
            security_folder=security,
        )
    finally:
        asyncio.run_coroutine_threadsafe(stop_all(servers), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def plan_for(*dfsps: Dfsp, security: SecurityProfile | None = None) -> Plan:
    load = LoadShape(tps=1, duration_s=10, warmup_s=1, cooldown_s=1)
    profile = Profile(
        name="t", summary="t", load=load, objectives=(), security=security or SecurityProfile(jws="ES256")
    )
    return Plan(
        run_id="r",
        created="2026-01-01T00:00:00",
        target="existing",
        target_reason="t",
        switch="installed",
        kind="smoke",
        profile=profile,
        matrix=Matrix(name="t", pairs=(Pair(payer="fsp201", payee="fsp202", weight_percent=100),)),
        dfsps=dfsps or DFSPS,
        seed=1,
        run_folder=Path("unused"),
    )


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(participant, "FUNDS_TIMEOUT_S", 0.3)
    monkeypatch.setattr(parties, "READ_BACK_TIMEOUT_S", 0.3)
    monkeypatch.setattr(roster, "LOOK_UP_TIMEOUT_S", 0.3)


@pytest.fixture
def hub() -> RecordedHub:
    return RecordedHub()


def test_a_first_onboarding_makes_everything_and_reads_it_back(hub: RecordedHub) -> None:
    with served(hub) as environment:
        done = onboard(plan_for(), environment, progress=Silent())
    assert hub.funds_in() == {"fsp201": 1000.5, "fsp202": 1000.5}
    assert set(hub.owners) == {"100", "200", "201", "202"}
    assert [(one.fsp_id, one.settlement, one.ndc) for one in done.dfsps] == [
        ("fsp201", "-1000.5", "500"),
        ("fsp202", "-1000.5", "500"),
    ]
    assert [one.looked_up for one in done.dfsps] == [None, "200"]
    assert (done.calls, done.already) == (len(hub.requests), 0)
    endpoints = hub.endpoints["fsp202"]
    assert len(endpoints) == 20
    assert (
        endpoints["FSPIOP_CALLBACK_URL_TRANSFER_PUT"]
        == "https://fsp202.example:4000/transfers/{{transferId}}"
    )
    assert endpoints["FSPIOP_CALLBACK_URL_QUOTES"] == "https://fsp202.example:4000"
    assert (
        endpoints["FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_PUT_ERROR"]
        == "https://fsp202.example:4000/parties/{{partyIdType}}/{{partyIdentifier}}/{{partySubIdOrType}}/error"
    )


def test_the_hub_comes_before_the_participants(hub: RecordedHub) -> None:
    with served(hub) as environment:
        onboard(plan_for(), environment, progress=Silent())
    paths = [request.path for request in hub.requests]
    first = paths.index("/participants")
    assert {"/participants/Hub/accounts", "/settlementModels", "/oracles"} <= set(paths[:first])
    assert not {"/participants/Hub/accounts", "/settlementModels", "/oracles"} & set(paths[first:])


def test_a_repetition_accepts_what_exists_and_doubles_nothing(hub: RecordedHub) -> None:
    with served(hub) as environment:
        first = onboard(plan_for(), environment, progress=Silent())
        hub.requests.clear()
        again = onboard(plan_for(), environment, progress=Silent())
    assert again.dfsps == first.dfsps
    assert hub.funds_in() == {"fsp201": 1000.5, "fsp202": 1000.5}
    assert not hub.sent("POST", r"/participants/fsp20\d/(endpoints|accounts/.*)")
    assert not hub.sent("POST", "/participants/MSISDN/.*")
    # Hub accounts, models, oracle (5); and for both: participant, position, 20 endpoints, funds; MSISDNs.
    assert again.already == 5 + 2 * (1 + 1 + 20 + 1) + 4


def test_only_missing_funds_are_topped_up_and_the_limit_is_adjusted(hub: RecordedHub) -> None:
    more = tuple(msgspec.structs.replace(dfsp, funds_in="1500.5", ndc="700.5") for dfsp in DFSPS)
    with served(hub) as environment:
        onboard(plan_for(), environment, progress=Silent())
        hub.requests.clear()
        done = onboard(plan_for(*more), environment, progress=Silent())
    assert hub.funds_in() == {"fsp201": 1500.5, "fsp202": 1500.5}
    bodies = [json.loads(request.body) for request in hub.sent("POST", r"/participants/.*/accounts/\d+")]
    assert [body["amount"]["amount"] for body in bodies] == ["500", "500"]
    assert [one.ndc for one in done.dfsps] == ["700.5", "700.5"]


def test_funds_that_are_on_their_way_are_not_sent_twice(hub: RecordedHub) -> None:
    hub.funds_reads = 10_000
    with served(hub) as environment:
        for _ in range(2):
            with pytest.raises(
                WaitTimeoutError, match=r"funds in of fsp20\d did not arrive .* SETTLEMENT is"
            ):
                onboard(plan_for(), environment, progress=Silent())
    asked = {json.loads(r.body)["transferId"] for r in hub.sent("POST", r"/participants/fsp201/accounts/\d+")}
    assert len(asked) == 1


def test_a_hub_without_batches_gets_each_msisdn_by_itself(hub: RecordedHub) -> None:
    hub.batch = False
    with served(hub) as environment:
        onboard(plan_for(), environment, progress=Silent())
    assert len(hub.sent("POST", r"/participants/MSISDN/\d+")) == 4
    assert set(hub.owners) == {"100", "200", "201", "202"}


def test_only_msisdns_that_are_missing_are_registered(hub: RecordedHub) -> None:
    hub.owners |= {"200": "fsp202", "202": "fsp209"}
    with served(hub) as environment:
        onboard(plan_for(), environment, progress=Silent())
    sent = [json.loads(r.body) for r in hub.sent("POST", "/participants") if b"partyList" in r.body]
    assert sorted(p["partyIdentifier"] for body in sent for p in body["partyList"]) == ["100", "201", "202"]


def test_msisdns_are_registered_in_the_dfsps_own_name(hub: RecordedHub, tmp_path: Path) -> None:
    folder = tmp_path / "security"
    create_security_folder(folder, ["fsp201", "fsp202", "Hub"], "ES256")
    hub.verifier = Verifier.from_folder(folder / "jws-public")
    with served(hub, security=folder) as environment:
        done = onboard(plan_for(), environment, progress=Silent())
    assert len(done.dfsps) == 2
    peers = {request.peer for request in hub.requests if request.peer}
    assert peers == {"fsp201", "fsp202"}


REFUSED = [
    ("POST", "/participants/Hub/accounts", error(400, "3000"), "hub account HUB_MULTILATERAL_SETTLEMENT"),
    ("POST", "/participants/Hub/accounts", error(409, "3003"), "409 code 3003"),
    ("POST", "/settlementModels", error(400, "3003"), "settlement model DEFERREDNETXXX"),
    ("POST", "/oracles", error(500, "2003"), "MSISDN oracle XXX"),
    ("POST", "/participants", error(400, "3003"), "participant fsp20"),
    ("POST", ".*/initialPositionAndLimits", error(500, "2003"), "initial position and NDC of fsp20"),
    ("POST", ".*/initialPositionAndLimits", error(400, "2001"), "expected 201, 500 code 2001"),
    ("POST", ".*/endpoints", (200, {}), "endpoint .* was answered 200 .* expected 201"),
    ("POST", r".*/accounts/\d+", error(400, "3100"), "funds in of fsp20"),
    ("GET", ".*/accounts", (200, {"id": 1}), "another form than expected"),
    ("GET", ".*/limits", (200, [{"currency": "XXX"}]), "another form than expected"),
    ("GET", "/participants/MSISDN/.*", (200, {"other": 1}), "MSISDN oracle|another form"),
    ("GET", "/outbound/.*", error(404, "3204"), "look-up of 200 was answered 404 code 3204"),
]


@pytest.mark.parametrize(("method", "path", "answer", "message"), REFUSED)
def test_any_other_answer_is_an_error_with_a_remedy(
    hub: RecordedHub, method: str, path: str, answer: tuple[int, Any], message: str
) -> None:
    hub.overrides[method, path] = answer
    with served(hub) as environment, pytest.raises(InfrastructureError, match=message) as caught:
        onboard(plan_for(), environment, progress=Silent())
    assert caught.value.remedy


def account(kind: str, **changes: Any) -> dict[str, Any]:
    row = {"id": 1, "ledgerAccountType": kind, "currency": "XXX", "isActive": 1, "value": -9999}
    return {**row, **changes}


READ_BACK = [
    (
        ".*/fsp202/accounts",
        [account("POSITION", isActive=0), account("SETTLEMENT")],
        "POSITION account of fsp202 is inactive at the hub, expected active",
    ),
    (
        ".*/fsp202/accounts",
        [account("SETTLEMENT")],
        "POSITION account of fsp202 is none at the hub, expected one in XXX",
    ),
    (
        ".*/fsp202/limits",
        [{"currency": "XXX", "limit": {"type": "NET_DEBIT_CAP", "value": 7}}],
        "NDC of fsp202 is 7 at the hub, expected 500",
    ),
    (
        ".*/fsp202/endpoints",
        [{"type": "FSPIOP_CALLBACK_URL_QUOTES", "value": "http://else"}],
        "endpoint FSPIOP_CALLBACK_URL_PARTIES_GET of fsp202 is none at the hub, expected https://fsp202",
    ),
    (
        "/outbound/fsp201/parties/MSISDN/200",
        {"party": {"body": {"partyIdInfo": {"fspId": "fsp208"}}}},
        "look-up of 200 of fsp202 is fsp208 at the hub, expected fsp202",
    ),
]


@pytest.mark.parametrize(("path", "body", "message"), READ_BACK)
def test_what_is_read_back_wrong_is_named(hub: RecordedHub, path: str, body: Any, message: str) -> None:
    hub.overrides["GET", path] = (200, body)
    with served(hub) as environment, pytest.raises(InfrastructureError, match=re.escape(message)):
        onboard(plan_for(), environment, progress=Silent())


def test_an_oracle_that_takes_no_msisdn_is_named(hub: RecordedHub) -> None:
    hub.overrides["GET", "/participants/MSISDN/201"] = (200, {"partyList": []})
    with served(hub) as environment, pytest.raises(WaitTimeoutError, match=r"lacks 1 of 3 MSISDNs of fsp202"):
        onboard(plan_for(), environment, progress=Silent())


def test_an_oracle_out_of_reach_leaves_it_to_the_look_ups(hub: RecordedHub) -> None:
    with served(hub) as environment:
        out_of_reach = msgspec.structs.replace(environment.hub, oracle_url="http://127.0.0.1:1")
        done = onboard(plan_for(), msgspec.structs.replace(environment, hub=out_of_reach), progress=Silent())
    assert done.dfsps[1].looked_up == "200"
    assert set(hub.owners) == {"100", "200", "201", "202"}


def test_a_hub_that_does_not_answer_is_named() -> None:
    hub = RecordedHub()
    with served(hub) as environment:
        gone = environment
    with pytest.raises(InfrastructureError, match="got no answer from POST http://127"):
        onboard(plan_for(), gone, progress=Silent())


def test_a_dry_run_lists_every_writing_call_and_makes_none(hub: RecordedHub) -> None:
    with served(hub) as environment:
        steps = calls(plan_for(), environment)
        assert not hub.requests
        onboard(plan_for(), environment, progress=Silent())
    written = [r for r in hub.requests if r.method in {"POST", "PUT"}]
    told = sorted((s.method, urlsplit(s.url).path.replace("{settlementAccountId}", "N")) for s in steps)
    made = sorted((r.method, re.sub(r"accounts/\d+", "accounts/N", r.path)) for r in written)
    assert told == made
    assert "POST" in str(steps[0])
    assert "HUB_MULTILATERAL_SETTLEMENT" in str(steps[0])
