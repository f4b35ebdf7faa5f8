"""The ledger: reservation, commit, reversal, limits, duplicates, expiry, durability."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.faults import FaultSwitches
from pytest_mojaloop_perf.reference.ledger import Ledger, Outcome, Prepare
from pytest_mojaloop_perf.reference.ledger_book import POSITION, SETTLEMENT, RefusedError
from pytest_mojaloop_perf.reference.ledger_money import format_instant, now_ms, parse_instant_ms, parse_money
from pytest_mojaloop_perf.reference.ledger_store import Sql
from pytest_mojaloop_perf.wait import Pending, wait_for

UNIT = 10_000
PREIMAGE = b"f" * 32
FULFILMENT = base64.urlsafe_b64encode(PREIMAGE).rstrip(b"=").decode()
CONDITION = base64.urlsafe_b64encode(hashlib.sha256(PREIMAGE).digest()).rstrip(b"=").decode()


def wanted(
    transfer_id: str, units: int = 10, *, payer: str = "alpha", payee: str = "beta", **change: object
) -> Prepare:
    expires_ms = change.setdefault("expires_ms", now_ms() + 60_000)
    assert isinstance(expires_ms, int)
    values: dict[str, object] = {
        "transfer_id": transfer_id,
        "source": payer,
        "payer": payer,
        "payee": payee,
        "amount": units * UNIT,
        "currency": "XXX",
        "condition": CONDITION,
        "expiration": format_instant(expires_ms),
        "digest": f"{transfer_id} {units}".encode(),
    }
    return Prepare(**{**values, **change})  # type: ignore[arg-type]  # a table of values of several types


async def onboard(ledger: Ledger, *, ndc: int = 100, funds: int = 1000) -> None:
    book = ledger.book
    for kind in ("HUB_MULTILATERAL_SETTLEMENT", "HUB_RECONCILIATION"):
        book.add_hub_account("XXX", kind)
    book.add_settlement_model("DEFERREDNET", {"ledgerAccountType": "POSITION", "requireLiquidityCheck": True})
    for name in ("alpha", "beta"):
        book.add_participant(name, "XXX", proxy=False)
        book.set_initial(name, "XXX", limit=ndc * UNIT, position=0)
        account = book.account(name, "XXX", SETTLEMENT)
        assert account is not None
        await book.funds_in(account, f"funds-{name}", funds * UNIT, b"{}")


def run(path: Path, story: Callable[[Ledger], Awaitable[None]], faults: FaultSwitches | None = None) -> None:
    async def play() -> None:
        ledger = Ledger(path, faults)
        ledger.start()
        try:
            await story(ledger)
        finally:
            ledger.stop()

    asyncio.run(play())


def position(ledger: Ledger, name: str) -> int:
    account = ledger.book.account(name, "XXX", POSITION)
    assert account is not None
    return account.value // UNIT


def commit(
    ledger: Ledger, transfer_id: str, fulfilment: str = FULFILMENT, state: str = "COMMITTED"
) -> Outcome:
    return ledger.fulfil(transfer_id, "beta", state, fulfilment, f"{fulfilment} {state}".encode())


def assert_adds_up(path: Path) -> None:
    """Check what reconciliation relies on: every balance is the sum of its journal."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as reader:
        wrong = reader.execute(
            "SELECT p.participantCurrencyId, p.value, total(c.change) FROM participantPosition p"
            " LEFT JOIN participantPositionChange c USING(participantCurrencyId)"
            " GROUP BY 1 HAVING p.value <> total(c.change)"
        ).fetchall()
        last = reader.execute(
            "SELECT p.participantCurrencyId FROM participantPosition p JOIN participantPositionChange c"
            " USING(participantCurrencyId) WHERE c.participantPositionChangeId = (SELECT max(d."
            "participantPositionChangeId) FROM participantPositionChange d WHERE d.participantCurrencyId ="
            " p.participantCurrencyId) AND c.value <> p.value"
        ).fetchall()
    reader.close()
    assert wrong == []
    assert last == []


