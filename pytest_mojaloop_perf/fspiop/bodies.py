"""The bodies of FSPIOP messages as types: the members they must have, and the form of each.

Names are snake case here and camel case on the wire. Members that are not listed are refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "CORRELATION_ID",
    "Body",
    "ErrorInformation",
    "ErrorInformationObject",
    "Money",
    "ParticipantsPost",
    "ParticipantsPut",
    "PartiesPut",
    "Party",
    "PartyIdInfo",
    "QuotesPost",
    "QuotesPut",
    "TransfersPatch",
    "TransfersPost",
    "TransfersPut",
]

CORRELATION_ID = (
    r"^(?:[0-9a-f]{8}-[0-9a-f]{4}-[1-7][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|[0-9A-HJKMNP-TV-Z]{26})\Z"
)
"""A lower-case UUID of version 1 to 7, or a ULID."""

CorrelationId = Annotated[str, Meta(pattern=CORRELATION_ID)]
Amount = Annotated[str, Meta(pattern=r"^(?:0|[1-9][0-9]{0,17})(?:[.][0-9]{0,3}[1-9])?\Z")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
DateTime = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:"
        r"[0-5][0-9]\.[0-9]{3}(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])\Z"
    ),
]
Hash = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
IlpPacket = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+={0,2}\Z", max_length=32768)]
FspId = Annotated[str, Meta(min_length=1, max_length=32)]
Text32 = Annotated[str, Meta(min_length=1, max_length=32)]
Text128 = Annotated[str, Meta(min_length=1, max_length=128)]
Text2048 = Annotated[str, Meta(min_length=1, max_length=2048)]
PartyIdType = Literal[
    "MSISDN",
    "EMAIL",
    "PERSONAL_ID",
    "BUSINESS",
    "DEVICE",
    "ACCOUNT_ID",
    "IBAN",
    "ALIAS",
    "CONSENT",
    "THIRD_PARTY_LINK",
]
TransferState = Literal["RECEIVED", "RESERVED", "COMMITTED", "ABORTED", "SETTLED"]


class Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, gc=False):
    """Base of all bodies; a subclass repeats `frozen` and `kw_only` for type checkers."""


class Extension(Body, frozen=True, kw_only=True):
    """One pair of an extension list."""

    key: Text32
    value: Text128


class ExtensionList(Body, frozen=True, kw_only=True):
    """Up to sixteen pairs."""

    extension: Annotated[tuple[Extension, ...], Meta(min_length=1, max_length=16)]


class Money(Body, frozen=True, kw_only=True):
    """An amount with its currency."""

    currency: Currency
    amount: Amount


class PartyIdInfo(Body, frozen=True, kw_only=True):
    """How a party is addressed, and where it banks."""

    party_id_type: PartyIdType
    party_identifier: Text128
    party_sub_id_or_type: Text128 | None = None
    fsp_id: FspId | None = None
    extension_list: ExtensionList | None = None


class PartyComplexName(Body, frozen=True, kw_only=True):
    """A person's name in parts."""

    first_name: Text128 | None = None
    middle_name: Text128 | None = None
    last_name: Text128 | None = None


class PartyPersonalInfo(Body, frozen=True, kw_only=True):
    """What is known of a person."""

    complex_name: PartyComplexName | None = None
    date_of_birth: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")] | None = None
    kyc_information: Text2048 | None = None


class Party(Body, frozen=True, kw_only=True):
    """A payer or a payee."""

    party_id_info: PartyIdInfo
    merchant_classification_code: Annotated[str, Meta(pattern=r"^[0-9]{1,4}\Z")] | None = None
    name: Text128 | None = None
    personal_info: PartyPersonalInfo | None = None
    supported_currencies: Annotated[tuple[Currency, ...], Meta(min_length=1, max_length=16)] | None = None


class RefundInfo(Body, frozen=True, kw_only=True):
    """Which transaction is paid back."""

    original_transaction_id: CorrelationId
    refund_reason: Text128 | None = None


