"""Where a caller waits for the callback that belongs to its request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

__all__ = ["Callback", "CallbackTimeoutError", "Rendezvous", "Waiter"]

_SHARE_S = 1.0
"""How long a request that is under way is shared: a later one is sent anew, as its twin may be lost."""


class Callback(msgspec.Struct, frozen=True):
    """A callback as it came in: its JSON text and headers; `error` when it came to an `/error` path."""

    body: bytes
    headers: Mapping[str, str]
    error: bool = False


class CallbackTimeoutError(Exception):
    """No callback came in time."""


class Waiter:
    """One caller. `leads` says that it has to send the request; others share the leader's."""

    __slots__ = ("future", "key", "leads", "timer")

    def __init__(
        self, key: str, *, leads: bool, future: asyncio.Future[Callback], timer: asyncio.TimerHandle
    ) -> None:
        self.key = key
        self.leads = leads
        self.future = future
        self.timer = timer


class Rendezvous:
    """Callers and callbacks meet by key; all callers of one key are released by one callback."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._waiters: dict[str, list[Waiter]] = {}
        self._sent_at: dict[str, float] = {}

    def __len__(self) -> int:
        """Return how many callers wait."""
        return sum(len(waiters) for waiters in self._waiters.values())

    def join(self, key: str) -> Waiter:
        """Return a new waiter, whose `future` ends in the callback or in CallbackTimeoutError.

        Whoever joins must call `leave`, whatever happens.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiters = self._waiters.setdefault(key, [])
        # A waiter that has its callback may still be here: what it was told does not release the next one.
        leads = all(other.future.done() for other in waiters) or now - self._sent_at[key] > _SHARE_S
        if leads:
            self._sent_at[key] = now
        future: asyncio.Future[Callback] = loop.create_future()
        timer = loop.call_later(self._timeout_s, _expire, future)
        waiter = Waiter(key, leads=leads, future=future, timer=timer)
        waiters.append(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Forget a waiter."""
        waiter.timer.cancel()
        if not waiter.future.cancel() and not waiter.future.cancelled():
            waiter.future.exception()  # else asyncio complains of an error that nobody fetched
        waiters = self._waiters.get(waiter.key)
        if waiters is None or waiter not in waiters:
            return
        waiters.remove(waiter)
        if not waiters:
            del self._waiters[waiter.key], self._sent_at[waiter.key]

    def resolve(self, key: str, callback: Callback) -> bool:
        """Release all callers of a key; False when nobody waits (any more)."""
        waiters = self._take(key)
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.set_result(callback)
        return bool(waiters)

    def fail(self, key: str, error: Exception) -> None:
        """Make all callers of a key fail: the request that they share was refused."""
        for waiter in self._take(key):
            if not waiter.future.done():
                waiter.future.set_exception(error)

    def _take(self, key: str) -> list[Waiter]:
        """Take out all callers of a key: who joins after this has to send a request of its own.

        Leaving that to `leave` would let a caller join an exchange that is over, and wait for nothing.
        """
        self._sent_at.pop(key, None)
        return self._waiters.pop(key, [])


def _expire(future: asyncio.Future[Callback]) -> None:
    if not future.done():
        future.set_exception(CallbackTimeoutError("Timeout"))
