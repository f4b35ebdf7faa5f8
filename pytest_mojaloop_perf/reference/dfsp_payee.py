"""The payee side of a DFSP: who the parties are, what a quote says, when a transfer is fulfilled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from pytest_mojaloop_perf.fspiop.bodies import QuotesPost, TransfersPost
from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.codes import (
    INTERNAL_SERVER,
    PARTY_NOT_FOUND,
    TRANSFER_ID_NOT_FOUND,
    VALIDATION,
    FspiopError,
)
from pytest_mojaloop_perf.fspiop.ilp import Ilp, IlpError
from pytest_mojaloop_perf.model import Dfsp
from pytest_mojaloop_perf.reference.dfsp_book import Quotes, Transfers, TransferView

__all__ = ["Payee", "timestamp"]

_QUOTE_GRACE_S = 60.0
"""How long after its expiry a quote is still known: a late transfer is the hub's to refuse."""


class Payee:
    """Makes the bodies of callbacks; every error is an FspiopError, to be sent as an error callback."""

    def __init__(self, dfsp: Dfsp, ilp: Ilp, transfers: Transfers, *, expiry_s: float) -> None:
        self._fsp_id = dfsp.fsp_id
        self._currency = dfsp.currency
        self._msisdns = frozenset(dfsp.msisdns())
        self._ilp = ilp
        self._expiry_s = expiry_s
        self._transfers = transfers
        self.quotes = Quotes(keep_s=expiry_s + _QUOTE_GRACE_S)

    def party(self, id_type: str, identifier: str) -> bytes:
        """Return the body of PUT /parties.

        Raises:
            FspiopError: 3204, nobody here has that identifier.
        """
        if id_type != "MSISDN" or identifier not in self._msisdns:
            raise FspiopError(PARTY_NOT_FOUND, f"{self._fsp_id} knows no party {id_type} {identifier}")
        party = {
            "name": f"Holder {identifier}",
            "partyIdInfo": {"fspId": self._fsp_id, "partyIdType": id_type, "partyIdentifier": identifier},
            "personalInfo": {
                "complexName": {"firstName": "Holder", "lastName": identifier},
                "dateOfBirth": "1985-05-05",
            },
            "supportedCurrencies": [self._currency],
        }
        return encode_sorted({"party": party})

    def quote(self, request: QuotesPost, body: bytes) -> bytes:
        """Return the body of PUT /quotes, and keep what the transfer will need.

        Raises:
            FspiopError: 3100, no ILP packet can be made of it.
        """
        response = {
            "transferAmount": {"amount": request.amount.amount, "currency": request.amount.currency},
            "expiration": timestamp(after_s=self._expiry_s),
        }
        try:
            material = self._ilp.material(msgspec.json.decode(body), response)
        except IlpError as error:
            raise FspiopError(VALIDATION, str(error)) from error
        free = {"amount": "0", "currency": request.amount.currency}
        self.quotes.put(request.transaction_id, material)
        return encode_sorted(
            response
            | {
                "condition": material.condition,
                "ilpPacket": material.packet,
                "payeeFspCommission": free,
                "payeeFspFee": free,
            }
        )

    def fulfil(self, request: TransfersPost) -> bytes:
        """Return the body of PUT /transfers.

        Raises:
            FspiopError: 2001, no quote for it, or a condition that is not the quote's.
        """
        material = self.quotes.get(request.transfer_id)
        if material is None:
            raise FspiopError(INTERNAL_SERVER, f"no quote for transfer {request.transfer_id}")
        if request.condition != material.condition:
            raise FspiopError(INTERNAL_SERVER, "condition of the transfer differs from the quote's")
        self._transfers.begin(
            TransferView(
                transfer_id=request.transfer_id,
                role="payee",
                state="FULFILLED",
                amount=request.amount.amount,
                currency=request.amount.currency,
                counterparty=request.payer_fsp,
            )
        )
        return encode_sorted(
            {
                "completedTimestamp": timestamp(),
                "fulfilment": material.fulfilment,
                "transferState": "COMMITTED",
            }
        )

    def transfer_state(self, transfer_id: str) -> bytes:
        """Return the body of PUT /transfers in answer to a GET.

        Raises:
            FspiopError: 3208, unknown.
        """
        view = self._transfers.get(transfer_id)
        if view is None:
            raise FspiopError(TRANSFER_ID_NOT_FOUND, f"{self._fsp_id} knows no transfer {transfer_id}")
        undecided = view.state in {"SENT", "FULFILLED"}
        body: dict[str, str] = {"transferState": "RESERVED" if undecided else view.state}
        material = self.quotes.get(transfer_id)
        if material is not None and view.role == "payee" and view.state == "COMMITTED":
            body["fulfilment"] = material.fulfilment
        return encode_sorted(body)


def timestamp(*, after_s: float = 0.0) -> str:
    """Return now, or a moment after, as the protocol writes it: UTC with milliseconds."""
    moment = datetime.now(UTC) + timedelta(seconds=after_s)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
