"""The FSPIOP port of the reference DFSP: what it takes, answers and refuses."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.headers import message_headers
from pytest_mojaloop_perf.fspiop.http import Client, ConnectError, Response
from pytest_mojaloop_perf.fspiop.ilp import fulfils
from pytest_mojaloop_perf.fspiop.jws import Signer
from pytest_mojaloop_perf.fspiop.pki import create_security_folder
from pytest_mojaloop_perf.fspiop.tls import client_tls
from pytest_mojaloop_perf.model import Fault
from tests.unit.dfsp_world import ID, quote_call, quoted_by, run, transfer_call, world


@pytest.fixture(scope="module")
def security_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security") / "material"
    create_security_folder(folder, ["fsp201", "fsp202", "Hub"], "ES256")
    return folder


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
            quoted = await quoted_by(made)
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
