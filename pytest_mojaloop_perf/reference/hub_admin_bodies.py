"""Bodies of the admin API, as types."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from pytest_mojaloop_perf.fspiop.bodies import Body, CorrelationId, Currency, FspId, Money, PartyIdInfo

__all__ = [
    "Active",
    "Endpoint",
    "FundsAction",
    "FundsEnd",
    "HubAccount",
    "InitialPosition",
    "LimitChange",
    "NewParticipant",
    "Oracle",
    "OracleBatch",
    "OracleParty",
    "SettlementModel",
]

ParticipantName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{2,30}\Z")]


class HubAccount(Body, frozen=True, kw_only=True):
    """POST /participants/Hub/accounts."""

    type: str
    currency: Currency


class NewParticipant(Body, frozen=True, kw_only=True):
    """POST /participants."""

    name: ParticipantName
    currency: Currency
    is_proxy: bool = False


class Limit(Body, frozen=True, kw_only=True):
    """A net debit cap."""

    type: Literal["NET_DEBIT_CAP"]
    value: Decimal
    alarm_percentage: float | None = None


class InitialPosition(Body, frozen=True, kw_only=True):
    """POST /participants/{name}/initialPositionAndLimits."""

    currency: Currency
    limit: Limit
    initial_position: Decimal = Decimal(0)


class LimitChange(Body, frozen=True, kw_only=True):
    """PUT /participants/{name}/limits."""

    currency: Currency
    limit: Limit


class Endpoint(Body, frozen=True, kw_only=True):
    """POST /participants/{name}/endpoints."""

    type: Annotated[str, Meta(pattern=r"^[A-Z0-9_]{3,80}\Z")]
    value: Annotated[str, Meta(min_length=1, max_length=512)]


class Active(Body, frozen=True, kw_only=True):
    """PUT /participants/{name} and PUT /participants/{name}/accounts/{id}."""

    is_active: bool


class FundsAction(Body, frozen=True, kw_only=True):
    """POST /participants/{name}/accounts/{id}."""

    transfer_id: CorrelationId
    action: Literal["recordFundsIn", "recordFundsOutPrepareReserve"]
    amount: Money
    reason: str
    external_reference: str | None = None
    extension_list: Any | UnsetType = UNSET


class FundsEnd(Body, frozen=True, kw_only=True):
    """PUT /participants/{name}/accounts/{id}/transfers/{transferId}."""

    action: Literal["recordFundsOutCommit", "recordFundsOutAbort"]
    reason: str | None = None


class SettlementModel(Body, frozen=True, kw_only=True):
    """POST /settlementModels."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{2,30}\Z")]
    settlement_granularity: Literal["GROSS", "NET"]
    settlement_interchange: Literal["BILATERAL", "MULTILATERAL"]
    settlement_delay: Literal["IMMEDIATE", "DEFERRED"]
    require_liquidity_check: bool
    ledger_account_type: str
    settlement_account_type: str
    auto_position_reset: bool = False
    currency: Currency | None = None
    is_active: bool = True


class OracleEndpoint(Body, frozen=True, kw_only=True):
    """Where an oracle answers."""

    value: Annotated[str, Meta(min_length=1, max_length=512)]
    endpoint_type: Literal["URL"]


class Oracle(Body, frozen=True, kw_only=True):
    """POST /oracles."""

    oracle_id_type: Annotated[str, Meta(pattern=r"^[A-Z_]{2,32}\Z")]
    endpoint: OracleEndpoint
    currency: Currency | None = None
    is_default: bool = False


class OracleParty(Body, frozen=True, kw_only=True):
    """POST /oracle/participants/{Type}/{ID}."""

    fsp_id: FspId
    currency: Currency | None = None


class OracleBatch(Body, frozen=True, kw_only=True):
    """POST /oracle/participants."""

    request_id: str
    party_list: Annotated[tuple[PartyIdInfo, ...], Meta(min_length=1, max_length=10_000)]
    currency: Currency | None = None
