"""Frames straight to the socket: peers that read slowly, or not at all."""

from __future__ import annotations

import pytest
import trio

from roundel import Event, History, Stream
from roundel_adapters.server.dispatcher import dispatcher as direct
from support.dispatcher import running

pytestmark = pytest.mark.skipif(not direct.IS_SUPPORTED, reason="without epoll")

# As small as the kernel makes it.
TINY = 1
BIG = "x" * 20_000


@pytest.fixture
async def room(nursery):
    """Open a room whose switchboard gives a peer 30 seconds."""
    async with running(nursery, write_timeout=30) as room:
        yield room


class Counted:
    """A talker that counts how often it is asked."""

    def __init__(self, stream):
        self._stream = stream
        self.asked = 0

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def data_to_send(self, now):
        self.asked += 1
        return self._stream.data_to_send(now)


HISTORIES = {
    "latest": lambda: History("e", snapshot=Event("start"), capacity=0),
    "ring": lambda: History("e", snapshot=Event("start"), capacity=64),
}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (HISTORIES["latest"], ["start", BIG, "31"]),
        (HISTORIES["ring"], ["start", BIG, *map(str, range(32))]),
    ],
    ids=HISTORIES,
)
async def test_stalled_peer_costs_nothing_and_goes_on_where_it_was(
    autojump_clock, nursery, make, told
):
    """Nothing is kept for it but the rest of one write, and nothing is lost."""
    async with running(nursery, make()) as room:
        talker = Counted(Stream(room.history, now=0))
        peer = room.connect(talker, buffer=TINY)
        await room.settle()
        room.tell(BIG)
        await room.settle()
        asked = talker.asked
        (line,) = room.board._streams.values()
        rest = bytes(line.unsent)
        for number in range(32):
            room.tell(str(number))
            await trio.sleep(0.1)

        assert 0 < len(rest) < len(BIG)
        assert (asked, rest) == (talker.asked, bytes(line.unsent))
        while peer.read():
            await room.settle()

        assert told == peer.events()


async def test_stalled_peer_keeps_nobody_waiting(autojump_clock, room):
    """Others are told in the same turn."""
    room.connect(buffer=TINY)
    other = room.connect()
    room.tell(BIG)
    await room.settle()
    room.tell("news")
    await room.settle()

    assert ["start", BIG, "news"] == other.events()


async def test_peer_that_takes_nothing_is_cut(autojump_clock, room):
    """After the write time-out, whatever happens meanwhile."""
    peer = room.connect(buffer=TINY, heartbeat=7)
    await trio.sleep(5)
    room.tell(BIG)
    for _ in range(20):
        await trio.sleep(1)
        room.tell("news")
    await trio.sleep(100)

    assert 35 == pytest.approx(peer.left_at)
    assert not peer.talker.is_open
    peer.read()
    assert peer.is_ended
    assert not room.board._timers


async def test_peer_that_takes_some_in_time_is_served(autojump_clock, room):
    """Each take earns it the time-out anew."""
    peer = room.connect(buffer=TINY)
    room.tell(BIG)
    while len(peer.received) < len(BIG):
        await trio.sleep(20)
        assert peer.read()
    await room.settle()

    assert ["start", BIG] == peer.events()
    assert trio.current_time() > 60
    assert peer.left_at is None


async def test_peer_that_drips_is_cut_in_the_end(autojump_clock, room):
    """One write has four times the time-out, however steady the drip."""
    peer = room.connect(buffer=TINY)
    await room.settle()
    for _ in range(5):
        room.history.append(Event(BIG), now=0)
    room.bell.notify()
    while peer.left_at is None:
        await trio.sleep(20)
        assert peer.read() or peer.is_ended

    assert 120 == pytest.approx(peer.left_at)


async def test_time_of_a_write_is_its_own(autojump_clock, room):
    """Whoever caught up has all of the time again."""
    peer = room.connect(buffer=TINY)
    for _ in range(12):
        room.tell(BIG)
        await trio.sleep(25)
        while peer.read():
            await room.settle()

    assert [BIG] * 12 == peer.events()[1:]
    assert peer.left_at is None


async def test_stalled_peer_reads_its_last_words_later(autojump_clock, room):
    """The end comes behind what was being written, once."""
    peer = room.connect(buffer=TINY)
    room.tell(BIG)
    await room.settle()
    room.end(peer)
    await trio.sleep(10)
    assert peer.left_at is None
    while peer.read():
        await room.settle()

    assert ["start", BIG, "bye"] == peer.events()
    assert b"" == peer.chunks()[-1]
    assert peer.is_ended
    assert 10 == pytest.approx(peer.left_at)


async def test_last_words_that_do_not_fit_are_finished(autojump_clock, room):
    """An end in several writes is one end."""
    peer = room.connect(buffer=TINY)
    room.tell(BIG)
    room.end(peer)
    await room.settle()
    assert b"bye" not in peer.received
    while peer.read():
        await room.settle()

    assert "bye" == peer.events()[-1]
    assert 1 == peer.received.count(b"0\r\n\r\n")
    assert peer.is_ended


async def test_peer_that_leaves_while_it_is_written_to_is_let_go(autojump_clock, room):
    """Its time-out is not waited for."""
    peer = room.connect(buffer=TINY)
    room.tell(BIG)
    await trio.sleep(5)
    peer.sock.close()
    await room.settle()

    assert 5 == pytest.approx(peer.left_at)
    assert 0 == len(room.board)
