"""Event streams of an ASGI application, given to the server where it can take them."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import trio
from quart_trio import QuartTrio

from roundel import CloseMessage, Event, History, Stream
from roundel_adapters.quart import prepare, stream_response
from roundel_adapters.testing import AsgiClient
from roundel_adapters.wakeup import Wakeup
from support.fastpath_app import connect, request, task_count
from support.http2 import connect_http2
from support.server import read_until, serving

pytestmark = pytest.mark.slow

STATE = b"data: start\nid: e.0\n\n"


class Page:
    """An app with one stream, prepared to give it away."""

    def __init__(self):
        self.history = History("e", snapshot=Event("start"))
        self.bell = Wakeup()
        self.streams = []
        self.entered = self.left = 0
        self.app = QuartTrio(__name__)
        prepare(self.app)
        self.app.add_url_rule("/", view_func=self.stream)
        self.app.add_url_rule("/page", view_func=self.page)

    async def page(self):
        return "a page"

    async def stream(self):
        made = Stream(self.history, now=trio.current_time())
        self.streams.append(made)
        return stream_response(made, self.bell, lifespan=self.counted())

    @contextmanager
    def counted(self):
        self.entered += 1
        yield
        self.left += 1

    def tell(self, text):
        self.history.append(Event(text), now=trio.current_time())
        self.bell.notify()

    def end(self):
        for stream in self.streams:
            stream.close(CloseMessage(Event("over", "bye")))
        self.bell.notify()


@pytest.fixture
def page():
    return Page()


async def test_stream_that_was_given_away_costs_no_task(page):
    """It goes on when the application's part is over, to its end."""
    async with serving(page.app) as served:
        await connect(served)
        await trio.testing.wait_all_tasks_blocked()
        before = task_count()
        peers = [await connect(served, request("/")) for _ in range(5)]
        heads = [await read_until(peer, STATE + b"\r\n") for peer in peers]
        await trio.testing.wait_all_tasks_blocked()

        assert before == task_count()
        for head in heads:
            assert head.startswith(b"HTTP/1.1 200")
            assert b"text/event-stream" in head
            assert b"transfer-encoding: chunked" in head.lower()
        page.tell("news")
        for peer in peers:
            assert b"data: news" in await read_until(peer, b"e.1\n\n\r\n")
        page.end()
        for peer in peers:
            assert (await read_until(peer, b"never")).endswith(b"\n\n\r\n0\r\n\r\n")
        assert (5, 5) == (page.entered, page.left)


async def test_stream_behind_another_answer_is_given_away_too(page):
    """A connection that was kept alive is as good as a new one."""
    async with serving(page.app) as served:
        peer = await connect(served, request("/page") + request("/"))
        received = await read_until(peer, STATE + b"\r\n")
        page.tell("news")

        assert b"a page" in received
        assert b"data: news" in await read_until(peer, b"e.1\n\n\r\n")


async def test_peer_that_leaves_ends_the_stream_that_was_given_away(page):
    """At once, and what was claimed within it is given back."""
    async with serving(page.app) as served:
        peer = await connect(served, request("/"))
        await read_until(peer, STATE)
        peer.socket.close()
        with trio.fail_after(10):
            while page.streams[0].is_open:
                await trio.lowlevel.checkpoint()

        assert (1, 1) == (page.entered, page.left)


async def test_end_of_the_server_waits_for_the_last_words(page):
    """A stream that was given away is one of its own."""
    async with serving(page.app) as served:
        peer = await connect(served, request("/"))
        await read_until(peer, STATE)
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        assert not served.gone.is_set()
        page.end()

        assert b"event: bye" in await read_until(peer, b"never")
        with trio.fail_after(10):
            await served.gone.wait()


async def test_head_is_answered_without_a_stream(page):
    """HEAD has nothing to give away."""
    async with serving(page.app) as served:
        peer = await connect(served, request("/", method="HEAD") + request("/page"))
        received = await read_until(peer, b"a page")

        assert b"text/event-stream" in received
        assert b"data:" not in received
        assert 0 == page.entered


async def test_http_1_0_is_served_without_chunks(page):
    """It has none: the end of the connection is the end of the stream."""
    async with serving(page.app) as served:
        peer = await connect(served, request("/", version="1.0"))
        head, _, body = (await read_until(peer, STATE)).partition(b"\r\n\r\n")
        page.end()

        assert b"transfer-encoding" not in head.lower()
        assert STATE == body
        assert (await read_until(peer, b"never")).endswith(b"data: over\n\n")
        assert 1 == page.left


async def test_http_2_is_served_by_ordinary_writes(page):
    """Its connection is not the stream's alone."""
    async with serving(page.app) as served:
        peer = await connect_http2(served)
        stream = await peer.request("/")
        assert await peer.until(lambda: peer.responses[stream].body == STATE)
        assert (200, b"a page") == await peer.response(await peer.request("/page"))
        page.end()

        assert await peer.until(lambda: peer.responses[stream].is_ended)
        assert peer.responses[stream].body.endswith(b"data: over\n\n")


async def test_tls_is_served_by_ordinary_writes(page, serve_tls, connect_tls):
    """What is written has to be encrypted."""
    async with serve_tls(page.app) as served:
        stream = await connect_tls(served, "http/1.1")
        await stream.send_all(request("/"))
        await read_until(stream, STATE + b"\r\n")
        page.tell("news")
        assert b"data: news" in await read_until(stream, b"e.1\n\n\r\n")
        page.end()

        assert b"event: bye" in await read_until(stream, b"0\r\n\r\n")


async def test_server_without_the_extension_serves_the_stream(autojump_clock, page):
    """An application that is prepared needs no particular server."""
    async with AsgiClient(page.app).stream("/") as stream:
        first = await stream.next_event()
        page.tell("news")
        second = await stream.next_event()
        page.end()
        third = await stream.next_event()

        assert ["start", "news", "over"] == [e.data for e in (first, second, third)]
        assert await stream.next_event() is None
    assert (1, 1) == (page.entered, page.left)


async def test_page_of_such_an_application_is_as_before(page):
    """What is no stream is answered as ever."""
    async with serving(page.app) as served:
        peer = await connect(served, request("/page"))

        assert b"a page" in await read_until(peer, b"a page")
