"""The stream dispatcher and peers that read slowly or not at all."""

from __future__ import annotations

import math

import pytest
import trio

from roundel import Event, History, Stream
from roundel_adapters.server.dispatcher import dispatcher
from support.dispatcher import run_dispatcher

pytestmark = pytest.mark.skipif(not dispatcher.IS_SUPPORTED, reason="without epoll")

# The kernel rounds it up to its minimum.
MINIMUM = 1
BIG = "x" * 20_000


@pytest.fixture
async def harness(nursery):
    """Run a dispatcher with a write timeout of 30 seconds."""
    async with run_dispatcher(nursery, write_timeout=30) as harness:
        yield harness


class CountedStream:
    """A stream that counts the calls of `data_to_send()`."""

    def __init__(self, stream):
        self._stream = stream
        self.calls = 0

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def data_to_send(self, now):
        self.calls += 1
        return self._stream.data_to_send(now)


HISTORIES = {
    "latest": lambda: History("e", snapshot=Event("start"), capacity=0),
    "ring": lambda: History("e", snapshot=Event("start"), capacity=64),
}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (HISTORIES["latest"], ["start", BIG, "31"]),
        (HISTORIES["ring"], ["start", BIG, *map(str, range(32))]),
    ],
    ids=HISTORIES,
)
async def test_stalled_peer_resumes_without_a_queue(
    autojump_clock, nursery, make, expected
):
    """Only the rest of one write is kept, and no event is lost."""
    async with run_dispatcher(nursery, make()) as harness:
        stream = CountedStream(Stream(harness.history, now=0))
        peer = harness.connect(stream, buffer=MINIMUM)
        await harness.settle()
        harness.publish(BIG)
        await harness.settle()
        calls = stream.calls
        (socket_stream,) = harness.dispatcher._streams.values()
        rest = bytes(socket_stream.unsent)
        for number in range(32):
            harness.publish(str(number))
            await trio.sleep(0.1)

        assert 0 < len(rest) < len(BIG)
        assert (calls, rest) == (stream.calls, bytes(socket_stream.unsent))
        while peer.read():
            await harness.settle()

        assert expected == peer.events()


async def test_stalled_peer_does_not_delay_other_peers(autojump_clock, harness):
    """Other peers get an event in the same turn."""
    harness.connect(buffer=MINIMUM)
    other = harness.connect()
    harness.publish(BIG)
    await harness.settle()
    harness.publish("news")
    await harness.settle()

    assert ["start", BIG, "news"] == other.events()


async def test_peer_that_reads_nothing_is_disconnected(autojump_clock, harness):
    """The write timeout is not extended by events or heartbeats."""
    peer = harness.connect(buffer=MINIMUM, heartbeat=7)
    await trio.sleep(5)
    harness.publish(BIG)
    for _ in range(20):
        await trio.sleep(1)
        harness.publish("news")
    await trio.sleep(100)

    assert 35 == pytest.approx(peer.left_at)
    assert not peer.stream.is_open
    peer.read()
    assert peer.is_ended
    assert math.inf == harness.dispatcher._timers.next


async def test_peer_that_reads_some_in_time_stays_connected(autojump_clock, harness):
    """Each read extends the deadline by the write timeout."""
    peer = harness.connect(buffer=MINIMUM)
    harness.publish(BIG)
    while len(peer.received) < len(BIG):
        await trio.sleep(20)
        assert peer.read()
    await harness.settle()

    assert ["start", BIG] == peer.events()
    assert trio.current_time() > 60
    assert peer.left_at is None


async def test_peer_that_reads_single_bytes_is_disconnected(autojump_clock, harness):
    """A peer has to read 64 KiB within four write timeouts."""
    peer = harness.connect(buffer=MINIMUM)
    await harness.settle()
    for _ in range(5):
        harness.history.append(Event(BIG), now=0)
    harness.wakeup.notify()
    while peer.left_at is None:
        await trio.sleep(20)
        assert peer.read() or peer.is_ended

    assert 120 == pytest.approx(peer.left_at)


async def test_each_write_has_its_own_timeout(autojump_clock, harness):
    """A peer that has read everything has the full timeout again."""
    peer = harness.connect(buffer=MINIMUM)
    for _ in range(12):
        harness.publish(BIG)
        await trio.sleep(25)
        while peer.read():
            await harness.settle()

    assert [BIG] * 12 == peer.events()[1:]
    assert peer.left_at is None


async def test_stalled_peer_gets_the_close_message_later(autojump_clock, harness):
    """The close message follows the rest of the write, once."""
    peer = harness.connect(buffer=MINIMUM)
    harness.publish(BIG)
    await harness.settle()
    harness.close(peer)
    await trio.sleep(10)
    assert peer.left_at is None
    while peer.read():
        await harness.settle()

    assert ["start", BIG, "bye"] == peer.events()
    assert b"" == peer.chunks()[-1]
    assert peer.is_ended
    assert 10 == pytest.approx(peer.left_at)


async def test_close_message_may_take_several_writes(autojump_clock, harness):
    """The last chunk is sent once, after all of the close message."""
    peer = harness.connect(buffer=MINIMUM)
    harness.publish(BIG)
    harness.close(peer)
    await harness.settle()
    assert b"bye" not in peer.received
    while peer.read():
        await harness.settle()

    assert "bye" == peer.events()[-1]
    assert 1 == peer.received.count(b"0\r\n\r\n")
    assert peer.is_ended


async def test_peer_that_disconnects_during_a_write_is_closed_at_once(
    autojump_clock, harness
):
    """The end of the peer does not wait for the write timeout."""
    peer = harness.connect(buffer=MINIMUM)
    harness.publish(BIG)
    await trio.sleep(5)
    peer.sock.close()
    await harness.settle()

    assert 5 == pytest.approx(peer.left_at)
    assert 0 == len(harness.dispatcher)
