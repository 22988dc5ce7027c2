"""Frames straight to the socket: how streams end, and what is left of them."""

from __future__ import annotations

import gc
import socket
import weakref
from contextlib import contextmanager, nullcontext

import pytest
import trio

from roundel import History, Stream
from roundel_adapters.server.dispatcher import dispatcher as direct
from roundel_adapters.server.dispatcher.dispatcher import StreamDispatcher
from roundel_adapters.wakeup import Wakeup
from support.dispatcher import Room, running, tcp_pair

pytestmark = pytest.mark.skipif(not direct.IS_SUPPORTED, reason="without epoll")


@pytest.fixture
async def room(nursery):
    """Open a room whose switchboard runs."""
    async with running(nursery) as room:
        yield room


@pytest.mark.parametrize("chunked", [True, False])
async def test_last_words_are_the_last_and_are_said_once(autojump_clock, room, chunked):
    """Then the body has its end, and the connection too."""
    peer = room.connect(chunked=chunked)
    await room.settle()
    room.end(peer)
    room.tell("too late")
    await room.settle()
    peer.read()

    assert 1 == peer.received.count(b"data: bye")
    assert (1 if chunked else 0) == peer.received.count(b"0\r\n\r\n")
    assert peer.received.endswith(b"0\r\n\r\n" if chunked else b"bye\n\n")
    assert peer.is_ended
    assert 0 == peer.left_at


async def test_stream_that_ends_without_a_word_ends_its_body(autojump_clock, room):
    """Nothing to say is said with a last chunk."""
    peer = room.connect()
    await room.settle()
    peer.talker.close()
    room.bell.notify()
    await room.settle()

    assert b"" == peer.chunks()[-1]
    assert peer.is_ended


async def test_end_is_readable_though_the_peer_sent_more(room):
    """What nobody reads must not turn the end into a reset."""
    async with tcp_pair() as (ours, theirs):
        peer = room.connect(pair=(ours, theirs))
        await room.settle()
        theirs.sendall(b"GET / HTTP/1.1\r\n" * 100)
        room.end(peer)
        with trio.fail_after(10):
            await room.board.wait_empty()
        theirs.setblocking(True)
        peer.read()

        assert ["start", "bye"] == peer.events()


