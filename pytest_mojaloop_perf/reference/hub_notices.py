"""What DFSPs are told of a transfer, in which order, and in whose name."""

from __future__ import annotations

import msgspec

from pytest_mojaloop_perf.reference.forwarding import Courier
from pytest_mojaloop_perf.reference.hub_inbound import Inbound
from pytest_mojaloop_perf.reference.hub_metrics import HubMetrics
from pytest_mojaloop_perf.reference.ledger import Transfer

__all__ = ["Notices"]

_TOPIC = "topic-notification-event"
_PUT = "TRANSFER_PUT"
_ERROR = "TRANSFER_ERROR"


class Notices:
    """Sends the callbacks of transfers; each public method is one notification of Mojaloop's topic."""

    def __init__(self, courier: Courier, metrics: HubMetrics) -> None:
        self._courier = courier
        self._messages = metrics.messages

    async def passed_on(self, inbound: Inbound, to: str, endpoint: str) -> None:
        """Pass a prepare on to the payee."""
        self._messages[_TOPIC] += 1
        await self._courier.forward(inbound, to, endpoint)

    async def payees_word(self, inbound: Inbound, transfer: Transfer) -> None:
        """Pass the payee's final word on to the payer, then confirm it to the payee with the same body."""
        self._messages[_TOPIC] += 1
        endpoint = _ERROR if inbound.is_error else _PUT
        await self._courier.forward(inbound, transfer.payer, endpoint, payer_waits=True)
        body = msgspec.json.decode(inbound.body)
        await self._courier.tell(
            "PUT", "transfers", (transfer.transfer_id,), body, to=transfer.payee, endpoint=endpoint
        )

    async def committed_by_hub(self, transfer: Transfer) -> None:
        """Tell the payer, then the payee, that a transfer is committed whose payee had said RESERVED."""
        self._messages[_TOPIC] += 1
        await self._tell_state(transfer, transfer.payer, payer_waits=True)
        await self.last_word(transfer, "COMMITTED")

    async def last_word(self, transfer: Transfer, state: str) -> None:
        """Tell a payee that had said RESERVED how the transfer ended."""
        body = {"transferState": state, "completedTimestamp": transfer.ended()}
        await self._courier.tell(
            "PATCH", "transfers", (transfer.transfer_id,), body, to=transfer.payee, endpoint=_PUT
        )

    async def state(self, transfer: Transfer, to: str, *, payer_waits: bool) -> None:
        """Tell one side the state of a transfer (of a repeated message, or when asked)."""
        self._messages[_TOPIC] += 1
        await self._tell_state(transfer, to, payer_waits=payer_waits)

    async def error(
        self, transfer_id: str, code: str, description: str, to: str, *, payer_waits: bool
    ) -> None:
        """Send an error callback to the sender of a message that is refused."""
        self._messages[_TOPIC] += 1
        await self._tell_error(transfer_id, code, description, to, payer_waits=payer_waits)

    async def errors_to_both(self, transfer: Transfer, code: str, description: str) -> None:
        """Tell the payer, then the payee, that a transfer was aborted."""
        self._messages[_TOPIC] += 1
        await self._tell_error(transfer.transfer_id, code, description, transfer.payer, payer_waits=True)
        await self._tell_error(transfer.transfer_id, code, description, transfer.payee, payer_waits=False)

    async def _tell_state(self, transfer: Transfer, to: str, *, payer_waits: bool) -> None:
        body = {"transferState": transfer.told_state}
        if transfer.completed is not None:
            body["completedTimestamp"] = transfer.completed
        if transfer.fulfilment is not None:
            body["fulfilment"] = transfer.fulfilment
        await self._courier.tell(
            "PUT", "transfers", (transfer.transfer_id,), body, to=to, endpoint=_PUT, payer_waits=payer_waits
        )

    async def _tell_error(
        self, transfer_id: str, code: str, description: str, to: str, *, payer_waits: bool
    ) -> None:
        await self._courier.tell_error(
            "transfers", (transfer_id,), code, description, to=to, endpoint=_ERROR, payer_waits=payer_waits
        )
