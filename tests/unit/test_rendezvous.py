"""Callers and callbacks that meet by key."""

from __future__ import annotations

import asyncio

from pytest_mojaloop_perf.reference.rendezvous import Callback, Rendezvous

CALLBACK = Callback(body=b"{}", headers={})


def test_callers_of_one_key_share_one_request_and_one_callback() -> None:
    async def story() -> None:
        rendezvous = Rendezvous(timeout_s=5)
        first, second = rendezvous.join("k"), rendezvous.join("k")
        assert (first.leads, second.leads) == (True, False)
        assert rendezvous.resolve("k", CALLBACK)
        assert (await first.future, await second.future) == (CALLBACK, CALLBACK)
        for waiter in (first, second):
            rendezvous.leave(waiter)
        assert len(rendezvous) == 0

    asyncio.run(story())


def test_a_caller_that_comes_after_the_callback_sends_a_request_of_its_own() -> None:
    """The callback has come, but the caller before has not been woken yet: it is still in the list."""

    async def story() -> None:
        rendezvous = Rendezvous(timeout_s=5)
        first = rendezvous.join("k")
        rendezvous.resolve("k", CALLBACK)
        late = rendezvous.join("k")
        assert late.leads
        assert not late.future.done()
        rendezvous.leave(first)
        rendezvous.leave(late)

    asyncio.run(story())
