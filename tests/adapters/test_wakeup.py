"""Bells: whom they wake, and whom they have forgotten."""

from __future__ import annotations

import trio

from roundel_adapters.wakeup import Wakeup


class Sleeper:
    """Counts how often it is woken."""

    def __init__(self):
        self.woken = 0

    def wake(self):
        self.woken += 1


async def test_ring_wakes_all_who_wait_at_that_moment(autojump_clock, nursery):
    """It is remembered for nobody who comes later."""
    bell, woken = Wakeup(), []

    async def wait(name):
        await bell.wait()
        woken.append(name)

    bell.notify()
    nursery.start_soon(wait, "a")
    nursery.start_soon(wait, "b")
    await trio.testing.wait_all_tasks_blocked()
    assert [] == woken
    bell.notify()
    nursery.start_soon(wait, "c")
    await trio.testing.wait_all_tasks_blocked()

    assert ["a", "b"] == sorted(woken)
    bell.notify()


def test_sleeper_is_woken_at_every_ring_until_it_is_detached():
    """No task is needed for it."""
    bell, one, two = Wakeup(), Sleeper(), Sleeper()
    bell.add_waker(one)
    bell.add_waker(two)
    bell.add_waker(two)
    bell.notify()
    bell.remove_waker(one)
    bell.notify()

    assert (1, 2) == (one.woken, two.woken)


def test_sleeper_that_is_detached_twice_is_not_missed():
    """However many ends a stream has, it leaves its bell once."""
    bell, sleeper = Wakeup(), Sleeper()
    bell.remove_waker(sleeper)
    bell.add_waker(sleeper)
    bell.remove_waker(sleeper)
    bell.remove_waker(sleeper)
    bell.notify()

    assert 0 == sleeper.woken


async def test_tasks_and_sleepers_share_a_bell(autojump_clock, nursery):
    """A ring is for both."""
    bell, sleeper = Wakeup(), Sleeper()
    bell.add_waker(sleeper)
    nursery.start_soon(bell.wait)
    await trio.testing.wait_all_tasks_blocked()
    bell.notify()

    assert 1 == sleeper.woken
