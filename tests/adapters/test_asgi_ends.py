"""How the responses of ASGI applications end, whoever ends them."""

from __future__ import annotations

import asyncio
from math import inf

import anyio
import pytest

from roundel import CloseMessage, Event
from roundel_adapters.asgi import StreamResponse
from support.asgi_peer import Page, Peer, about, all_wait, on_both, run


@on_both
async def test_peer_that_takes_nothing_is_given_up():
    """A frozen page holds a stream no longer than the write timeout."""
    page = Page()
    async with page.answered(write_timeout=7.0) as peer:
        peer.free = anyio.Event()
        await anyio.sleep(1)
        page.tell("news")
        await peer.ended.wait()

        assert 8.0 == about(anyio.current_time())
        assert ["start"] == peer.told


@on_both
async def test_peer_that_takes_not_even_the_head_is_given_up():
    """What the stream costs is given back all the same."""
    page = Page()
    peer = Peer(StreamResponse(page.stream, page.bell, write_timeout=7.0))
    peer.free = anyio.Event()
    await peer.run()

    assert 7.0 == about(anyio.current_time())
    assert [] == peer.sent
    assert not page.stream.is_open


@on_both
async def test_disconnect_ends_the_stream_at_once():
    """The request's own body, whoever left it unread, is no disconnect."""
    page = Page()
    async with page.answered() as peer:
        await anyio.sleep(1)
        assert not peer.ended.is_set()
        peer.gone.set()
        await peer.ended.wait()

        assert 1.0 == about(anyio.current_time())
        assert not peer.is_whole


@on_both
async def test_disconnect_is_noticed_while_the_server_is_busy():
    """A send that never ends does not keep a peer that is gone."""
    page = Page()
    async with page.answered(write_timeout=inf) as peer:
        peer.free = anyio.Event()
        page.tell("news")
        await all_wait()
        peer.gone.set()
        await peer.ended.wait()


@on_both
async def test_send_that_raises_means_the_peer_is_gone():
    """ASGI: an OSError of `send` is a disconnect, and no failure."""
    page = Page()
    async with page.answered() as peer:
        peer.is_refusing = True
        page.tell("news")
        await peer.ended.wait()

        assert ["start"] == peer.told


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_peer_may_be_gone_before_the_head(backend, method):
    """Nothing is sent after a send that failed."""

    async def story():
        page = Page()
        peer = Peer(StreamResponse(page.stream, page.bell), method=method)
        peer.is_refusing = True
        await peer.run()

        assert [] == peer.sent

    run(backend, story)


@on_both
async def test_closed_stream_says_its_last_words_and_the_response_ends():
    """Close and ring: the peer is told, and the response is over."""
    page = Page()
    async with page.answered() as peer:
        await anyio.sleep(1)
        page.stream.close(CloseMessage(Event("over", "bye"), retry=5))
        page.bell.notify()
        await peer.ended.wait()

        assert 1.0 == about(anyio.current_time())
        assert ["start", "over"] == peer.told
        assert peer.is_whole


@on_both
async def test_stream_closed_without_a_word_ends_the_response_too():
    """The end is the end, said or not."""
    page = Page()
    async with page.answered() as peer:
        page.stream.close()
        page.bell.notify()
        await peer.ended.wait()

        assert ["start"] == peer.told
        assert peer.is_whole


@on_both
async def test_stream_closed_while_the_server_is_busy_is_brought_to_its_end():
    """What is being sent says that there is more; the end comes behind it."""
    page = Page()
    async with page.answered() as peer:
        peer.free = anyio.Event()
        page.tell("news")
        await all_wait()
        page.stream.close()
        page.bell.notify()
        peer.free.set()
        await peer.ended.wait()

        assert ["start", "news"] == peer.told
        assert peer.is_whole


@on_both
async def test_age_ends_a_stream_without_a_ring():
    """The deadline is kept even if nothing happens."""
    page = Page(max_age=40, close_message=CloseMessage(Event("later", "bye")))
    async with page.answered() as peer:
        await peer.ended.wait()

        assert [0, 15, 30, 40] == about(peer.times)
        assert ["start", "later"] == peer.told
        assert peer.is_whole


@on_both
async def test_cancelled_response_gives_back_what_it_claimed():
    """A server that shuts down need not wait for a stream."""
    page = Page()
    async with page.answered() as peer:
        await anyio.sleep(1)
        peer.task.cancel()
        await peer.ended.wait()

        assert 1.0 == about(anyio.current_time())
        assert not peer.is_whole


@on_both
async def test_response_cancelled_while_the_server_is_busy_ends():
    """The write timeout takes no cancellation for its own."""
    page = Page()
    async with page.answered() as peer:
        peer.free = anyio.Event()
        page.tell("news")
        await all_wait()
        peer.task.cancel()
        await peer.ended.wait()

        assert peer.task.cancelled_caught


def test_task_that_asyncio_cancels_is_cancelled():
    """Servers on asyncio know nothing of anyio's scopes."""

    async def story():
        page = Page()
        peer = Peer(StreamResponse(page.stream, page.bell))
        task = asyncio.create_task(peer.run())
        await all_wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert ["start"] == peer.told
        assert not page.stream.is_open

    run("asyncio", story)


@on_both
async def test_failure_of_the_stream_is_not_taken_for_a_peer_that_went():
    """An OSError from whoever makes frames is a fault, and is heard of."""

    def ping(cursor):
        raise OSError("no such table")

    page = Page(ping=ping)
    peer = Peer(StreamResponse(page.stream, page.bell, lifespan=page.counted()))
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="no such table")):
        await peer.run()

    assert (1, 1) == (page.entered, page.left)
