"""Writing to slow peers, in virtual time."""

from __future__ import annotations

import math

import pytest
import trio

from roundel_adapters._limits import Allowance
from roundel_adapters._writing import STEP, LastCall, Pace, PacedStream


class SlowSocket:
    """Stands for a socket whose peer takes *size* bytes every *seconds*."""

    def __init__(self, size, *, seconds):
        self.size, self.seconds = size, seconds
        self.taken = 0

    def fileno(self):
        return -1

    async def send(self, data):
        await trio.sleep(self.seconds)
        self.taken += min(self.size, len(data))
        return min(self.size, len(data))


class SlowStream:
    """Stands for a `trio.SocketStream` on a slow socket."""

    def __init__(self, size, *, seconds):
        self.socket = SlowSocket(size, seconds=seconds)


def paced(stream, last_call=None):
    return PacedStream(stream, patience=30, last_call=last_call or LastCall())


def test_pace_is_something_in_time_and_a_step_in_four_times():
    """Each take earns the patience anew, until a step has taken too long."""
    pace = Pace(30, 0)
    assert pace.deadline == 30
    pace.took(1, 29)
    assert pace.deadline == 59
    for now in (58, 87, 110):
        pace.took(1, now)
    assert pace.deadline == 120
    pace.took(STEP, 119)
    assert pace.deadline == 149


def test_allowance_is_a_burst_and_then_a_rate():
    """What has been used up comes back with time, up to the burst."""
    allowance = Allowance(2, per_second=1)
    assert [allowance.take(100) for _ in range(3)] == [True, True, False]
    assert not allowance.take(100.5)
    assert [allowance.take(200) for _ in range(3)] == [True, True, False]


async def test_reader_that_takes_nothing_is_given_up_after_the_patience(autojump_clock):
    """Nothing at all for as long as the patience is the end."""
    stream = paced(SlowStream(1, seconds=math.inf))
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"news")

    assert trio.current_time() == pytest.approx(30)
    assert stream.is_stuck


async def test_reader_that_takes_a_little_all_the_time_is_served(autojump_clock):
    """A chunk may take longer than the patience, as long as it goes on."""
    slow = SlowStream(1_000, seconds=1)
    await paced(slow).send_all(bytes(500_000))

    assert slow.socket.taken == 500_000
    assert trio.current_time() == pytest.approx(500)


async def test_reader_of_a_byte_now_and_then_is_given_up_in_the_end(autojump_clock):
    """Sixty-four KiB have four times the patience, however steady the drip."""
    stream = paced(SlowStream(1, seconds=20))
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(bytes(100))

    assert trio.current_time() == pytest.approx(120)


async def test_last_call_ends_writes_of_before_and_after(autojump_clock):
    """What is stuck when the end is named ends with it, and so does what follows."""
    last_call = LastCall()
    async with trio.open_nursery() as nursery:
        for stream in (paced(SlowStream(1, seconds=9), last_call) for _ in range(2)):
            nursery.start_soon(refused, stream)
            await trio.sleep(1)
            last_call.name(12)

    assert trio.current_time() == pytest.approx(12)


async def refused(stream):
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(bytes(100))


async def test_cancelled_write_is_finished_all_the_same(autojump_clock):
    """Half a frame would spoil all that follows on the stream."""
    slow = SlowStream(10, seconds=1)
    with trio.move_on_after(0.5):
        await paced(slow).send_all(bytes(30))

    assert slow.socket.taken == 30
