"""How the responses of ASGI applications end."""

from __future__ import annotations

import asyncio
from math import inf

import anyio
import pytest

from roundel import CloseMessage, Event
from roundel_adapters.asgi import StreamResponse
from support.asgi_peer import Page, Peer, all_tasks_wait, approx, on_both_loops, run


@on_both_loops
async def test_write_timeout():
    """A write that takes longer than *write_timeout* ends the response."""
    page = Page()
    async with page.served(write_timeout=7.0) as peer:
        peer.may_send = anyio.Event()
        await anyio.sleep(1)
        page.publish("news")
        await peer.ended.wait()

        assert 8.0 == approx(anyio.current_time())
        assert ["start"] == peer.received


@on_both_loops
async def test_write_timeout_of_the_headers():
    """A write timeout of the headers ends the response too."""
    page = Page()
    peer = Peer(StreamResponse(page.stream, page.wakeup, write_timeout=7.0))
    peer.may_send = anyio.Event()
    await peer.run()

    assert 7.0 == approx(anyio.current_time())
    assert [] == peer.sent
    assert not page.stream.is_open


@on_both_loops
async def test_disconnect():
    """A disconnect ends the response; an unread request body does not."""
    page = Page()
    async with page.served() as peer:
        await anyio.sleep(1)
        assert not peer.ended.is_set()
        peer.disconnect.set()
        await peer.ended.wait()

        assert 1.0 == approx(anyio.current_time())
        assert not peer.is_complete


@on_both_loops
async def test_disconnect_during_a_send():
    """A disconnect during a send ends the response."""
    page = Page()
    async with page.served(write_timeout=inf) as peer:
        peer.may_send = anyio.Event()
        page.publish("news")
        await all_tasks_wait()
        peer.disconnect.set()
        await peer.ended.wait()


@on_both_loops
async def test_os_error_of_send():
    """An OSError of *send* is a disconnect (ASGI), and no failure."""
    page = Page()
    async with page.served() as peer:
        peer.send_fails = True
        page.publish("news")
        await peer.ended.wait()

        assert ["start"] == peer.received


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_disconnect_before_the_headers(backend, method):
    """After a failed *send* nothing is sent."""

    async def scenario():
        page = Page()
        peer = Peer(StreamResponse(page.stream, page.wakeup), method=method)
        peer.send_fails = True
        await peer.run()

        assert [] == peer.sent

    run(backend, scenario)


@on_both_loops
async def test_close_with_a_message():
    """`close()` and `notify()` send the close message and end the response."""
    page = Page()
    async with page.served() as peer:
        await anyio.sleep(1)
        page.stream.close(CloseMessage(Event("over", "bye"), retry=5))
        page.wakeup.notify()
        await peer.ended.wait()

        assert 1.0 == approx(anyio.current_time())
        assert ["start", "over"] == peer.received
        assert peer.is_complete


@on_both_loops
async def test_close_without_a_message():
    """`close()` without a message ends the response."""
    page = Page()
    async with page.served() as peer:
        page.stream.close()
        page.wakeup.notify()
        await peer.ended.wait()

        assert ["start"] == peer.received
        assert peer.is_complete


@on_both_loops
async def test_close_during_a_send():
    """A stream that is closed during a send ends the response after it."""
    page = Page()
    async with page.served() as peer:
        peer.may_send = anyio.Event()
        page.publish("news")
        await all_tasks_wait()
        page.stream.close()
        page.wakeup.notify()
        peer.may_send.set()
        await peer.ended.wait()

        assert ["start", "news"] == peer.received
        assert peer.is_complete


@on_both_loops
async def test_max_age():
    """*max_age* ends the response without a `notify()`."""
    page = Page(max_age=40, close_message=CloseMessage(Event("later", "bye")))
    async with page.served() as peer:
        await peer.ended.wait()

        assert [0, 15, 30, 40] == approx(peer.times)
        assert ["start", "later"] == peer.received
        assert peer.is_complete


@on_both_loops
async def test_cancelled_response():
    """A cancelled response closes the stream."""
    page = Page()
    async with page.served() as peer:
        await anyio.sleep(1)
        peer.task.cancel()
        await peer.ended.wait()

        assert 1.0 == approx(anyio.current_time())
        assert not peer.is_complete


@on_both_loops
async def test_response_cancelled_during_a_send():
    """A response that is cancelled during a send ends."""
    page = Page()
    async with page.served() as peer:
        peer.may_send = anyio.Event()
        page.publish("news")
        await all_tasks_wait()
        peer.task.cancel()
        await peer.ended.wait()

        assert peer.task.cancelled_caught


def test_cancelled_asyncio_task():
    """A cancelled asyncio task closes the stream."""

    async def scenario():
        page = Page()
        peer = Peer(StreamResponse(page.stream, page.wakeup))
        task = asyncio.create_task(peer.run())
        await all_tasks_wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert ["start"] == peer.received
        assert not page.stream.is_open

    run("asyncio", scenario)


@on_both_loops
async def test_os_error_of_the_stream():
    """An OSError of the stream is raised, and not treated as a disconnect."""

    def ping(cursor):
        raise OSError("no such table")

    page = Page(ping=ping)
    peer = Peer(StreamResponse(page.stream, page.wakeup, lifespan=page.lifespan()))
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="no such table")):
        await peer.run()

    assert (1, 1) == (page.entered, page.exited)