def states(path: Path, transfer_id: str) -> list[str]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as reader:
        rows = reader.execute(
            "SELECT transferStateId FROM transferStateChange WHERE transferId=?"
            " ORDER BY transferStateChangeId",
            (transfer_id,),
        ).fetchall()
    reader.close()
    return [state for (state,) in rows]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_a_commit_moves_the_amount_once_and_leaves_the_whole_chain(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        reserved = ledger.prepare(wanted("t1"))
        await reserved.durable
        assert (reserved.did, position(ledger, "alpha"), position(ledger, "beta")) == ("reserved", 10, 0)
        committed = commit(ledger, "t1")
        await committed.durable
        assert (committed.did, position(ledger, "alpha"), position(ledger, "beta")) == ("committed", 10, -10)

    run(path, story)
    assert states(path, "t1") == ["RECEIVED_PREPARE", "RESERVED", "RECEIVED_FULFIL", "COMMITTED"]
    assert_adds_up(path)


def test_the_cap_is_checked_per_transfer_against_the_running_position(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger, ndc=100)
        outcomes = [ledger.prepare(wanted(f"t{n}", 60)) for n in range(3)]
        assert [(o.did, o.code) for o in outcomes] == [
            ("reserved", ""),
            ("refused", "4200"),
            ("refused", "4200"),
        ]
        assert ledger.prepare(wanted("t9", 40)).did == "reserved", "equality passes"
        assert position(ledger, "alpha") == 100
        await ledger.flushed()

    run(path, story)
    assert states(path, "t1") == ["RECEIVED_PREPARE", "ABORTED_REJECTED"]


def test_cover_is_checked_before_the_cap_and_equality_passes(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger, ndc=100, funds=50)
        assert ledger.prepare(wanted("t1", 51)).code == "4001"
        assert ledger.prepare(wanted("t2", 50)).did == "reserved"
        assert ledger.prepare(wanted("t3", 1)).code == "4001"

    run(path, story)


def test_without_liquidity_check_in_the_model_only_the_cap_counts(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger, ndc=100, funds=1)
        ledger.book.add_settlement_model(
            "GROSS", {"ledgerAccountType": "POSITION", "requireLiquidityCheck": False, "currency": "XXX"}
        )
        assert ledger.prepare(wanted("t1", 100)).did == "reserved"

    run(path, story)


@pytest.mark.parametrize(
    "change",
    [
        {"payee": "alpha"},
        {"payee": "nobody"},
        {"payer": "nobody", "source": "nobody"},
        {"source": "beta"},
        {"currency": "USD"},
        {"amount": None},
        {"expires_ms": 1},
    ],
)
def test_an_invalid_prepare_is_refused_with_3100_and_moves_nothing(
    path: Path, change: dict[str, object]
) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        outcome = ledger.prepare(wanted("t1", **change))  # type: ignore[arg-type]  # a table of values of several types
        assert (outcome.did, outcome.code) == ("refused", "3100")
        assert (position(ledger, "alpha"), position(ledger, "beta")) == (0, 0)

    run(path, story)


def test_an_inactive_participant_or_account_takes_no_part(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        account = ledger.book.account("beta", "XXX", POSITION)
        assert account is not None
        ledger.book.set_account_active("beta", account.account_id, active=False)
        assert ledger.prepare(wanted("t1")).code == "3100"
        ledger.book.set_account_active("beta", account.account_id, active=True)
        ledger.book.set_active("alpha", active=False)
        assert ledger.prepare(wanted("t2")).code == "3100"
        ledger.book.set_active("alpha", active=True)
        assert ledger.prepare(wanted("t3")).did == "reserved"

    run(path, story)


def test_a_wrong_fulfilment_aborts_and_reverses(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        ledger.prepare(wanted("t1"))
        outcome = commit(ledger, "t1", "A" * 43)
        await outcome.durable
        assert (outcome.did, outcome.code) == ("mismatch", "3100")
        assert (position(ledger, "alpha"), position(ledger, "beta")) == (0, 0)
        assert commit(ledger, "t1").code == "3106"

    run(path, story)
    assert states(path, "t1")[-1] == "ABORTED_ERROR"
    assert_adds_up(path)


def test_repetitions_move_money_once_and_other_content_is_refused(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        first = wanted("t1")
        ledger.prepare(first)
        assert ledger.prepare(first).did == "repeated"
        assert ledger.prepare(wanted("t1", 11)).code == "3106"
        commit(ledger, "t1")
        assert commit(ledger, "t1").did == "repeated"
        assert commit(ledger, "t1", "A" * 43).code == "3106"
        assert ledger.prepare(first).did == "repeated"
        assert (position(ledger, "alpha"), position(ledger, "beta")) == (10, -10)

    run(path, story)


def test_only_the_payee_decides(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        ledger.prepare(wanted("t1"))
        assert ledger.fulfil("t1", "alpha", "COMMITTED", FULFILMENT, b"x").code == "3100"
        assert ledger.abort("t1", "alpha", "5104", b"x").code == "3100"
        assert ledger.fulfil("unknown", "beta", "COMMITTED", FULFILMENT, b"x").code == "2001"
        assert commit(ledger, "t1").did == "committed", "the others' attempts changed nothing"

    run(path, story)


def test_an_expired_transfer_is_reversed_and_a_late_fulfil_refused(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        ledger.prepare(wanted("t1", expires_ms=now_ms() + 2))
        await asyncio.sleep(0.01)
        expired, durable = ledger.expire()
        assert durable is not None
        await durable
        assert [transfer.transfer_id for transfer in expired] == ["t1"]
        assert position(ledger, "alpha") == 0
        late = commit(ledger, "t1", state="RESERVED")
        assert (late.did, late.code) == ("late", "3303")
        assert ledger.expire() == ([], None)
        await ledger.flushed()

    run(path, story)
    assert states(path, "t1") == ["RECEIVED_PREPARE", "RESERVED", "RESERVED_TIMEOUT", "EXPIRED_RESERVED"]
    assert_adds_up(path)


def test_a_fulfil_after_expiry_moves_no_money_before_the_timeout_does(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        ledger.prepare(wanted("t1", expires_ms=now_ms() + 2))
        await asyncio.sleep(0.01)
        assert commit(ledger, "t1").did == "late"
        assert position(ledger, "alpha") == 10
        assert commit(ledger, "t1").did == "ignored"
        ledger.expire()
        assert position(ledger, "alpha") == 0

    run(path, story)


def test_the_payee_can_abort(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        ledger.prepare(wanted("t1"))
        assert ledger.abort("t1", "beta", "5104", b"x").did == "aborted"
        assert ledger.abort("t1", "beta", "5104", b"x").did == "repeated"
        assert ledger.abort("t1", "beta", "5104", b"y").code == "3106"
        ledger.prepare(wanted("t2"))
        assert commit(ledger, "t2", state="ABORTED").did == "aborted"
        assert position(ledger, "alpha") == 0

    run(path, story)
    assert_adds_up(path)


def test_everything_is_there_after_a_restart(path: Path) -> None:
    async def before(ledger: Ledger) -> None:
        await onboard(ledger)
        ledger.book.set_endpoint("alpha", "FSPIOP_CALLBACK_URL_QUOTES", "http://localhost")
        ledger.book.add_oracle("MSISDN", "XXX", "http://localhost/oracle")
        ledger.book.add_parties([("MSISDN", "123", "", "beta", "XXX")])
        ledger.prepare(wanted("done"))
        commit(ledger, "done")
        ledger.prepare(wanted("open", expires_ms=now_ms() + 2))

    async def after(ledger: Ledger) -> None:
        assert (position(ledger, "alpha"), position(ledger, "beta")) == (20, -10)
        assert ledger.book.participants["alpha"].endpoints == {
            "FSPIOP_CALLBACK_URL_QUOTES": "http://localhost"
        }
        assert ledger.book.oracles == {("MSISDN", "XXX"): "http://localhost/oracle"}
        assert ledger.book.parties == {("MSISDN", "123", ""): ("beta", "XXX")}
        assert ledger.book.account("alpha", "XXX", POSITION).limit == 100 * UNIT  # type: ignore[union-attr]  # it is there
        assert commit(ledger, "done").did == "repeated"
        assert ledger.prepare(wanted("done")).did == "repeated"
        assert ledger.transfers["done"].fulfilment == FULFILMENT
        with pytest.raises(RefusedError):
            ledger.book.set_initial("alpha", "XXX", limit=1, position=0)
        hub = ledger.book.participants["Hub"].accounts["XXX", "HUB_MULTILATERAL_SETTLEMENT"]
        assert hub.value == 2000 * UNIT, "funds in have their opposite on the hub's first account"
        await asyncio.sleep(0.01)
        assert [transfer.transfer_id for transfer in ledger.expire()[0]] == ["open"]
        assert position(ledger, "alpha") == 10

    run(path, before)
    run(path, after)
    assert_adds_up(path)


def test_funds_are_taken_once_per_transfer_id(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger, funds=100)
        book = ledger.book
        account = book.account("alpha", "XXX", SETTLEMENT)
        assert account is not None
        number = account.account_id
        assert book.check_funds("alpha", number, "funds-alpha", b"{}") is None
        with pytest.raises(RefusedError):
            book.check_funds("alpha", number, "funds-alpha", b'{"other":1}')
        assert account.value == -100 * UNIT
        book.funds_out_reserve(account, "out-1", 30 * UNIT, b"1")
        book.funds_out_reserve(account, "out-2", 80 * UNIT, b"2")
        assert account.value == -70 * UNIT, "more than there is moves nothing"
        book.funds_out_end("alpha", number, "out-1", "recordFundsOutAbort")
        assert account.value == -100 * UNIT
        with pytest.raises(RefusedError):
            book.funds_out_end("alpha", number, "out-1", "recordFundsOutCommit")
        with pytest.raises(RefusedError):
            book.funds_out_end("alpha", number, "out-2", "recordFundsOutCommit")

    run(path, story)
    assert_adds_up(path)


def test_fault_booked_twice_doubles_both_changes_of_every_nth_commit(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        for key in ("t1", "t2"):
            ledger.prepare(wanted(key))
            commit(ledger, key)
        assert (position(ledger, "alpha"), position(ledger, "beta")) == (30, -30)

    run(path, story, FaultSwitches(booked_twice_every_n=2))
    with sqlite3.connect(path) as reader:
        per_transfer = reader.execute(
            "SELECT transferId, count(*) FROM participantPositionChange WHERE transferId LIKE 't_' GROUP BY 1"
        ).fetchall()
    reader.close()
    assert per_transfer == [("t1", 2), ("t2", 4)]


def test_an_abort_by_the_hub_reverses_unless_told_not_to(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        for key, reverse, left in (("t1", True, 0), ("t2", False, 10)):
            transfer = ledger.prepare(wanted(key)).transfer
            assert transfer is not None
            ledger.abort_by_hub(transfer, "2001", reverse=reverse)
            assert (transfer.told_state, position(ledger, "alpha")) == ("ABORTED", left)

    run(path, story)


def test_many_messages_share_a_commit(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        before = ledger.store.commits
        await asyncio.gather(*(ledger.prepare(wanted(f"t{n}", 1)).durable for n in range(100)))
        assert ledger.store.commits - before < 20

    run(path, story)


def test_a_ledger_that_cannot_be_written_acknowledges_nothing(path: Path) -> None:
    async def story(ledger: Ledger) -> None:
        await onboard(ledger)
        broken = ledger.store.submit([(Sql.FULFILMENT, ("t1", None, None))])
        with pytest.raises(Exception, match="cannot be written"):
            await broken
        with pytest.raises(Exception, match="cannot be written"):
            await ledger.prepare(wanted("t1")).durable
        assert ledger.store.failure is not None
        assert ledger.store.failure.done()

    run(path, story)
    assert states(path, "t1") == []


_LOAD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_ledger as story
from pytest_mojaloop_perf.reference.ledger import Ledger

async def payments(ledger, lane):
    for number in range(10**6):
        key = f"t{lane}-{number}"
        await ledger.prepare(story.wanted(key, 1)).durable
        await story.commit(ledger, key).durable
        print(key, flush=True)

async def main():
    ledger = Ledger(Path(sys.argv[1]))
    ledger.start()
    await story.onboard(ledger, ndc=10**9, funds=10**9)
    await asyncio.gather(*(payments(ledger, lane) for lane in range(20)))

asyncio.run(main())
"""


def test_no_acknowledged_commit_is_lost_when_the_process_is_killed(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "load.log"
    argv = [sys.executable, "-c", _LOAD, str(path), str(Path(__file__).parent)]
    with command.start(argv, name="load", log=log, remedy="see its log") as process:

        def enough() -> int | Pending:
            lines = log.read_bytes().count(b"\n")
            return lines if lines > 200 else Pending(f"{lines} commits, status {process.poll()}")

        wait_for("load on the ledger", enough, timeout_s=30, remedy="see the log", evidence=str(log))
        process.signal(signal.SIGKILL)
        assert process.wait(5) == -signal.SIGKILL
    acknowledged = [line.decode() for line in log.read_bytes().split(b"\n")[:-1]]

    def after(ledger: Ledger) -> Awaitable[None]:
        assert all(ledger.transfers[key].state == "COMMITTED" for key in acknowledged)
        committed = sum(transfer.state == "COMMITTED" for transfer in ledger.transfers.values())
        unfinished = sum(transfer.state == "RESERVED" for transfer in ledger.transfers.values())
        assert position(ledger, "alpha") == committed + unfinished
        assert position(ledger, "beta") == -committed
        return ledger.flushed()

    run(path, after)
    assert_adds_up(path)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("5", 50_000),
        ("0.0001", 1),
        ("-12.5", -125_000),
        ("1e3", 10_000_000),
        ("0.00001", None),
        ("nan", None),
        ("x", None),
    ],
)
def test_numbers_of_the_admin_api_are_exact(number: str, value: int | None) -> None:
    assert parse_money(number) == value


def test_instants_go_there_and_back() -> None:
    assert format_instant(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"
    assert parse_instant_ms("2023-11-14T22:13:20.007Z") == 1_700_000_000_007
    assert parse_instant_ms("2023-11-14T23:13:20.007+01:00") == 1_700_000_000_007
    assert parse_instant_ms("2023-11-14T22:13:20.007") is None
    assert parse_instant_ms("yesterday") is None
