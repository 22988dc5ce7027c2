"""Writing to slow peers, in virtual time."""

from __future__ import annotations

import math
import socket
import struct

import pytest
import trio

from roundel_adapters.server import paced_stream
from roundel_adapters.server.paced_stream import (
    STEP_SIZE,
    PacedStream,
    ShutdownDeadline,
    WriteDeadline,
)


class SlowSocket:
    """A socket whose peer reads *size* bytes every *seconds*."""

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
    """A `trio.SocketStream` on a `SlowSocket`."""

    def __init__(self, size, *, seconds):
        self.socket = SlowSocket(size, seconds=seconds)


def paced(stream, shutdown=None):
    return PacedStream(
        stream, write_timeout=30, shutdown_deadline=shutdown or ShutdownDeadline()
    )


def test_deadline_is_extended_by_progress():
    """Any bytes extend the timeout; each 64 KiB have four timeouts."""
    deadline = WriteDeadline(30, 0)
    assert deadline.deadline == 30
    deadline.extend(1, 29)
    assert deadline.deadline == 59
    for now in (58, 87, 110):
        deadline.extend(1, now)
    assert deadline.deadline == 120
    deadline.extend(STEP_SIZE, 119)
    assert deadline.deadline == 149


async def test_peer_that_reads_nothing_times_out(autojump_clock):
    """A write raises after the write timeout."""
    stream = paced(SlowStream(1, seconds=math.inf))
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"news")

    assert trio.current_time() == pytest.approx(30)
    assert stream.has_timed_out


async def test_slow_peer_gets_a_large_write(autojump_clock):
    """A write may take longer than the timeout while the peer reads."""
    slow = SlowStream(1_000, seconds=1)
    await paced(slow).send_all(bytes(500_000))

    assert slow.socket.taken == 500_000
    assert trio.current_time() == pytest.approx(500)


async def test_peer_that_reads_single_bytes_times_out(autojump_clock):
    """A peer has to read 64 KiB within four write timeouts."""
    stream = paced(SlowStream(1, seconds=20))
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(bytes(100))

    assert trio.current_time() == pytest.approx(120)


async def test_shutdown_deadline_ends_all_writes(autojump_clock):
    """The deadline applies to running and to later writes."""
    shutdown = ShutdownDeadline()
    async with trio.open_nursery() as nursery:
        for stream in (paced(SlowStream(1, seconds=9), shutdown) for _ in range(2)):
            nursery.start_soon(refused, stream)
            await trio.sleep(1)
            shutdown.set(12)

    assert trio.current_time() == pytest.approx(12)


async def refused(stream):
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(bytes(100))


async def test_cancelled_write_completes(autojump_clock):
    """A cancellation does not leave a half-sent write."""
    slow = SlowStream(10, seconds=1)
    with trio.move_on_after(0.5):
        await paced(slow).send_all(bytes(30))

    assert slow.socket.taken == 30


async def pair():
    """Open a connection; its first end is a paced stream."""
    ours, theirs = trio.socket.socketpair()
    return paced(trio.SocketStream(ours)), theirs


@pytest.mark.parametrize("is_posix", [True, False])
async def test_receive_until_eof(monkeypatch, nursery, is_posix):
    """With and without file descriptors, buffered and later bytes are received."""
    monkeypatch.setattr(paced_stream, "IS_POSIX", is_posix)
    stream, peer = await pair()
    await peer.send(b"one")
    received = [await stream.receive_some(), b"and"]
    nursery.start_soon(peer.send, b"two")
    received += [await stream.receive_some(2), await stream.receive_some()]
    peer.close()

    assert [b"one", b"and", b"tw", b"o"] == received
    assert b"" == await stream.receive_some()
    stream.close()


async def test_spurious_readiness_is_no_eof(monkeypatch):
    """A receive waits again if the socket has no bytes."""
    stream, peer = await pair()
    tried = []

    def read(file, size):
        tried.append(size)
        if len(tried) == 1:
            raise BlockingIOError
        return b"one"

    monkeypatch.setattr(paced_stream.os, "read", read)
    await peer.send(b"one")

    assert (b"one", [9, 9]) == (await stream.receive_some(9), tried)
    peer.close()
    stream.close()


async def test_reset_and_closed_stream_raise():
    """A receive raises the same exceptions as a trio stream."""
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    peer = await trio.open_tcp_stream(*listener.getsockname())
    accepted, _ = await listener.accept()
    listener.close()
    stream = paced(trio.SocketStream(accepted))
    # SO_LINGER with 0 seconds makes close() send a reset.
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    stream.close()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
