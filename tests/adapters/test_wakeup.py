"""Bells: whom they wake, and whom they have forgotten."""

from __future__ import annotations

import trio

from roundel_adapters.wakeup import Bell


class Sleeper:
    """Counts how often it is woken."""

    def __init__(self):
        self.woken = 0

    def wake(self):
        self.woken += 1


async def test_ring_wakes_all_who_wait_at_that_moment(autojump_clock, nursery):
    """It is remembered for nobody who comes later."""
    bell, woken = Bell(), []

    async def wait(name):
        await bell.wait()
        woken.append(name)

    bell.ring()
    nursery.start_soon(wait, "a")
    nursery.start_soon(wait, "b")
    await trio.testing.wait_all_tasks_blocked()
    assert [] == woken
    bell.ring()
    nursery.start_soon(wait, "c")
    await trio.testing.wait_all_tasks_blocked()

    assert ["a", "b"] == sorted(woken)
    bell.ring()


def test_sleeper_is_woken_at_every_ring_until_it_is_detached():
    """No task is needed for it."""
    bell, one, two = Bell(), Sleeper(), Sleeper()
    bell.attach(one)
    bell.attach(two)
    bell.attach(two)
    bell.ring()
    bell.detach(one)
    bell.ring()

    assert (1, 2) == (one.woken, two.woken)


def test_sleeper_that_is_detached_twice_is_not_missed():
    """However many ends a stream has, it leaves its bell once."""
    bell, sleeper = Bell(), Sleeper()
    bell.detach(sleeper)
    bell.attach(sleeper)
    bell.detach(sleeper)
    bell.detach(sleeper)
    bell.ring()

    assert 0 == sleeper.woken


async def test_tasks_and_sleepers_share_a_bell(autojump_clock, nursery):
    """A ring is for both."""
    bell, sleeper = Bell(), Sleeper()
    bell.attach(sleeper)
    nursery.start_soon(bell.wait)
    await trio.testing.wait_all_tasks_blocked()
    bell.ring()

    assert 1 == sleeper.woken
