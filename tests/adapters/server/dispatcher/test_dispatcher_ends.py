"""The stream dispatcher: how streams end, and what they release."""

from __future__ import annotations

import gc
import math
import socket
import weakref
from contextlib import contextmanager, nullcontext

import pytest
import trio

from roundel import History, Stream
from roundel_adapters.server.dispatcher import dispatcher
from roundel_adapters.server.dispatcher.dispatcher import StreamDispatcher
from roundel_adapters.wakeup import Wakeup
from support.dispatcher import DispatcherHarness, run_dispatcher, tcp_pair

pytestmark = pytest.mark.skipif(not dispatcher.IS_SUPPORTED, reason="without epoll")


@pytest.fixture
async def harness(nursery):
    """Run a dispatcher."""
    async with run_dispatcher(nursery) as harness:
        yield harness


async def test_close_message_is_sent_last_and_once(autojump_clock, harness):
    """The end of the body and EOF follow the close message."""
    peer = harness.connect()
    await harness.settle()
    harness.close(peer)
    harness.publish("too late")
    await harness.settle()
    peer.read()

    assert 1 == peer.received.count(b"data: bye")
    assert 1 == peer.received.count(b"0\r\n\r\n")
    assert peer.received.endswith(b"0\r\n\r\n")
    assert peer.is_ended
    assert 0 == peer.left_at


async def test_stream_without_a_close_message_ends_with_a_last_chunk(
    autojump_clock, harness
):
    """The last chunk ends the body (RFC 9112 7.1)."""
    peer = harness.connect()
    await harness.settle()
    peer.stream.close()
    harness.wakeup.notify()
    await harness.settle()

    assert b"" == peer.chunks()[-1]
    assert peer.is_ended


async def test_unread_input_does_not_reset_the_connection(harness):
    """A peer that pipelined requests can read the end of its stream."""
    async with tcp_pair() as (ours, theirs):
        peer = harness.connect(pair=(ours, theirs))
        await harness.settle()
        theirs.sendall(b"GET / HTTP/1.1\r\n" * 100)
        harness.close(peer)
        with trio.fail_after(10):
            await harness.dispatcher.wait_empty()
        theirs.setblocking(True)
        peer.read()

        assert ["start", "bye"] == peer.events()


