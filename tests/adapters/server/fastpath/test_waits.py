"""The short way: what handles its time, and what comes in pieces."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from roundel_adapters.server.fastpath.http1 import Http1Connection
from roundel_adapters.server.fastpath.request_parser import IncompleteBody
from support.fastpath_app import (
    FakeWire,
    ShortApp,
    asked,
    chunked,
    posted,
    served,
    undated,
)


class Pipe(FakeWire):
    """A wire whose peer is this test, and reads only what it asks for."""

    def __init__(self):
        super().__init__()
        self.send, self._received = trio.open_memory_channel(0)
        self._sent, self.read = trio.open_memory_channel(0)

    async def receive(self):
        try:
            return await self._received.receive()
        except trio.EndOfChannel:
            return b""

    async def write(self, data):
        await self._sent.send(data)
        return self.is_open


async def test_lines_are_answered_while_they_come(autojump_clock, nursery):
    """Both directions go on at once, and a slow reader slows the sender down."""
    pipe, app = Pipe(), ShortApp()
    nursery.start_soon(Http1Connection(app, pipe, max_head=1_000).run, 10, 75)
    await pipe.send.send(posted(b"onetwosix", target="/lines")[:-9])
    assert b"Transfer-Encoding: chunked" in await pipe.read.receive()
    await pipe.send.send(b"one")
    assert b"3\r\nONE\r\n" == await pipe.read.receive()
    await pipe.send.send(b"two")
    with trio.move_on_after(60) as not_taken:
        await pipe.send.send(b"six")

    assert not_taken.cancelled_caught
    assert b"3\r\nTWO\r\n" == await pipe.read.receive()
    await pipe.send.send(b"six")
    assert b"3\r\nSIX\r\n" == await pipe.read.receive()
    assert b"0\r\n\r\n" == await pipe.read.receive()
    await pipe.send.send(asked())
    assert b"200 OK" in await pipe.read.receive()
    pipe.send.close()


async def test_lines_in_chunks_are_the_last_of_their_connection():
    """The head says so, since nothing is read behind chunks."""
    data = chunked(b"one", b"two", target="/lines")
    for pieces in ([data], [data[:-9], data[-9:]]):
        app, wire, left = await served(pieces)
        head, _, body = wire.written.partition(b"\r\n\r\n")

        assert head.endswith(b"Connection: close")
        assert b"ONETWO" == b"".join(body.split(b"\r\n")[1:-3:2])
        assert "last line" in app.done
        assert left == b""


async def test_lines_for_a_peer_that_is_gone_are_made_no_further():
    """Who handles nothing any more ends what it asked for."""
    app, wire = ShortApp(), FakeWire([posted(b"hello", target="/lines")])
    wire.is_open = False
    await Http1Connection(app, wire, max_head=1_000).run(10, 75)

    assert "last line" not in app.done
    assert b"HELLO" not in wire.written


async def test_lines_end_with_the_peer_that_reads_them():
    """It may leave at any of them."""
    app, wire = ShortApp(), FakeWire([posted(b"hello", target="/lines")])

    async def write(data):
        wire.written += data
        return b"HELLO" not in wire.written

    wire.write = write
    await Http1Connection(app, wire, max_head=1_000).run(10, 75)

    assert wire.written.endswith(b"HELLO\r\n")
    assert "last line" not in app.done


async def test_body_that_is_cut_short_fails_who_cannot_be_cancelled():
    """Whoever shields itself is told by an error."""
    app = ShortApp()

    async def shielded(request):
        with trio.CancelScope(shield=True):
            await app.echo(request)
        app.done.append("done")

    app.deaf = shielded
    wire = FakeWire([posted(b"hello", target="/deaf")[:-1]])
    with pytest.raises(IncompleteBody):
        await Http1Connection(app, wire, max_head=1_000).run(10, 75)

    assert [] == app.done


async def test_peer_that_leaves_takes_its_request_back(autojump_clock, nursery):
    """Whoever waits for a body is cancelled, and can do nothing about half of it."""
    pipe, app = Pipe(), ShortApp()
    failed = trio.Event()

    async def run():
        with pytest.raises(IncompleteBody):
            await Http1Connection(app, pipe, max_head=1_000).run(10, 75)
        failed.set()

    async def forgiving(request):
        try:
            await app.echo(request)
        except Exception:
            app.done.append("forgiven")
        app.done.append("done")

    app.deaf = forgiving
    nursery.start_soon(run)
    await pipe.send.send(posted(b"hello", target="/deaf")[:-1])
    pipe.send.close()
    await failed.wait()

    assert [] == app.done


async def test_failing_application_costs_the_connection():
    """A fault is not answered, and is told to whoever serves the connection."""
    wire = FakeWire([asked("/fail") + asked()])
    plain = Http1Connection(ShortApp(), wire, max_head=1_000)
    with pytest.raises(RuntimeError):
        await plain.run(10, 75)

    assert b"" == wire.written


WAITS = {
    "whole": ([asked()], [10, None, 75]),
    "two": ([asked(), asked()], [10, None, 75, None, 75]),
    "in-pieces": ([asked()[:9], asked()[9:20], asked()[20:]], [10, 10, None, 75]),
    "behind": ([asked() + asked()[:9], asked()[9:]], [10, None, 10, None, 75]),
}


@pytest.mark.parametrize(("pieces", "waits"), WAITS.values(), ids=WAITS)
async def test_wire_is_told_how_long_to_wait(pieces, waits):
    """A head has its time from its first byte, whenever it came; idling has its own."""
    _, wire, _ = await served(pieces)

    assert waits == wire.waits


async def test_request_that_was_sent_ahead_of_the_end_is_not_begun(autojump_clock):
    """When the wire ends, what has come is not served any more."""
    app, wire = ShortApp(), FakeWire([asked() + asked()])
    with trio.CancelScope() as patience:
        wire.wait = lambda seconds: patience.cancel() if wire.written else None
        await Http1Connection(app, wire, max_head=1_000).run(10, 75)

    assert 1 == len(app.done)


async def test_events_begin_with_a_head_and_are_given_away():
    """The stream goes to whoever drives streams, and the connection with it."""
    app, wire, left = await served([asked("/events") + asked()])
    head = undated(wire.written)

    assert [(app.streams[0], app.bell)] == [given[:2] for given in wire.adopted]
    assert head.startswith(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
    assert b"" == left


@pytest.mark.parametrize("count", [1, 100])
async def test_answers_wait_for_a_peer_that_does_not_read(
    autojump_clock, nursery, count
):
    """Of many requests sent ahead only the next is served."""
    pipe, app = Pipe(), ShortApp()
    run = partial(Http1Connection(app, pipe, max_head=1_000).run, 10, 75)
    nursery.start_soon(run)
    await pipe.send.send(asked() * count)
    await trio.testing.wait_all_tasks_blocked()

    assert 1 == len(app.done)
    for _ in range(count):
        await pipe.read.receive()
    pipe.send.close()
