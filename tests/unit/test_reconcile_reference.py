"""Reconciliation of payments on the real reference switch: sound, and with each fault that concerns money."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pytest_mojaloop_perf.faults import parse_fault
from pytest_mojaloop_perf.fspiop.http import Client
from pytest_mojaloop_perf.measure.reconcile import reconcile, snapshot
from pytest_mojaloop_perf.model import COMMITTED, Environment, LoadRun, Plan, Reconciliation
from pytest_mojaloop_perf.onboard import onboard
from pytest_mojaloop_perf.progress import Silent
from pytest_mojaloop_perf.switch.probes import probe

StartSwitch = Callable[..., AbstractContextManager[tuple[Plan, Environment]]]
PAYMENTS = 40
AMOUNT = {"amount": "1.25", "currency": "XXX"}


async def post(client: Client, url: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    answer = await client.request("POST", url, headers, json.dumps(body).encode())
    parsed: dict[str, Any] = json.loads(answer.body)
    return parsed


async def pay(client: Client, url: str) -> tuple[str, str]:
    """Make one payment through the payer's synchronous API; return its id and outcome as k6 tells it."""
    transfer_id = uuid.uuid4().hex[:26].upper()
    party = {"partyIdType": "MSISDN", "partyIdentifier": "17039811929", "fspId": "fsp202"}
    payer = {"partyIdType": "MSISDN", "partyIdentifier": "17039811918", "fspId": "fsp201"}
    request = {
        "quoteId": uuid.uuid4().hex[:26].upper(),
        "transactionId": transfer_id,
        "payee": {"partyIdInfo": party},
        "payer": {"partyIdInfo": payer},
        "amountType": "SEND",
        "amount": AMOUNT,
        "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
    }
    quoted = await post(client, f"{url}/quotes", {"fspId": "fsp202", "quotesPostRequest": request})
    if "quotes" not in quoted:
        return transfer_id, "quote:timeout"
    quote = quoted["quotes"]["body"]
    transfer = {
        "transferId": transfer_id,
        "payerFsp": "fsp201",
        "payeeFsp": "fsp202",
        "amount": AMOUNT,
        **{name: quote[name] for name in ("ilpPacket", "condition", "expiration")},
    }
    answer = await post(
        client, f"{url}/simpleTransfers", {"fspId": "fsp202", "transfersPostRequest": transfer}
    )
    body = answer.get("transfer", {}).get("body", {})
    if body.get("transferState") == COMMITTED:
        return transfer_id, COMMITTED
    return transfer_id, "transfer:2001" if "errorInformation" in body else "transfer:timeout"


async def pay_many(environment: Environment) -> list[tuple[str, str]]:
    client = Client()
    url = environment.dfsp("fsp201").outbound_url
    try:
        return [await pay(client, url) for _ in range(PAYMENTS)]
    finally:
        await client.close()


def run_and_reconcile(
    plan: Plan, environment: Environment, folder: Path
) -> tuple[Counter[str], Reconciliation]:
    """Onboard, probe, pay, probe, reconcile: as a run does. Return the outcomes and the reconciliation."""
    onboard(plan, environment, progress=Silent())
    probe(plan, environment, "before", progress=Silent())
    opening = snapshot(environment)
    rows = asyncio.run(pay_many(environment))
    probe(plan, environment, "after", progress=Silent())
    transactions = folder / "transactions.parquet"
    pl.DataFrame(
        [(transfer_id, "fsp201", "fsp202", outcome) for transfer_id, outcome in rows],
        schema=["transfer_id", "payer", "payee", "outcome"],
        orient="row",
    ).write_parquet(transactions)
    load = LoadRun(
        ended="ok",
        started_ms=0,
        ended_ms=1,
        first_arrival_ms=0,
        offered_tps=1,
        planned_arrivals=PAYMENTS,
        iterations=PAYMENTS,
        dropped=0,
        interrupted=0,
        records_lost=0,
        vus_max=1,
        vus_peak=1,
        transactions=transactions,
        k6_version="",
        k6_path="",
        script_sha256="",
        seed=1,
    )
    found = reconcile(environment, load, opening, drain_s=10.0, progress=Silent())
    return Counter(outcome for _, outcome in rows), found


def test_a_sound_switch_reconciles(start_switch: StartSwitch, tmp_path: Path) -> None:
    with start_switch() as (plan, environment):
        outcomes, found = run_and_reconcile(plan, environment, tmp_path)
    assert outcomes == {COMMITTED: PAYMENTS}
    assert found.defects == ()
    assert (found.transfers, found.committed, found.aborted, found.in_flight) == (PAYMENTS, PAYMENTS, 0, 0)
    assert found.sources == ("k6", "hub", "fsp201", "fsp202")


def test_error_callbacks_with_proper_reversals_are_no_defect(
    start_switch: StartSwitch, tmp_path: Path
) -> None:
    with start_switch(faults=(parse_fault("error-callbacks=10"),)) as (plan, environment):
        outcomes, found = run_and_reconcile(plan, environment, tmp_path)
    assert outcomes["transfer:2001"] >= 3
    assert found.defects == ()
    assert found.aborted == outcomes["transfer:2001"]
    assert found.committed == outcomes[COMMITTED]


def test_money_that_moved_behind_a_lost_callback_is_counted_apart(
    start_switch: StartSwitch, tmp_path: Path
) -> None:
    # Every 14th or 15th: it falls on quotes and on transfers.
    with start_switch(faults=(parse_fault("lost-callbacks=7"),)) as (plan, environment):
        outcomes, found = run_and_reconcile(plan, environment, tmp_path)
    assert outcomes["transfer:timeout"] >= 1
    assert found.defects == ()
    assert found.committed_but_payer_saw_error == outcomes["transfer:timeout"]


@pytest.mark.parametrize(
    ("fault", "check", "least"),
    [("booked-twice=10", "booked-once", 4), ("not-reversed=10", "aborted-net-zero", 4)],
)
def test_a_fault_of_the_ledger_trips_exactly_its_check(
    start_switch: StartSwitch, tmp_path: Path, fault: str, check: str, least: int
) -> None:
    with start_switch(faults=(parse_fault(fault),)) as (plan, environment):
        _, found = run_and_reconcile(plan, environment, tmp_path)
    assert {defect.check for defect in found.defects} == {check}
    assert found.defects[0].count >= least