class WatchedStream:
    """A stream that a weak reference can observe."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)


async def test_peer_that_disconnects_releases_everything(autojump_clock, harness):
    """Stream, socket, waker and memory are released at once."""
    peer = harness.connect(WatchedStream(Stream(harness.history, now=0)))
    await trio.sleep(1)
    assert 1 == len(harness.dispatcher)
    peer.sock.close()
    await harness.settle()

    assert not peer.stream.is_open
    assert (0, 1) == (peer.entered_at, peer.left_at)
    assert 0 == len(harness.dispatcher)
    assert set() == harness.wakeup.wakers
    gone = weakref.ref(peer.stream)
    harness.peers.clear()
    del peer
    gc.collect()
    assert gone() is None
    await trio.sleep(15)
    assert math.inf == harness.dispatcher._timers.next


async def test_reset_by_the_peer_ends_the_stream(harness, caplog):
    """A reset is not logged as an error."""
    async with tcp_pair() as (ours, theirs):
        harness.connect(pair=(ours, theirs))
        # SO_LINGER with 0 seconds makes close() send a reset.
        linger = b"\1\0\0\0\0\0\0\0"
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        theirs.close()
        with trio.fail_after(10):
            await harness.dispatcher.wait_empty()

        assert [] == caplog.messages


async def test_failed_write_ends_its_stream(autojump_clock, harness):
    """A write error closes its stream and no other."""
    peer, other = harness.connect(), harness.connect()
    await harness.settle()
    next(iter(harness.dispatcher._streams.values())).sock.shutdown(socket.SHUT_WR)
    harness.publish("news")
    await harness.settle()

    assert not peer.stream.is_open
    assert ["start", "news"] == other.events()


async def test_write_to_a_closed_peer_ends_its_stream(autojump_clock, harness):
    """An event may be published before epoll reports the end of the peer."""
    peer, other = harness.connect(), harness.connect()
    await harness.settle()
    peer.sock.close()
    harness.publish("news")
    await harness.settle()

    assert 1 == len(harness.dispatcher)
    assert ["start", "news"] == other.events()
    assert not peer.stream.is_open


class FaultyStream:
    """A stream that raises in the given methods."""

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
async def test_stream_that_raises_ends_alone(autojump_clock, harness, caplog, faults):
    """The exception is logged, and other streams continue."""
    peer, other = harness.connect(FaultyStream(*faults)), harness.connect()
    await harness.settle()
    if faults == ["close"]:
        peer.sock.close()
    harness.publish("news")
    await harness.settle()

    assert ["start", "news"] == other.events()
    assert 1 == len(harness.dispatcher)
    assert 0 == peer.left_at
    assert len(faults) == len(caplog.records)


async def test_stream_whose_lifespan_raises_is_closed(autojump_clock, harness):
    """The caller gets the exception, and the socket is closed."""

    @contextmanager
    def closed():
        raise RuntimeError("rejected")
        yield

    ours, theirs = socket.socketpair()
    stream = Stream(harness.history, now=0)
    with theirs:
        with pytest.raises(RuntimeError):
            harness.dispatcher.add(ours, stream, harness.wakeup, lifespan=closed())

        assert b"" == theirs.recv(1)
    assert 0 == len(harness.dispatcher)


async def test_wait_empty_returns_when_the_last_stream_ends(autojump_clock, harness):
    """`wait_empty()` returns at once if there is no stream."""
    with trio.fail_after(0):
        await harness.dispatcher.wait_empty()
    peers = [harness.connect(max_age=age) for age in (10, 20)]
    await harness.dispatcher.wait_empty()

    assert 20 == pytest.approx(trio.current_time())
    assert all(peer.left_at for peer in peers)


async def test_close_all_sends_no_end_of_the_body(autojump_clock, harness):
    """A missing last chunk shows peers that the response is incomplete."""
    peers = [harness.connect() for _ in range(3)]
    await harness.settle()
    harness.dispatcher.close_all()

    assert [["start"]] * 3 == [peer.events() for peer in peers]
    assert all(peer.is_ended for peer in peers)
    assert 0 == len(harness.dispatcher)
    assert all(peer.left_at == 0 for peer in peers)


async def test_close_of_one_stream_may_close_all(autojump_clock, harness):
    """`close_all()` may be called by a stream's `close()`."""

    class Last(FaultyStream):
        def close(self):
            harness.dispatcher.close_all()

    peers = [harness.connect(Last()), harness.connect(), harness.connect()]
    await harness.settle()
    harness.dispatcher.close_all()
    for peer in peers:
        peer.read()

    assert all(peer.is_ended for peer in peers)
    assert 0 == len(harness.dispatcher)


async def test_cancelled_dispatcher_closes_all_streams(autojump_clock):
    """Sockets, streams and epoll are closed on cancellation."""
    harness = DispatcherHarness()
    async with trio.open_nursery() as nursery:
        await nursery.start(harness.dispatcher.run)
        peer = harness.connect()
        await harness.settle()
        nursery.cancel_scope.cancel()
    peer.read()
    peer.sock.close()

    assert peer.is_ended
    assert not peer.stream.is_open
    assert harness.dispatcher._epoll.closed


async def test_socket_added_after_the_end_is_closed(autojump_clock):
    """`add()` raises and closes the socket when the dispatcher has ended."""
    stream_dispatcher = StreamDispatcher()
    async with trio.open_nursery() as nursery:
        await nursery.start(stream_dispatcher.run)
        nursery.cancel_scope.cancel()
    ours, theirs = socket.socketpair()
    stream = Stream(History("e"), now=0)
    with theirs:
        with pytest.raises(ValueError, match="closed"):
            stream_dispatcher.add(ours, stream, Wakeup(), lifespan=nullcontext())

        assert b"" == theirs.recv(1)
