"""Frames straight to the socket: what reaches whom, and when."""

from __future__ import annotations

import socket
from contextlib import nullcontext

import pytest
import trio

from roundel import Event, History, Stream
from roundel_adapters.server.dispatcher import dispatcher as direct
from roundel_adapters.wakeup import Wakeup
from support.dispatcher import running

pytestmark = pytest.mark.skipif(not direct.IS_SUPPORTED, reason="without epoll")


@pytest.fixture
async def room(nursery):
    """Open a room whose switchboard runs."""
    async with running(nursery) as room:
        yield room


async def test_events_reach_the_peer_in_chunks(autojump_clock, room):
    """A stream begins with its state and goes on with the news."""
    peer = room.connect()
    await room.settle()
    room.tell("news")
    await room.settle()

    assert ["start", "news"] == peer.events()
    assert 2 == len(peer.chunks())


async def test_without_chunks_the_frames_are_all_there_is(autojump_clock, room):
    """The end of the connection is the end of such a body."""
    peer = room.connect(chunked=False)
    await room.settle()
    room.end(peer)
    await room.settle()
    peer.read()

    assert peer.received.startswith(b"data: start\nid: e.0\n\n")
    assert peer.received.endswith(b"data: bye\n\n")
    assert peer.is_ended


async def test_head_goes_in_one_write_with_the_first_frames(autojump_clock, room):
    """Also with the end, where the stream is over at once."""
    over = Stream(room.history, now=0)
    over.close()
    peers = [room.connect(head=b"head "), room.connect(over, head=b"head ")]
    await room.settle()
    received = [peer.sock.recv(1_000) for peer in peers]
    room.tell("news")
    await room.settle()

    start = b"15\r\ndata: start\nid: e.0\n\n\r\n"
    assert [b"head " + start, b"head 0\r\n\r\n"] == received
    assert ["news"] == peers[0].events()


async def test_what_is_told_in_one_turn_goes_in_one_write(autojump_clock, room):
    """However often the bell rings meanwhile; and one turn later is another write."""
    peer = room.connect()
    await room.settle()
    room.tell("one", "two")
    room.tell("three")
    await room.settle()
    room.tell("four")
    await room.settle()

    assert [b"start", b"one", b"four"] == [
        chunk.split(b"\n")[0].removeprefix(b"data: ") for chunk in peer.chunks()
    ]
    assert ["start", "one", "two", "three", "four"] == peer.events()


async def test_what_is_too_much_for_one_write_goes_in_several(autojump_clock, room):
    """A stream is asked until it has nothing to say."""
    room.tell(*map(str, range(50)))
    peer = room.connect(max_write=100)
    await room.settle()

    assert ["start", *map(str, range(50))] == peer.events()
    assert all(len(chunk) <= 100 for chunk in peer.chunks())


async def test_ring_tells_its_own_streams_and_no_others(autojump_clock, room):
    """Streams of different bells share a switchboard and nothing else."""
    other_history, other_bell = History("o", snapshot=Event("other")), Wakeup()
    peer = room.connect()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    talker = Stream(other_history, now=0)
    room.board.add(ours, talker, other_bell, lifespan=nullcontext(), chunked=False)
    await room.settle()
    other_history.append(Event("unheard"), now=0)
    room.tell("news")
    await room.settle()
    with theirs:
        assert b"data: other\nid: o.0\n\n" == theirs.recv(1_000)

    assert ["start", "news"] == peer.events()


async def test_heartbeats_and_ages_come_from_one_calendar(autojump_clock, room):
    """Each stream has its own time, and nobody has a task."""
    quick = room.connect(heartbeat=10, max_age=25)
    await trio.sleep(4)
    slow = room.connect(heartbeat=15, max_age=100)
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
    assert not room.board._timers


async def test_event_puts_the_heartbeat_off(autojump_clock, room):
    """A heartbeat is for silence."""
    peer = room.connect(heartbeat=10)
    await trio.sleep(6)
    room.tell("news")
    await trio.sleep(9)
    before = len(peer.chunks())
    await trio.sleep(2)

    assert (2, 3) == (before, len(peer.chunks()))


@pytest.mark.slow
async def test_publish_to_thousands_lets_others_run(room, monkeypatch):
    """The loop is lent for a slice of time, here of none, and then given back."""
    monkeypatch.setattr(direct, "YIELD_AFTER", 0)
    peers = [room.connect() for _ in range(20)]
    lines = 2_500
    for _ in range(lines // len(peers) - 1):
        for line in list(room.board._streams.values())[: len(peers)]:
            # Another line on the same connection, to spare open files.
            talker = Stream(room.history, now=0)
            sock = line.sock.dup()
            within = nullcontext()
            room.board.add(sock, talker, room.bell, lifespan=within, chunked=False)
    turns = 0

    async def count():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    await room.settle()
    for peer in peers:
        peer.read()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        room.tell("news")
        before = turns
        await until(lambda: turns > before + 1)
        room.tell("more")
        with trio.fail_after(20):
            while sum(peer.received.count(b"more") for peer in peers) < lines:
                await trio.lowlevel.checkpoint()
                for peer in peers:
                    peer.read()
        nursery.cancel_scope.cancel()

    assert turns - before >= lines // direct.BATCH
    assert lines == sum(peer.received.count(b"news") for peer in peers)


async def until(is_so):
    with trio.fail_after(10):
        while not is_so():
            await trio.lowlevel.checkpoint()