class TransactionType(Body, frozen=True, kw_only=True):
    """What kind of payment this is."""

    scenario: Literal["DEPOSIT", "WITHDRAWAL", "TRANSFER", "PAYMENT", "REFUND"]
    initiator: Literal["PAYER", "PAYEE"]
    initiator_type: Literal["CONSUMER", "AGENT", "BUSINESS", "DEVICE"]
    sub_scenario: Annotated[str, Meta(pattern=r"^[A-Z_]{1,32}\Z")] | None = None
    refund_info: RefundInfo | None = None
    balance_of_payments: Annotated[str, Meta(pattern=r"^[1-9][0-9]{2}\Z")] | None = None


class GeoCode(Body, frozen=True, kw_only=True):
    """A place on earth, decimal degrees."""

    latitude: Annotated[str, Meta(pattern=r"^[+-]?[0-9]{1,2}(?:\.[0-9]{1,6})?\Z")]
    longitude: Annotated[str, Meta(pattern=r"^[+-]?[0-9]{1,3}(?:\.[0-9]{1,6})?\Z")]


class CurrencyConversion(Body, frozen=True, kw_only=True):
    """What a quote in two currencies converts."""

    source_amount: Money
    target_amount: Money


class QuotesPost(Body, frozen=True, kw_only=True):
    """POST /quotes."""

    quote_id: CorrelationId
    transaction_id: CorrelationId
    payee: Party
    payer: Party
    amount_type: Literal["SEND", "RECEIVE"]
    amount: Money
    transaction_type: TransactionType
    transaction_request_id: CorrelationId | None = None
    fees: Money | None = None
    geo_code: GeoCode | None = None
    note: Text128 | None = None
    expiration: DateTime | None = None
    extension_list: ExtensionList | None = None
    converter: Literal["PAYER", "PAYEE"] | None = None
    currency_conversion: CurrencyConversion | None = None


class QuotesPut(Body, frozen=True, kw_only=True):
    """PUT /quotes/{id}."""

    transfer_amount: Money
    expiration: DateTime
    ilp_packet: IlpPacket
    condition: Hash
    payee_receive_amount: Money | None = None
    payee_fsp_fee: Money | None = None
    payee_fsp_commission: Money | None = None
    geo_code: GeoCode | None = None
    note: Text128 | None = None
    extension_list: ExtensionList | None = None


class TransfersPost(Body, frozen=True, kw_only=True):
    """POST /transfers."""

    transfer_id: CorrelationId
    payer_fsp: FspId
    payee_fsp: FspId
    amount: Money
    ilp_packet: IlpPacket
    condition: Hash
    expiration: DateTime
    extension_list: ExtensionList | None = None


class TransfersPut(Body, frozen=True, kw_only=True):
    """PUT /transfers/{id}."""

    transfer_state: TransferState
    fulfilment: Hash | None = None
    completed_timestamp: DateTime | None = None
    extension_list: ExtensionList | None = None


class TransfersPatch(Body, frozen=True, kw_only=True):
    """PATCH /transfers/{id}."""

    transfer_state: TransferState
    completed_timestamp: DateTime
    extension_list: ExtensionList | None = None


class PartiesPut(Body, frozen=True, kw_only=True):
    """PUT /parties/{type}/{id}."""

    party: Party


class ParticipantsPost(Body, frozen=True, kw_only=True):
    """POST /participants/{type}/{id}."""

    fsp_id: FspId
    currency: Currency | None = None


class ErrorInformation(Body, frozen=True, kw_only=True):
    """What went wrong."""

    error_code: Annotated[str, Meta(pattern=r"^[1-9][0-9]{3}\Z")]
    error_description: Text128
    extension_list: ExtensionList | None = None


class ErrorInformationObject(Body, frozen=True, kw_only=True):
    """PUT .../error."""

    error_information: ErrorInformation


class PartyResult(Body, frozen=True, kw_only=True):
    """What became of one party: the party itself, or, for a list of them, its id with or without an error."""

    party_id: PartyIdInfo | None = None
    error_information: ErrorInformation | None = None
    party_id_type: PartyIdType | None = None
    party_identifier: Text128 | None = None
    party_sub_id_or_type: Text128 | None = None
    fsp_id: FspId | None = None


class ParticipantsPut(Body, frozen=True, kw_only=True):
    """PUT /participants/{type}/{id} or /participants/{request id}."""

    fsp_id: FspId | None = None
    party_list: tuple[PartyResult, ...] | None = None
    currency: Currency | None = None
