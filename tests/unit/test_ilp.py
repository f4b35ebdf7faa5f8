"""ILP packets, conditions and fulfilments against the vectors of Mojaloop's own library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_mojaloop_perf.fspiop.amounts import AMOUNT, amount_text, minor_units, ten_thousandths
from pytest_mojaloop_perf.fspiop.ilp import Ilp, IlpError, decode_packet, fulfils, packet_matches

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "ilp.json").read_text())
CASES: list[dict[str, Any]] = VECTORS["cases"]
VERSIONS: tuple[Literal["1", "4"], ...] = ("1", "4")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_material_is_that_of_the_library(case: dict[str, Any], version: Literal["1", "4"]) -> None:
    expected = case[f"v{version}"]
    ilp = Ilp(case["secret"], version)
    if "error" in expected:
        with pytest.raises(IlpError):
            ilp.material(case["quoteRequest"], case["quoteResponse"])
        return
    material = ilp.material(case["quoteRequest"], case["quoteResponse"])
    assert material.packet == expected["ilpPacket"]
    assert material.fulfilment == expected["fulfilment"]
    assert material.condition == expected["condition"]
    assert fulfils(material.fulfilment, material.condition)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_packet_is_taken_apart(case: dict[str, Any], version: Literal["1", "4"]) -> None:
    expected = case[f"v{version}"]
    if "error" in expected:
        return
    packet = decode_packet(expected["ilpPacket"])
    assert packet.version == version
    assert str(packet.amount) == str(expected["decoded"]["amount"])
    assert packet.data == expected["decoded"]["data"]
    assert packet.transaction() == json.loads(expected["transactionJson"])
    if version == "1":
        assert packet.account == expected["decoded"]["account"]
    else:
        assert packet.account == "g.mojaloop"
        assert packet.condition == expected["condition"]
        assert packet.expires_at is not None
        assert len(packet.expires_at) == 17


@pytest.mark.parametrize("check", VECTORS["fulfilChecks"], ids=lambda check: check["id"])
def test_fulfilment_check(check: dict[str, Any]) -> None:
    assert fulfils(check["fulfilment"], check["condition"]) == check["valid"]


@pytest.mark.parametrize("check", VECTORS["transferChecks"], ids=lambda check: check["id"])
def test_packet_against_transfer(check: dict[str, Any]) -> None:
    assert packet_matches(check["transfer"]) == check["valid"]


@pytest.mark.parametrize("text", ["", "AA", "!!", "AYICnAAAAAAAACcQ", "DAA", "CQA"])
def test_broken_packets_are_refused(text: str) -> None:
    with pytest.raises(IlpError):
        decode_packet(text)


def test_bytes_after_the_packet_are_refused() -> None:
    packet = CASES[0]["v1"]["ilpPacket"]
    with pytest.raises(IlpError):
        decode_packet(packet + "AAAA")


def test_packet_without_a_transaction_matches_nothing() -> None:
    assert not packet_matches({"ilpPacket": "AA", "payerFsp": "a", "payeeFsp": "b", "amount": {}})


def test_a_secret_decides_the_fulfilment() -> None:
    case = CASES[0]
    one = Ilp("one").material(case["quoteRequest"], case["quoteResponse"])
    other = Ilp("other").material(case["quoteRequest"], case["quoteResponse"])
    assert one.packet == other.packet
    assert not fulfils(one.fulfilment, other.condition)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("1", 10_000), ("1.5", 15_000), ("0.0001", 1), ("999999999999999999.9999",) * 2],
)
def test_amount_text_and_ten_thousandths(text: str, value: int | str) -> None:
    units = ten_thousandths(text)
    assert amount_text(units) == text
    if isinstance(value, int):
        assert units == value


@pytest.mark.parametrize(
    "text", ["", "01", "1.0", "1.50", "-1", "1.00001", "1.", ".5", "1e3", "1\n", "\u0661"]
)
def test_what_is_not_an_amount(text: str) -> None:
    assert not AMOUNT.fullmatch(text)
    with pytest.raises(ValueError, match="not an amount"):
        ten_thousandths(text)


def test_negative_balances_have_a_sign() -> None:
    assert amount_text(-15_000) == "-1.5"


def test_minor_units_follow_the_currency() -> None:
    assert minor_units("1", "XXX", truncate=False) == 10_000
    assert minor_units("5000", "XOF", truncate=False) == 5000
    assert minor_units("1.005", "BHD", truncate=False) == 1005
    assert minor_units("1.999", "USD", truncate=True) == 199
    with pytest.raises(ValueError, match="minor units"):
        minor_units("1.999", "USD", truncate=False)
    with pytest.raises(ValueError, match="XDR"):
        minor_units("1", "XDR", truncate=True)
