"""Reconciliation against doctored ledgers: each defect is found, by its own check and by no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_mojaloop_perf.measure.reconcile import snapshot
from pytest_mojaloop_perf.measure.reconcile_checks import CHECKS
from pytest_mojaloop_perf.model import PROBE_FSPS
from tests.unit.ledger_world import (
    PAYEE,
    PAYER,
    UNIT,
    World,
    environment_of,
    hurry,
    judge,
    made_world,
    ordinary,
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with made_world(tmp_path) as made:
        yield made


def test_an_ordinary_run_has_no_defect(world: World) -> None:
    result = judge(world, ordinary(world))
    assert result.defects == ()
    assert (result.transfers, result.committed, result.aborted, result.in_flight) == (13, 10, 3, 0)
    assert result.committed_but_payer_saw_error == 0
    assert result.sources == ("k6", "hub", PAYER, PAYEE)


def test_the_snapshot_holds_every_account_and_the_ends_of_the_journals(world: World) -> None:
    opening = snapshot(environment_of(world.path))
    positions = {(one.fsp_id, one.account_type): one.value_e4 for one in opening.accounts}
    assert positions[PAYER, "POSITION"] == -UNIT
    assert positions[PAYEE, "POSITION"] == UNIT
    assert positions[PAYER, "SETTLEMENT"] == -1000 * UNIT
    assert (opening.state_change_id, opening.position_change_id) == (4, 6)


def test_money_that_moved_while_the_payer_saw_an_error_is_counted_apart(world: World) -> None:
    opening = ordinary(world)
    world.commit("lost-callback")
    world.tell("lost-callback", payer="TIMEOUT", payee="COMMITTED", k6="transfer:timeout")
    result = judge(world, opening)
    assert result.defects == ()
    assert result.committed_but_payer_saw_error == 1


def booked_twice(world: World) -> None:
    world.good("bad")
    world.move(world.account(PAYER), "bad", UNIT, "reserve")
    world.move(world.account(PAYEE), "bad", -UNIT, "commit-payee")


def not_booked(world: World) -> None:
    world.prepare("bad")
    world.states("bad", "RECEIVED_FULFIL", "COMMITTED")
    world.tell("bad", payer="COMMITTED", payee="COMMITTED", k6="COMMITTED")


def booked_on_a_third_account(world: World) -> None:
    world.good("bad")
    world.move(world.account(PROBE_FSPS[0]), "bad", UNIT, "reserve")


def booked_with_another_amount(world: World) -> None:
    world.prepare("bad")
    world.states("bad", "RECEIVED_FULFIL", "COMMITTED")
    world.move(world.account(PAYEE), "bad", -2 * UNIT, "commit-payee")
    world.tell("bad", payer="COMMITTED", payee="COMMITTED", k6="COMMITTED")


def not_reversed(world: World) -> None:
    world.prepare("bad")
    world.states("bad", "RECEIVED_ERROR", "ABORTED_ERROR")
    world.tell("bad", payer="ABORTED", payee="ABORTED", k6="transfer:2001")


def reversed_on_the_payee(world: World) -> None:
    not_reversed(world)
    world.move(world.account(PAYEE), "bad", -UNIT, "abort")


def credited(world: World) -> None:
    world.rejected("bad")
    world.move(world.account(PAYEE), "bad", -UNIT, "commit-payee")


def position_edited(world: World) -> None:
    world.db.execute("UPDATE participantPosition SET value = value + 1 WHERE participantCurrencyId = 10")


def chain_broken(world: World) -> None:
    world.good("bad")
    world.db.execute(
        "UPDATE participantPositionChange SET value = value + 7"
        " WHERE transferId = 'bad' AND reason = 'reserve'"
    )


def stray_booking(world: World) -> None:
    world.move(world.account(PAYER), "nobody's", UNIT, "reserve")


def stray_funds(world: World) -> None:
    world.move(world.account(PAYER), "funds", -UNIT, "funds-in")


def reserve_left(world: World) -> None:
    world.db.execute("UPDATE participantPosition SET reservedValue = 5 WHERE participantCurrencyId = 10")


def unknown_to_the_hub(world: World) -> None:
    world.tell("bad", payer=None, payee=None, k6="COMMITTED")


def not_committed_at_the_hub(world: World) -> None:
    world.abort("bad")
    world.tell("bad", payer="ABORTED", payee="ABORTED", k6="COMMITTED")


def payee_disagrees(world: World) -> None:
    world.commit("bad")
    world.tell("bad", payer="COMMITTED", payee="RECEIVED", k6="COMMITTED")


def payee_knows_nothing(world: World) -> None:
    world.commit("bad")
    world.tell("bad", payer="COMMITTED", payee=None, k6="COMMITTED")


def payers_dfsp_disagrees(world: World) -> None:
    world.commit("bad")
    world.tell("bad", payer="ERROR", payee="COMMITTED", k6="COMMITTED")


def payee_released_an_aborted_one(world: World) -> None:
    world.abort("bad")
    world.tell("bad", payer="ABORTED", payee="COMMITTED", k6="transfer:3303")


def dfsp_alone_committed(world: World) -> None:
    world.tell("bad", payer=None, payee="COMMITTED", k6=None)


def amounts_differ(world: World) -> None:
    world.good("bad")
    world.views[PAYEE][-1]["amount"] = "1.5"


def currencies_differ(world: World) -> None:
    world.good("bad")
    world.views[PAYER][-1]["currency"] = "XTS"


def parties_differ(world: World) -> None:
    world.good("bad")
    world.records[-1] = ("bad", PAYER, PROBE_FSPS[1], "COMMITTED")


def told_twice(world: World) -> None:
    world.good("bad")
    world.records.append(world.records[-1])


def viewed_twice(world: World) -> None:
    world.good("bad")
    world.views[PAYEE].append(world.views[PAYEE][-1])


def not_recorded(world: World) -> None:
    world.commit("bad")
    world.tell("bad", payer="COMMITTED", payee="COMMITTED", k6=None)


def left_open(world: World) -> None:
    world.prepare("bad")
    world.tell("bad", payer="RESERVED", payee="RECEIVED", k6="transfer:timeout")


def in_no_known_state(world: World) -> None:
    world.good("bad")
    world.states("bad", "LIMBO")
    world.records[-1] = ("bad", PAYER, PAYEE, "transfer:timeout")


DOCTORED: list[tuple[Callable[[World], None], str, str]] = [
    (booked_twice, "booked-once", "committed transfer booked more than once"),
    (not_booked, "booked-once", "committed transfer not booked"),
    (booked_on_a_third_account, "booked-once", "committed transfer with other bookings"),
    (booked_with_another_amount, "booked-once", "committed transfer not booked"),
    (not_reversed, "aborted-net-zero", "aborted transfer not reversed"),
    (reversed_on_the_payee, "aborted-net-zero", "aborted transfer not reversed"),
    (credited, "aborted-net-zero", "aborted transfer credited"),
    (position_edited, "positions-add-up", "position is not its opening plus its journal"),
    (chain_broken, "positions-add-up", "running value of the journal breaks"),
    (stray_booking, "positions-add-up", "position changed without a transfer"),
    (stray_funds, "positions-add-up", "position changed without a transfer"),
    (reserve_left, "positions-add-up", "reserved value left over"),
    (unknown_to_the_hub, "parties-agree", "payer saw COMMITTED, hub knows no such transfer"),
    (not_committed_at_the_hub, "parties-agree", "payer saw COMMITTED, hub did not commit"),
    (payee_disagrees, "parties-agree", "hub committed, payee did not"),
    (payee_knows_nothing, "parties-agree", "hub committed, payee did not"),
    (payers_dfsp_disagrees, "parties-agree", "payer saw COMMITTED, payer's DFSP did not"),
    (payee_released_an_aborted_one, "parties-agree", "hub aborted, a DFSP committed"),
    (dfsp_alone_committed, "parties-agree", "a DFSP committed, hub knows no such transfer"),
    (amounts_differ, "parties-agree", "amounts differ"),
    (currencies_differ, "parties-agree", "amounts differ"),
    (parties_differ, "parties-agree", "payer or payee differ"),
    (told_twice, "parties-agree", "transferId used twice"),
    (viewed_twice, "parties-agree", "transferId used twice"),
    (not_recorded, "parties-agree", "hub has transfers that k6 did not record"),
    (left_open, "in-flight", "open after the drain"),
    (in_no_known_state, "in-flight", "open after the drain"),
]


@pytest.mark.parametrize(
    ("doctor", "check", "name"), DOCTORED, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_defect_is_found_by_its_own_check_only(
    world: World, doctor: Callable[[World], None], check: str, name: str
) -> None:
    opening = ordinary(world)
    doctor(world)
    result = judge(world, opening)
    assert [(defect.check, defect.name) for defect in result.defects] == [(check, name)]
    assert result.defects[0].count >= 1
    assert result.defects[0].sample


def test_every_check_has_a_doctored_ledger() -> None:
    assert {(one.check, one.name) for one in CHECKS} == {(check, name) for _, check, name in DOCTORED}


def test_transfers_without_a_record_are_allowed_as_far_as_k6_was_interrupted(world: World) -> None:
    opening = ordinary(world)
    not_recorded(world)
    assert judge(world, opening, interrupted=1).defects == ()


def test_defects_before_the_opening_are_not_of_this_run(world: World) -> None:
    not_reversed(world)
    world.records.clear()
    for view in world.views.values():
        view.clear()
    assert judge(world, ordinary(world)).defects == ()
