"""Writing to slow peers, in virtual time."""

from __future__ import annotations

import math
import socket
import struct

import pytest
import trio

from roundel_adapters.server import paced_stream as _writing
from roundel_adapters.server.paced_stream import (
    STEP_SIZE,
    PacedStream,
    ShutdownDeadline,
    WriteDeadline,
)


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
    return PacedStream(
        stream, write_timeout=30, shutdown_deadline=last_call or ShutdownDeadline()
    )


def test_pace_is_something_in_time_and_a_step_in_four_times():
    """Each take earns the patience anew, until a step has taken too long."""
    pace = WriteDeadline(30, 0)
    assert pace.deadline == 30
    pace.extend(1, 29)
    assert pace.deadline == 59
    for now in (58, 87, 110):
        pace.extend(1, now)
    assert pace.deadline == 120
    pace.extend(STEP_SIZE, 119)
    assert pace.deadline == 149


async def test_reader_that_takes_nothing_is_given_up_after_the_patience(autojump_clock):
    """Nothing at all for as long as the patience is the end."""
    stream = paced(SlowStream(1, seconds=math.inf))
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"news")

    assert trio.current_time() == pytest.approx(30)
    assert stream.has_timed_out


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
    last_call = ShutdownDeadline()
    async with trio.open_nursery() as nursery:
        for stream in (paced(SlowStream(1, seconds=9), last_call) for _ in range(2)):
            nursery.start_soon(refused, stream)
            await trio.sleep(1)
            last_call.set(12)

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


async def pair():
    """Return a connection's two ends, the first of them paced."""
    ours, theirs = trio.socket.socketpair()
    return paced(trio.SocketStream(ours)), theirs


@pytest.mark.parametrize("is_posix", [True, False])
async def test_what_comes_is_received_and_then_the_end(monkeypatch, nursery, is_posix):
    """Whether it was there before or is waited for, and where a socket is no file."""
    monkeypatch.setattr(_writing, "IS_POSIX", is_posix)
    stream, peer = await pair()
    await peer.send(b"one")
    received = [await stream.receive_some(), b"and"]
    nursery.start_soon(peer.send, b"two")
    received += [await stream.receive_some(2), await stream.receive_some()]
    peer.close()

    assert [b"one", b"and", b"tw", b"o"] == received
    assert b"" == await stream.receive_some()
    stream.close()


async def test_wake_up_for_nothing_is_no_end(monkeypatch):
    """A system may say that there is something to read where there is nothing."""
    stream, peer = await pair()
    tried = []

    def read(file, size):
        tried.append(size)
        if len(tried) == 1:
            raise BlockingIOError
        return b"one"

    monkeypatch.setattr(_writing.os, "read", read)
    await peer.send(b"one")

    assert (b"one", [9, 9]) == (await stream.receive_some(9), tried)
    peer.close()
    stream.close()


async def test_peer_that_breaks_off_and_stream_that_is_closed_are_told():
    """Each as trio tells them, so that TLS knows them too."""
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    peer = await trio.open_tcp_stream(*listener.getsockname())
    accepted, _ = await listener.accept()
    listener.close()
    stream = paced(trio.SocketStream(accepted))
    # Closed so, a socket is reset.
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    stream.close()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
