"""The table of faults and the reading of `--perf-fault`."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.faults import FAULTS, Share, parse_fault, read_faults
from pytest_mojaloop_perf.model import Fault


@pytest.mark.parametrize("name", list(FAULTS))
def test_every_fault_is_accepted_by_its_bare_name(name: str) -> None:
    fault = parse_fault(name)
    assert fault == Fault(name=name, parameter=FAULTS[name].default)
    assert read_faults([fault]) != read_faults([])


def test_parameters_reach_the_switches() -> None:
    switches = read_faults(
        parse_fault(text)
        for text in (
            "error-callbacks=2.5",
            "slow-leg=quote:250",
            "lost-callbacks=10",
            "booked-twice=7",
            "not-reversed",
        )
    )
    assert switches.error_callbacks_percent == Fraction(5, 2)
    assert (switches.delay_s("quote"), switches.delay_s("transfer")) == (0.25, 0.0)
    assert switches.lost_callbacks_percent == 10
    assert switches.booked_twice_every_n == 7
    assert switches.not_reversed_every_n == 400
    assert not switches.no_jws_check


def test_the_last_of_two_counts() -> None:
    assert (
        read_faults([parse_fault("booked-twice=7"), parse_fault("booked-twice=9")]).booked_twice_every_n == 9
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no-such-fault",
        "no-jws-check=1",
        "no-jws-check=",
        "error-callbacks=",
        "error-callbacks=0",
        "error-callbacks=-1",
        "error-callbacks=101",
        "error-callbacks=nan",
        "lost-callbacks=some",
        "slow-leg=transfer",
        "slow-leg=settlement:600",
        "slow-leg=transfer:-1",
        "slow-leg=transfer:inf",
        "booked-twice=0",
        "booked-twice=1.5",
        "booked-twice=²",
    ],
)
def test_anything_else_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(BadInputError, match="--perf-fault") as refusal:
        parse_fault(text)
    assert "--perf-fault=" in refusal.value.remedy


def test_an_unknown_fault_read_from_a_file_is_refused() -> None:
    with pytest.raises(BadInputError):
        read_faults([Fault(name="no-such-fault")])


@pytest.mark.parametrize(
    ("percent", "hits"), [("1", 10), ("0.1", 1), ("2.5", 25), ("100", 1000), ("33.3", 333)]
)
def test_a_share_is_exact_and_evenly_spread(percent: str, hits: int) -> None:
    share = Share(Fraction(percent))
    pattern = [share.hit() for _ in range(1000)]
    assert sum(pattern) == hits
    assert abs(sum(pattern[:500]) - hits / 2) <= 1


def test_the_share_zero_never_hits() -> None:
    share = Share(Fraction(0))
    assert not any(share.hit() for _ in range(1000))
