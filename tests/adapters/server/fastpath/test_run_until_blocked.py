"""Turns: who notices that a coroutine waits."""

from __future__ import annotations

import pytest
import trio

from roundel_adapters.server.fastpath.run_until_blocked import InlineCoroutine


class Ward:
    """Runs what is given as a turn, and counts how often it was told of a wait."""

    def __init__(self, coroutine):
        self.told = 0
        self.turn = InlineCoroutine(coroutine, self.waits)

    def waits(self):
        self.told += 1


async def done(log, times):
    for number in range(times):
        log.append(number)
        await trio.lowlevel.checkpoint()
    log.append("end")


@pytest.mark.parametrize(("times", "told"), [(0, 0), (1, 1), (3, 1)])
async def test_first_wait_is_told_and_all_is_done(times, told):
    """Once, however often it waits, and never if it does not."""
    log = []
    ward = Ward(done(log, times))
    await ward.turn

    assert [*range(times), "end"] == log
    assert (told, bool(told)) == (ward.told, ward.turn.has_blocked)


@pytest.mark.parametrize("waits", [True, False])
async def test_failure_is_whose_turn_it_is(waits):
    """An error comes out where it is awaited, before a wait or behind it."""

    async def fail():
        if waits:
            await trio.lowlevel.checkpoint()
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        await Ward(fail()).turn


async def test_cancellation_reaches_what_waits(autojump_clock):
    """It can clean up, go on behind that, and be cancelled as itself."""
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
        await Ward(sleep()).turn

    assert scope.cancelled_caught
    assert [1, 5] == log