class Watched:
    """A talker of which one can see whether it is still there."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)


async def test_peer_that_leaves_gives_everything_back_at_once(autojump_clock, room):
    """Stream, socket, bell and memory: nothing of it is kept."""
    peer = room.connect(Watched(Stream(room.history, now=0)))
    await trio.sleep(1)
    assert 1 == len(room.board)
    peer.sock.close()
    await room.settle()

    assert not peer.talker.is_open
    assert (0, 1) == (peer.entered_at, peer.left_at)
    assert 0 == len(room.board)
    assert set() == room.bell._wakers
    gone = weakref.ref(peer.talker)
    room.peers.clear()
    del peer
    gc.collect()
    assert gone() is None
    await trio.sleep(15)
    assert not room.board._timers


async def test_peer_that_resets_is_gone_too(room, caplog):
    """A reset is an end like any other, and nothing to write about."""
    async with tcp_pair() as (ours, theirs):
        room.connect(pair=(ours, theirs))
        # A time to linger of 0 makes the end a reset.
        linger = b"\1\0\0\0\0\0\0\0"
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        theirs.close()
        with trio.fail_after(10):
            await room.board.wait_empty()

        assert [] == caplog.messages


async def test_write_that_fails_ends_its_stream(autojump_clock, room):
    """It need not be a peer that is gone."""
    peer, other = room.connect(), room.connect()
    await room.settle()
    next(iter(room.board._streams.values())).sock.shutdown(socket.SHUT_WR)
    room.tell("news")
    await room.settle()

    assert not peer.talker.is_open
    assert ["start", "news"] == other.events()


async def test_write_to_a_peer_that_is_gone_ends_its_stream(autojump_clock, room):
    """News may be quicker than the notice of the end."""
    peer, other = room.connect(), room.connect()
    await room.settle()
    peer.sock.close()
    room.tell("news")
    await room.settle()

    assert 1 == len(room.board)
    assert ["start", "news"] == other.events()
    assert not peer.talker.is_open


class Faulty:
    """A talker that fails where it is told to."""

    is_open = True

    def __init__(self, *faults):
        self._faults = faults

    def _may_fail(self, name):
        if name in self._faults:
            raise RuntimeError(name)

    @property
    def deadline(self):
        self._may_fail("deadline")
        return 1e9

    def data_to_send(self, now):
        self._may_fail("data_to_send")
        return []

    def close(self):
        self._may_fail("close")


@pytest.mark.parametrize(
    "faults", [["data_to_send"], ["deadline"], ["close"], ["data_to_send", "close"]]
)
async def test_talker_that_fails_ends_its_own_stream(
    autojump_clock, room, caplog, faults
):
    """It is told in the log, and nobody else notices."""
    peer, other = room.connect(Faulty(*faults)), room.connect()
    await room.settle()
    if faults == ["close"]:
        peer.sock.close()
    room.tell("news")
    await room.settle()

    assert ["start", "news"] == other.events()
    assert 1 == len(room.board)
    assert 0 == peer.left_at
    assert len(faults) == len(caplog.records)


async def test_stream_that_cannot_begin_leaves_nothing_behind(autojump_clock, room):
    """Whoever gave the socket away hears of it, and has nothing to close."""

    @contextmanager
    def closed():
        raise RuntimeError("no room")
        yield

    ours, theirs = socket.socketpair()
    talker = Stream(room.history, now=0)
    with theirs:
        with pytest.raises(RuntimeError):
            room.board.add(ours, talker, room.bell, lifespan=closed(), chunked=True)

        assert b"" == theirs.recv(1)
    assert 0 == len(room.board)


async def test_whoever_waits_for_the_end_is_told(autojump_clock, room):
    """It waits for the last stream, and for none at once."""
    with trio.fail_after(0):
        await room.board.wait_empty()
    peers = [room.connect(max_age=age) for age in (10, 20)]
    await room.board.wait_empty()

    assert 20 == pytest.approx(trio.current_time())
    assert all(peer.left_at for peer in peers)


async def test_all_can_be_cut_without_a_word(autojump_clock, room):
    """Their bodies have no end, so that the peers know better than to be content."""
    peers = [room.connect() for _ in range(3)]
    await room.settle()
    room.board.close_all()

    assert [["start"]] * 3 == [peer.events() for peer in peers]
    assert all(peer.is_ended for peer in peers)
    assert 0 == len(room.board)
    assert all(peer.left_at == 0 for peer in peers)


async def test_end_of_one_may_be_the_end_of_all(autojump_clock, room):
    """What is left at its end may cut the rest."""

    class Last(Faulty):
        def close(self):
            room.board.close_all()

    peers = [room.connect(Last()), room.connect(), room.connect()]
    await room.settle()
    room.board.close_all()
    for peer in peers:
        peer.read()

    assert all(peer.is_ended for peer in peers)
    assert 0 == len(room.board)


async def test_switchboard_that_is_cancelled_cuts_what_is_left(autojump_clock):
    """However it ends, sockets and streams end with it."""
    room = Room()
    async with trio.open_nursery() as nursery:
        await nursery.start(room.board.run)
        peer = room.connect()
        await room.settle()
        nursery.cancel_scope.cancel()
    peer.read()
    peer.sock.close()

    assert peer.is_ended
    assert not peer.talker.is_open
    assert room.board._epoll.closed


async def test_nothing_is_adopted_after_the_end(autojump_clock):
    """A socket that comes too late is closed."""
    board = StreamDispatcher()
    async with trio.open_nursery() as nursery:
        await nursery.start(board.run)
        nursery.cancel_scope.cancel()
    ours, theirs = socket.socketpair()
    talker = Stream(History("e"), now=0)
    with theirs:
        with pytest.raises(ValueError, match="closed"):
            board.add(ours, talker, Wakeup(), lifespan=nullcontext(), chunked=True)

        assert b"" == theirs.recv(1)
