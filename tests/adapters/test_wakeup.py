"""Wakeups of tasks and of wakers."""

from __future__ import annotations

import sys
import threading
from math import inf

import trio

from roundel_adapters.wakeup import Wakeup


class CountingWaker:
    """A waker that counts its calls."""

    def __init__(self):
        self.woken = 0

    def wake(self):
        self.woken += 1


async def test_notify_wakes_waiting_tasks(autojump_clock, nursery):
    """`notify()` wakes the tasks that wait now, and no later one."""
    wakeup, woken = Wakeup(), []

    async def wait(name):
        await wakeup.wait()
        woken.append(name)

    wakeup.notify()
    nursery.start_soon(wait, "a")
    nursery.start_soon(wait, "b")
    await trio.testing.wait_all_tasks_blocked()
    assert [] == woken
    wakeup.notify()
    nursery.start_soon(wait, "c")
    await trio.testing.wait_all_tasks_blocked()

    assert ["a", "b"] == sorted(woken)
    wakeup.notify()


def test_waker_is_called_until_it_is_removed():
    """A waker is called at each `notify()` until it is removed."""
    wakeup, one, two = Wakeup(), CountingWaker(), CountingWaker()
    wakeup.wakers.add(one)
    wakeup.wakers.add(two)
    wakeup.wakers.add(two)
    wakeup.notify()
    wakeup.wakers.discard(one)
    wakeup.notify()

    assert (1, 2) == (one.woken, two.woken)


async def test_tasks_and_wakers(autojump_clock, nursery):
    """`notify()` wakes tasks and wakers."""
    wakeup, waker = Wakeup(), CountingWaker()
    wakeup.wakers.add(waker)
    nursery.start_soon(wakeup.wait)
    await trio.testing.wait_all_tasks_blocked()
    wakeup.notify()

    assert 1 == waker.woken


def test_notify_at_any_place_of_a_sleep():
    """A signal handler or a finalizer may notify the thread that it interrupts."""
    wakeup = Wakeup()

    def sleep():
        with wakeup.thread_waker() as waker:
            # Called at each call and return of the thread, as a finalizer can be.
            sys.setprofile(lambda *event: wakeup.notify())
            waker.sleep()
            waker.wake()
            waker.sleep()
            sys.setprofile(None)

    thread = threading.Thread(target=sleep, daemon=True)
    thread.start()
    thread.join(10)

    assert not thread.is_alive()


def test_sleep_of_a_thread():
    """A thread sleeps until a time, also one that has passed or `inf`."""
    wakeup = Wakeup()
    with wakeup.thread_waker() as waker:
        start = waker.time()
        for until in (-inf, 0.0, start, start + 0.01):
            waker.sleep(until)
        assert start + 0.01 <= waker.time()
        for _ in range(3):
            wakeup.notify()
        waker.sleep(inf)  # The wakes before the sleep count as one.
        before = waker.time()
        waker.sleep(before + 0.01)

        assert before + 0.01 <= waker.time()
