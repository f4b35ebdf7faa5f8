"""Amounts of money: the protocol's text, whole ten-thousandths for ledgers, minor units for ILP."""

from __future__ import annotations

import re

__all__ = ["AMOUNT", "CURRENCY_DECIMALS", "amount_text", "minor_units", "ten_thousandths"]

AMOUNT = re.compile(r"(0|[1-9][0-9]{0,17})([.][0-9]{0,3}[1-9])?")
"""An FSPIOP amount, to be matched whole: up to 18 digits and 4 decimals, no trailing zeros."""

_SCALE_DIGITS = 4
_SCALE = 10_000
_NUMBER = re.compile(r"(\d+)(?:\.(\d*))?")

_TWO_DECIMALS = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD
HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP
MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR
SDG SEK SGD SHP SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VES WST
XCD YER ZAR ZMW ZWL
"""
_BY_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: _TWO_DECIMALS,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW XTS XXX",
}
CURRENCY_DECIMALS = {code: decimals for decimals, codes in _BY_DECIMALS.items() for code in codes.split()}
"""ISO 4217 minor units as Mojaloop's library has them: 4 for XXX and XTS, none at all for XDR."""


def ten_thousandths(text: str) -> int:
    """Return an FSPIOP amount in ten-thousandths: `"1.5"` gives 15000.

    Raises:
        ValueError: not an FSPIOP amount.
    """
    if not AMOUNT.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount")
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(_SCALE_DIGITS, "0"))


def amount_text(value: int) -> str:
    """Return ten-thousandths as the shortest decimal text: 15000 gives `"1.5"`, -10000 gives `"-1"`."""
    whole, fraction = divmod(abs(value), _SCALE)
    text = f"{whole}.{fraction:04d}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text


def minor_units(amount: str, currency: str, *, truncate: bool) -> int:
    """Return an amount in the currency's minor units.

    Args:
        amount: decimal text; trailing zeros are allowed here.
        currency: ISO 4217 code.
        truncate: drop a fraction of a minor unit silently, as ILP version 1 does in Mojaloop.

    Raises:
        ValueError: unknown currency, not a number, or a fraction that may not be dropped.
    """
    decimals = CURRENCY_DECIMALS.get(currency)
    if decimals is None:
        raise ValueError(f"currency {currency} has no known minor unit")
    match = _NUMBER.fullmatch(amount)
    if match is None:
        raise ValueError(f"{amount!r} is not an amount")
    fraction = match[2] or ""
    if fraction[decimals:].strip("0") and not truncate:
        raise ValueError(f"{amount} {currency} is not a whole number of minor units")
    return int(match[1] + fraction[:decimals].ljust(decimals, "0"))
