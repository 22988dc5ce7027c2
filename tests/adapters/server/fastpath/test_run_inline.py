"""`run_inline()`: it notices the first time that a coroutine blocks."""

from __future__ import annotations

import pytest
import trio

from roundel_adapters.server.fastpath.run_inline import run_inline


class Counted:
    """An inline coroutine, and how often it called `on_block`."""

    def __init__(self, coroutine):
        self.calls = 0
        self.inline = run_inline(coroutine, self._on_block)

    def _on_block(self):
        self.calls += 1


async def block(log, times):
    for number in range(times):
        log.append(number)
        await trio.lowlevel.checkpoint()
    log.append("end")


@pytest.mark.parametrize(("times", "calls"), [(0, 0), (1, 1), (3, 1)])
async def test_on_block_is_called_once(times, calls):
    """And not at all by a coroutine that does not block."""
    log = []
    counted = Counted(block(log, times))
    has_blocked = await counted.inline

    assert [*range(times), "end"] == log
    assert (calls, bool(calls)) == (counted.calls, has_blocked)


@pytest.mark.parametrize("blocks", [True, False])
async def test_exception_is_raised_to_the_awaiting_task(blocks):
    """Before the coroutine blocks, and after it."""

    async def fail():
        if blocks:
            await trio.lowlevel.checkpoint()
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        await Counted(fail()).inline


async def test_cancellation_reaches_a_blocked_coroutine(autojump_clock):
    """A cancel scope inside the coroutine and one around it both work."""
    log = []

    async def sleep():
        with trio.move_on_after(1):
            await trio.sleep_forever()
        log.append(trio.current_time())
        try:
            await trio.sleep_forever()
        finally:
            log.append(trio.current_time())

    with trio.move_on_after(5) as scope:
        await Counted(sleep()).inline

    assert scope.cancelled_caught
    assert [1, 5] == log


def test_thrown_exception_reaches_a_blocked_coroutine():
    """PEP 380: throw() and close() go to the innermost coroutine."""
    log = []

    async def fail():
        try:
            await Suspend()
        except KeyError:
            log.append("caught")
        await Suspend()

    running = Counted(fail()).inline
    next(running)
    running.throw(KeyError)
    running.close()

    assert ["caught"] == log


class Suspend:
    """An awaitable that yields once."""

    def __await__(self):
        yield
