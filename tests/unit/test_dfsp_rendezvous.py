"""Callers and callbacks meet by key, whatever the order of events."""

from __future__ import annotations

import asyncio

import pytest

from pytest_mojaloop_perf.reference.dfsp_sender import RefusedError
from pytest_mojaloop_perf.reference.rendezvous import Callback, CallbackTimeoutError, Rendezvous

CALLBACK = Callback(b"{}", {})
KEY = "parties/MSISDN/1"


def test_all_who_wait_are_released_by_one_callback() -> None:
    async def main() -> None:
        rendezvous = Rendezvous(timeout_s=5)
        waiters = [rendezvous.join(KEY) for _ in range(3)]
        other = rendezvous.join("parties/MSISDN/2")
        assert [waiter.leads for waiter in waiters] == [True, False, False]
        assert other.leads
        assert len(rendezvous) == 4
        assert rendezvous.resolve(KEY, CALLBACK)
        assert [await waiter.future for waiter in waiters] == [CALLBACK] * 3
        assert not other.future.done()
        for waiter in (*waiters, other):
            rendezvous.leave(waiter)
        assert len(rendezvous) == 0
        assert not rendezvous.resolve(KEY, CALLBACK)

    asyncio.run(main())


@pytest.mark.parametrize("end", ["resolve", "fail"])
def test_who_comes_after_the_end_sends_anew(end: str) -> None:
    async def main() -> None:
        rendezvous = Rendezvous(timeout_s=5)
        first = rendezvous.join(KEY)
        if end == "resolve":
            rendezvous.resolve(KEY, CALLBACK)
        else:
            rendezvous.fail(KEY, RefusedError("no"))
        # The first caller has not run yet, so it has not left.
        second = rendezvous.join(KEY)
        assert second.leads
        rendezvous.leave(first)
        assert len(rendezvous) == 1
        rendezvous.resolve(KEY, CALLBACK)
        assert await second.future == CALLBACK
        rendezvous.leave(second)

    asyncio.run(main())


def test_a_refused_request_fails_all_who_share_it() -> None:
    async def main() -> None:
        rendezvous = Rendezvous(timeout_s=5)
        waiters = [rendezvous.join(KEY) for _ in range(2)]
        rendezvous.fail(KEY, RefusedError("unreachable"))
        for waiter in waiters:
            with pytest.raises(RefusedError, match="unreachable"):
                await waiter.future
            rendezvous.leave(waiter)

    asyncio.run(main())


def test_no_callback_in_time() -> None:
    async def main() -> None:
        rendezvous = Rendezvous(timeout_s=0.02)
        waiter = rendezvous.join(KEY)
        with pytest.raises(CallbackTimeoutError, match="Timeout"):
            await waiter.future
        # A late callback finds nobody who could take it.
        rendezvous.resolve(KEY, CALLBACK)
        rendezvous.leave(waiter)
        assert len(rendezvous) == 0

    asyncio.run(main())


def test_a_request_that_may_be_lost_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        rendezvous = Rendezvous(timeout_s=30)
        first = rendezvous.join(KEY)
        loop = asyncio.get_running_loop()
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now + 2)
        second = rendezvous.join(KEY)
        assert (first.leads, second.leads) == (True, True)
        rendezvous.resolve(KEY, CALLBACK)
        assert await first.future == await second.future == CALLBACK
        monkeypatch.undo()
        for waiter in (first, second):
            rendezvous.leave(waiter)

    asyncio.run(main())
