"""The stream dispatcher: which stream gets which bytes, and when."""

from __future__ import annotations

import math
import socket
from contextlib import nullcontext

import pytest
import trio

from roundel import Event, History, Stream
from roundel_adapters.server.dispatcher import dispatcher
from roundel_adapters.server.dispatcher.socket_stream import encode_chunk
from roundel_adapters.wakeup import Wakeup
from support.dispatcher import run_dispatcher

pytestmark = pytest.mark.skipif(not dispatcher.IS_SUPPORTED, reason="without epoll")


@pytest.fixture
async def harness(nursery):
    """Run a dispatcher."""
    async with run_dispatcher(nursery) as harness:
        yield harness


async def test_peer_gets_each_event_in_a_chunk(autojump_clock, harness):
    """A stream starts with its snapshot, and each event is a chunk."""
    peer = harness.connect()
    await harness.settle()
    harness.publish("news")
    await harness.settle()

    assert ["start", "news"] == peer.events()
    assert 2 == len(peer.chunks())


async def test_head_is_sent_in_one_write_with_the_first_events(autojump_clock, harness):
    """Head and first chunk are one write, also if the stream has ended."""
    over = Stream(harness.history, now=0)
    over.close()
    peers = [harness.connect(head=b"head "), harness.connect(over, head=b"head ")]
    await harness.settle()
    received = [peer.sock.recv(1_000) for peer in peers]
    harness.publish("news")
    await harness.settle()

    start = b"15\r\ndata: start\nid: e.0\n\n\r\n"
    assert [b"head " + start, b"head 0\r\n\r\n"] == received
    assert ["news"] == peers[0].events()


async def test_events_of_one_turn_are_sent_in_one_write(autojump_clock, harness):
    """Events of one scheduler turn share a chunk, however many notifications come."""
    peer = harness.connect()
    await harness.settle()
    harness.publish("one", "two")
    harness.publish("three")
    await harness.settle()
    harness.publish("four")
    await harness.settle()

    assert [b"start", b"one", b"four"] == [
        chunk.split(b"\n")[0].removeprefix(b"data: ") for chunk in peer.chunks()
    ]
    assert ["start", "one", "two", "three", "four"] == peer.events()


async def test_more_than_max_write_is_sent_in_several_writes(autojump_clock, harness):
    """The dispatcher asks a stream until it has no more data."""
    harness.publish(*map(str, range(50)))
    peer = harness.connect(max_write=100)
    await harness.settle()

    assert ["start", *map(str, range(50))] == peer.events()
    assert all(len(chunk) <= 100 for chunk in peer.chunks())


async def test_wakeup_notifies_only_its_own_streams(autojump_clock, harness):
    """Streams of different wake-ups in one dispatcher do not affect each other."""
    other_history, other_wakeup = History("o", snapshot=Event("other")), Wakeup()
    peer = harness.connect()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(other_history, now=0)
    harness.dispatcher.add(ours, stream, other_wakeup, lifespan=nullcontext())
    await harness.settle()
    other_history.append(Event("unheard"), now=0)
    harness.publish("news")
    await harness.settle()
    with theirs:
        assert b"15\r\ndata: other\nid: o.0\n\n\r\n" == theirs.recv(1_000)

    assert ["start", "news"] == peer.events()


async def test_each_stream_has_its_own_heartbeat_and_age(autojump_clock, harness):
    """Timers of one queue fire at each stream's own deadline."""
    quick = harness.connect(heartbeat=10, max_age=25)
    await trio.sleep(4)
    slow = harness.connect(heartbeat=15, max_age=100)
    await trio.sleep(20)
    quick_then, slow_then = quick.chunks(), slow.chunks()
    await trio.sleep(2)

    assert 3 == len(quick_then)
    assert b":\n" == quick_then[1]
    assert 2 == len(slow_then)
    assert b"" == quick.chunks()[-1]
    assert (quick.is_ended, slow.is_ended) == (True, False)
    assert 25 == pytest.approx(quick.left_at)
    await trio.sleep(100)
    assert 104 == pytest.approx(slow.left_at)
    assert math.inf == harness.dispatcher._timers.next


async def test_event_delays_the_heartbeat(autojump_clock, harness):
    """A heartbeat is sent only after silence."""
    peer = harness.connect(heartbeat=10)
    await trio.sleep(6)
    harness.publish("news")
    await trio.sleep(9)
    before = len(peer.chunks())
    await trio.sleep(2)

    assert (2, 3) == (before, len(peer.chunks()))


@pytest.mark.slow
async def test_publish_to_thousands_lets_other_tasks_run(harness, monkeypatch):
    """A publish yields after `YIELD_AFTER`, here after each batch."""
    monkeypatch.setattr(dispatcher, "YIELD_AFTER", 0)
    peers = [harness.connect() for _ in range(20)]
    streams = 2_500
    for _ in range(streams // len(peers) - 1):
        for socket_stream in list(harness.dispatcher._streams.values())[: len(peers)]:
            # Another stream on the same socket saves open files.
            stream = Stream(harness.history, now=0)
            sock = socket_stream.sock.dup()
            within = nullcontext()
            harness.dispatcher.add(sock, stream, harness.wakeup, lifespan=within)
    turns = 0

    async def count():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    await harness.settle()
    for peer in peers:
        peer.read()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        harness.publish("news")
        before = turns
        await until(lambda: turns > before + 1)
        harness.publish("more")
        with trio.fail_after(20):
            while sum(peer.received.count(b"more") for peer in peers) < streams:
                await trio.lowlevel.checkpoint()
                for peer in peers:
                    peer.read()
        nursery.cancel_scope.cancel()

    assert turns - before >= streams // dispatcher.BATCH
    assert streams == sum(peer.received.count(b"news") for peer in peers)


async def until(is_so):
    with trio.fail_after(10):
        while not is_so():
            await trio.lowlevel.checkpoint()


def test_chunk_has_its_size_in_hex():
    """RFC 9112 7.1."""
    assert b"1a\r\n" + bytes(26) + b"\r\n" == encode_chunk(bytes(26))
