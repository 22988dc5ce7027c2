"""Idle timeouts, in virtual time."""

from __future__ import annotations

from functools import partial
from math import inf

import pytest
import trio

from roundel_adapters.server.timeouts import IdleTimeout, IdleTimeouts


@pytest.fixture
async def timeouts(nursery):
    """Run the timeouts until the end of the test."""
    timeouts = IdleTimeouts()
    nursery.start_soon(timeouts.run)
    return timeouts


async def time_of(idle: IdleTimeout) -> float:
    """Wait until *idle* cancels its scope; return the time."""
    with idle.scope:
        await trio.sleep_forever()
    return trio.current_time()


async def test_scope_is_cancelled_at_the_deadline(autojump_clock, timeouts):
    """A scope is cancelled at its deadline, and not before."""
    timeout = IdleTimeout(timeouts)
    timeout.reset(10)

    assert 10 == await time_of(timeout)


async def test_last_reset_counts(autojump_clock, timeouts, nursery):
    """A reset moves the deadline in both directions."""
    ended = []

    async def run() -> None:
        ended.append(await time_of(timeout))

    timeout = IdleTimeout(timeouts)
    nursery.start_soon(run)
    timeout.reset(10)
    await trio.sleep_until(9)
    timeout.reset(75)
    await trio.sleep_until(50)
    timeout.reset(inf)
    await trio.sleep_until(200)
    timeout.reset(75)
    await trio.sleep_until(210)
    timeout.reset(10)
    await trio.sleep_until(219.9)
    assert [] == ended
    await trio.sleep_until(300)

    assert [220] == ended


async def test_each_timeout_has_its_own_deadline(autojump_clock, timeouts, nursery):
    """Deadlines are met in any order, also where two are equal."""
    ended = {}

    async def run(name: int, seconds: float) -> None:
        timeout = IdleTimeout(timeouts)
        timeout.reset(seconds)
        ended[name] = await time_of(timeout)

    for name, seconds in enumerate([30, 10, 20, 10, 0]):
        nursery.start_soon(run, name, seconds)
    await trio.sleep_until(40)

    assert {0: 30, 1: 10, 2: 20, 3: 10, 4: 0} == ended


async def test_new_scope_keeps_the_deadline(autojump_clock, timeouts):
    """`rearm()` gives the next phase of a connection no additional time."""
    timeout = IdleTimeout(timeouts)
    timeout.reset(10)
    with timeout.scope:
        await trio.sleep_until(7)
    timeout.rearm()

    assert 10 == await time_of(timeout)


async def test_disabled_timeout_can_be_reset(autojump_clock, timeouts):
    """A timeout of infinity never cancels, and a later reset enables it again."""
    timeout = IdleTimeout(timeouts)
    timeout.reset(10)
    timeout.reset(inf)
    with trio.move_on_after(1_000) as long:
        await time_of(timeout)

    assert long.cancelled_caught
    timeout.rearm()
    timeout.reset(10)
    assert 1_010 == await time_of(timeout)


async def test_stopped_timeout_does_not_call_its_callback(autojump_clock, timeouts):
    """A timeout calls its callback once, unless it was stopped."""
    ended = []
    stopped, *others = [
        IdleTimeout(timeouts, partial(ended.append, name)) for name in "abc"
    ]
    for timeout in (stopped, *others):
        timeout.reset(10)
    stopped.stop()
    await trio.sleep_until(20)

    assert ["b", "c"] == ended
