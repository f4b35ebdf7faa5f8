"""Documented defects that can be switched on to prove that a gate can fail.

Every fault is deterministic: a share of messages is every n-th message by a counter, never a random choice,
so that a short run shows the same defect as a long one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Literal, get_args

import msgspec

from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.model import Fault, LegName

__all__ = ["FAULTS", "FaultSpec", "FaultSwitches", "Share", "parse_fault", "read_faults"]

Kind = Literal["none", "percent", "leg-ms", "every-n"]


class FaultSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table of faults.

    Attributes:
        name: as written after `--perf-fault=`.
        where: the process whose behaviour changes.
        kind: what its parameter is.
        default: the parameter when none is given; None for a fault that takes no parameter.
        effect: what then goes wrong.
    """

    name: str
    where: Literal["hub", "hub and DFSPs", "generator"]
    kind: Kind
    default: str | None
    effect: str


FAULTS: dict[str, FaultSpec] = {
    spec.name: spec
    for spec in (
        FaultSpec(
            name="no-jws-check",
            where="hub and DFSPs",
            kind="none",
            default=None,
            effect="signatures are made, but nobody verifies any",
        ),
        FaultSpec(
            name="no-client-certificate-check",
            where="hub",
            kind="none",
            default=None,
            effect="the hub neither demands a client certificate nor compares it with FSPIOP-Source",
        ),
        FaultSpec(
            name="error-callbacks",
            where="hub",
            kind="percent",
            default="1",
            effect="that share of transfers is aborted with an error callback, which the synchronous API "
            "reports with HTTP 200",
        ),
        FaultSpec(
            name="slow-leg",
            where="hub",
            kind="leg-ms",
            default="transfer:600",
            effect="every request of that leg is forwarded that many milliseconds late",
        ),
        FaultSpec(
            name="lost-callbacks",
            where="hub",
            kind="percent",
            default="0.1",
            effect="that share of callbacks to payers is never sent",
        ),
        FaultSpec(
            name="booked-twice",
            where="hub",
            kind="every-n",
            default="50",
            effect="both position changes of every n-th commit are applied and journalled twice",
        ),
        FaultSpec(
            name="not-reversed",
            where="hub",
            kind="every-n",
            default="400",
            effect="every n-th transfer is aborted with an error callback and keeps its reservation in the "
            "payer's position",
        ),
        FaultSpec(
            name="starved-generator",
            where="generator",
            kind="percent",
            default="25",
            effect="the load generator gets CPU only that share of the time",
        ),
    )
}
"""Every fault there is, by name."""


class FaultSwitches(msgspec.Struct, frozen=True, kw_only=True):
    """The parsed parameters of all active faults, ready for the code that misbehaves."""

    no_jws_check: bool = False
    no_client_certificate_check: bool = False
    error_callbacks_percent: Fraction = Fraction(0)
    slow_leg: LegName | None = None
    slow_leg_ms: float = 0.0
    lost_callbacks_percent: Fraction = Fraction(0)
    booked_twice_every_n: int = 0
    not_reversed_every_n: int = 0
    starved_generator_percent: Fraction = Fraction(0)

    def delay_s(self, leg: LegName) -> float:
        """Return how many seconds a request of that leg is held back."""
        return self.slow_leg_ms / 1000.0 if leg == self.slow_leg else 0.0


class Share:
    """Pick a share of events by counting: with 1 percent, the 100th, the 200th and so on."""

    __slots__ = ("_count", "_percent")

    def __init__(self, percent: Fraction) -> None:
        assert 0 <= percent <= 100
        self._percent = percent
        self._count = 0

    def hit(self) -> bool:
        """Count one event and say whether it is one of the share."""
        if not self._percent:
            return False
        before = self._count * self._percent // 100
        self._count += 1
        return self._count * self._percent // 100 > before


def parse_fault(text: str) -> Fault:
    """Return the fault that `NAME` or `NAME=PARAMETER` names, its default parameter filled in.

    Raises:
        BadInputError: no such fault, or a parameter that does not fit it.
    """
    name, equals, parameter = text.strip().partition("=")
    spec = FAULTS.get(name)
    if spec is None:
        raise BadInputError(
            f"--perf-fault names {name!r}, expected one of {', '.join(FAULTS)}",
            remedy=f"write for example --perf-fault={next(iter(FAULTS))}",
        )
    fault = Fault(name=name, parameter=parameter if equals else spec.default)
    _switch(fault)
    return fault


def read_faults(faults: Iterable[Fault]) -> FaultSwitches:
    """Return the switches for a set of faults; of a fault given twice the last one counts.

    Raises:
        BadInputError: no such fault, or a parameter that does not fit it.
    """
    switches: dict[str, object] = {}
    for fault in faults:
        switches |= _switch(fault)
    return msgspec.convert(switches, FaultSwitches, dec_hook=_keep)


def _switch(fault: Fault) -> dict[str, object]:
    spec = FAULTS.get(fault.name)
    if spec is None:
        raise _refuse(fault, "a fault of the table")
    parameter = fault.parameter if fault.parameter is not None else spec.default
    field = fault.name.replace("-", "_")
    if spec.kind == "none":
        if parameter is not None:
            raise _refuse(fault, "no parameter")
        return {field: True}
    assert parameter is not None
    if spec.kind == "percent":
        return {f"{field}_percent": _percent(fault, parameter)}
    if spec.kind == "every-n":
        if not (parameter.isascii() and parameter.isdigit()) or not 1 <= int(parameter) <= 1_000_000:
            raise _refuse(fault, "a whole number from 1 to 1000000")
        return {f"{field}_every_n": int(parameter)}
    return _leg_ms(fault, parameter)


def _percent(fault: Fault, parameter: str) -> Fraction:
    try:
        number = float(parameter)
    except ValueError:
        number = math.nan
    if not 0 < number <= 100:
        raise _refuse(fault, "a percentage above 0 and at most 100")
    return Fraction(number).limit_denominator(1_000_000)


def _leg_ms(fault: Fault, parameter: str) -> dict[str, object]:
    leg, _, delay = parameter.partition(":")
    try:
        delay_ms = float(delay)
    except ValueError:
        delay_ms = math.nan
    if leg not in get_args(LegName) or not 0 < delay_ms <= 60_000:
        raise _refuse(fault, "LEG:MS with a leg of discovery, quote, transfer and at most 60000 ms")
    return {"slow_leg": leg, "slow_leg_ms": delay_ms}


def _refuse(fault: Fault, expected: str) -> BadInputError:
    spec = FAULTS.get(fault.name)
    example = fault.name if spec is None or spec.default is None else f"{fault.name}={spec.default}"
    return BadInputError(
        f"--perf-fault={fault.name} has the parameter {fault.parameter!r}, expected {expected}",
        remedy=f"write --perf-fault={example}",
    )


def _keep(kind: type, value: object) -> object:
    assert isinstance(value, kind)
    return value
