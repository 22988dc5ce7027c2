"""The event loop that runs here, of trio and of asyncio."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import aclosing

import pytest
import trio

from roundel import Event
from roundel_adapters.driver import iter_chunks
from roundel_adapters.event_loop import current_event_loop
from roundel_adapters.topics import Topics
from roundel_adapters.wakeup import Wakeup

RUN = {"asyncio": lambda main: asyncio.run(main()), "trio": trio.run}
both_loops = pytest.mark.parametrize("run", RUN.values(), ids=RUN.keys())


async def current():
    return current_event_loop()


def test_no_loop():
    """A thread without an event loop has none."""
    assert current_event_loop() is None


@both_loops
def test_loop_is_current_only_where_it_runs(run):
    """A loop is current in its own tasks, and neither in threads nor afterwards."""

    async def main():
        loop = current_event_loop()
        in_thread = []
        thread = threading.Thread(target=lambda: in_thread.append(loop.is_current()))
        thread.start()
        thread.join()
        return loop, loop.is_current(), in_thread

    loop, in_task, in_thread = run(main)

    assert (True, [False], False) == (in_task, in_thread, loop.is_current())
    assert not run(lambda: is_current(loop))


async def is_current(loop):
    return loop.is_current()


@both_loops
def test_call_of_an_ended_loop(run):
    """A call into a loop that has ended does nothing."""
    calls = []
    run(current).call_soon(lambda: calls.append("called"))

    assert [] == calls


@both_loops
def test_wakeup_of_an_ended_loop(run):
    """A waker that outlives its loop harms neither the caller nor other wakers."""
    wakeup = Wakeup()
    keep = []

    async def main():
        block = wakeup.task_waker()
        block.__enter__()
        keep.append(block)

    run(main)
    wakeup.notify()
    thread = threading.Thread(target=wakeup.notify)
    thread.start()
    thread.join()

    assert 1 == len(wakeup.wakers)


@both_loops
def test_wake_before_the_sleep(run):
    """A wake that comes before the sleep ends the sleep, once."""
    wakeup = Wakeup()

    async def main():
        with wakeup.task_waker() as waker:
            wakeup.notify()
            wakeup.notify()
            await waker.sleep()
            start = waker.time()
            await waker.sleep(start + 0.01)
            return waker.time() - start

    assert run(main) >= 0.009
    assert set() == wakeup.wakers


@both_loops
@pytest.mark.parametrize("until", [float("-inf"), 0.0])
def test_sleep_until_the_past(run, until):
    """A sleep until the past ends at once."""
    wakeup = Wakeup()

    async def main():
        with wakeup.task_waker() as waker:
            await waker.sleep(until)

    run(main)


@both_loops
def test_wake_from_threads(run):
    """Each wake of another thread ends a sleep; several at once count as one."""
    wakeup = Wakeup()

    async def main():
        with wakeup.task_waker() as waker:
            for _ in range(20):
                threads = [threading.Thread(target=wakeup.notify) for _ in range(3)]
                for thread in threads:
                    thread.start()
                await waker.sleep()
                for thread in threads:
                    thread.join()

    run(main)


def test_task_waker_without_a_loop():
    """A waker of a task needs an event loop."""
    with pytest.raises(RuntimeError, match="running event loop"):
        Wakeup().task_waker().__enter__()


def test_thread_sleeps_for_ever():
    """A thread can sleep without a limit, and a wake ends its sleep."""
    wakeup, woken = Wakeup(), threading.Event()
    sleeping = threading.Event()

    def sleep():
        with wakeup.thread_waker() as waker:
            sleeping.set()
            waker.sleep(float("inf"))
            waker.sleep(float("-inf"))
            waker.sleep(waker.time() + 0.001)
        woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    assert sleeping.wait(timeout=10.0)
    wakeup.notify()
    thread.join(timeout=10.0)

    assert woken.is_set()
    assert set() == wakeup.wakers


def test_one_timer_for_many_sleeps(monkeypatch):
    """On asyncio a task that is woken before its deadlines sets one timer in all.

    Its last sleep ends at its own deadline, and not when the timer fires.
    """

    async def main():
        loop, timers = asyncio.get_running_loop(), []
        call_at = loop.call_at

        def counted(when, callback, *args):
            timers.append(call_at(when, callback, *args))
            return timers[-1]

        monkeypatch.setattr(loop, "call_at", counted)
        with Wakeup().task_waker() as waker:
            start = waker.time()
            for number in range(100):
                loop.call_soon(waker.wake)
                await waker.sleep(start + 60.0 + number)
            before = len(timers)
            loop.call_soon(waker.wake)
            await waker.sleep(start + 0.01)
            await waker.sleep(start + 0.05)
            slept = waker.time() - start
            loop.call_soon(waker.wake)
            await waker.sleep(start + 60.0)
        return before, slept, timers[-1]

    before, slept, last = asyncio.run(main())

    assert 1 == before
    assert slept >= 0.049
    assert last.cancelled()


def test_events_in_a_row_are_one_chunk():
    """On asyncio two events, of two turns of the loop in a row, are one chunk."""

    async def main():
        topics, chunks = Topics(signals=False), []
        stream = topics.stream("a")
        async with aclosing(iter_chunks(stream)) as reading:
            await anext(reading)
            next_chunk = asyncio.ensure_future(anext(reading))
            await asyncio.sleep(0)
            topics.publish("a", Event("one"))
            await asyncio.sleep(0)
            topics.publish("a", Event("two"))
            chunks.append(await next_chunk)
        return chunks

    [chunk] = asyncio.run(main())

    assert [b"one", b"two"] == re.findall(rb"data: (\w+)", chunk)
