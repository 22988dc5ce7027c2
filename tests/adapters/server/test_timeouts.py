"""Patience: deadlines that are put off, in virtual time."""

from __future__ import annotations

from functools import partial
from math import inf

import pytest
import trio

from roundel_adapters.server.timeouts import IdleTimeout, TimeoutQueue


@pytest.fixture
async def watchman(nursery):
    """Have somebody look after all, until the end of the test."""
    made = TimeoutQueue()
    nursery.start_soon(made.run)
    return made


async def waited(patience: IdleTimeout) -> float:
    """Return the time at which *patience* has ended."""
    with patience.scope:
        await trio.sleep_forever()
    return trio.current_time()


async def at(time: float) -> None:
    await trio.sleep_until(time)


async def test_what_waits_for_too_long_is_ended(autojump_clock, watchman):
    """A scope ends at its time, and not before."""
    patience = IdleTimeout(watchman)
    patience.reset(10)

    assert 10 == await waited(patience)


async def test_time_can_be_put_off_and_brought_forward(
    autojump_clock, watchman, nursery
):
    """The last word counts, whenever the one before would have been over."""
    ended = []

    async def run() -> None:
        ended.append(await waited(patience))

    patience = IdleTimeout(watchman)
    nursery.start_soon(run)
    patience.reset(10)
    await at(9)
    patience.reset(75)
    await at(50)
    patience.reset(inf)
    await at(200)
    patience.reset(75)
    await at(210)
    patience.reset(10)
    await at(219.9)
    assert [] == ended
    await at(300)

    assert [220] == ended


async def test_each_has_a_time_of_its_own(autojump_clock, watchman, nursery):
    """Whoever comes first, and however many there are at one time."""
    ended = {}

    async def run(name: int, seconds: float) -> None:
        patience = IdleTimeout(watchman)
        patience.reset(seconds)
        ended[name] = await waited(patience)

    for name, seconds in enumerate([30, 10, 20, 10, 0]):
        nursery.start_soon(run, name, seconds)
    await at(40)

    assert {0: 30, 1: 10, 2: 20, 3: 10, 4: 0} == ended


async def test_another_scope_has_the_time_that_is_left(autojump_clock, watchman):
    """What goes on with a connection has no more time than what has begun it."""
    patience = IdleTimeout(watchman)
    patience.reset(10)
    with patience.scope:
        await at(7)
    patience.rearm()

    assert 10 == await waited(patience)


async def test_time_without_end_is_looked_at_once(autojump_clock, watchman):
    """A connection that has ended is not held for as long as it might have waited."""
    patience = IdleTimeout(watchman)
    patience.reset(10)
    patience.reset(inf)
    with trio.move_on_after(1_000) as long:
        await waited(patience)

    assert long.cancelled_caught
    patience.rearm()
    patience.reset(10)
    assert 1_010 == await waited(patience)


async def test_put_off_ten_thousand_times_is_looked_at_as_often_as_once(
    autojump_clock, watchman
):
    """It costs an assignment, and neither memory nor a wake-up."""
    patience = IdleTimeout(watchman)
    for _ in range(10_000):
        patience.reset(75)

    assert 1 == len(watchman._rounds)


async def test_what_is_to_be_done_at_the_end_can_be_anything(autojump_clock, watchman):
    """Once it is stopped nothing is done, though it is looked at in its time."""
    ended = []
    patience = [IdleTimeout(watchman, partial(ended.append, name)) for name in "abc"]
    for each in patience:
        each.reset(10)
    patience[1].stop()
    await at(20)

    assert ["a", "c"] == ended
