"""Event streams that an ASGI application hands off to the server."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import trio
from quart_trio import QuartTrio

from roundel import CloseMessage, Event, History, Stream
from roundel_adapters.quart import stream_response
from roundel_adapters.quart_trio import prepare
from roundel_adapters.testing import AsgiClient
from roundel_adapters.wakeup import Wakeup
from support.fastpath_app import connect, request, task_count
from support.http2 import connect_http2
from support.server import read_until, serving

pytestmark = pytest.mark.slow

STATE = b"data: start\nid: e.0\n\n"


class HandOffApp:
    """An app with an event stream at `/`, prepared for the hand-off."""

    def __init__(self):
        self.history = History("e", snapshot=Event("start"))
        self.wakeup = Wakeup()
        self.streams = []
        self.entered = self.left = 0
        self.app = QuartTrio(__name__)
        prepare(self.app)
        self.app.add_url_rule("/", view_func=self.stream)
        self.app.add_url_rule("/page", view_func=self.page)

    async def page(self):
        return "a page"

    async def stream(self):
        stream = Stream(self.history, now=trio.current_time())
        self.streams.append(stream)
        return stream_response(stream, self.wakeup, lifespan=self.lifespan())

    @contextmanager
    def lifespan(self):
        self.entered += 1
        yield
        self.left += 1

    def publish(self, text):
        self.history.append(Event(text), now=trio.current_time())
        self.wakeup.notify()

    def end(self):
        for stream in self.streams:
            stream.close(CloseMessage(Event("over", "bye")))
        self.wakeup.notify()


@pytest.fixture
def hand_off_app():
    return HandOffApp()


async def test_stream_that_was_handed_off_needs_no_task(hand_off_app):
    """The stream continues to its end after the application has returned."""
    async with serving(hand_off_app.app) as served:
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
        hand_off_app.publish("news")
        for peer in peers:
            assert b"data: news" in await read_until(peer, b"e.1\n\n\r\n")
        hand_off_app.end()
        for peer in peers:
            assert (await read_until(peer, b"never")).endswith(b"\n\n\r\n0\r\n\r\n")
        assert (5, 5) == (hand_off_app.entered, hand_off_app.left)


async def test_stream_on_a_kept_alive_connection_is_handed_off(hand_off_app):
    """A stream may follow other responses on a connection."""
    async with serving(hand_off_app.app) as served:
        peer = await connect(served, request("/page") + request("/"))
        received = await read_until(peer, STATE + b"\r\n")
        hand_off_app.publish("news")

        assert b"a page" in received
        assert b"data: news" in await read_until(peer, b"e.1\n\n\r\n")


async def test_peer_that_disconnects_ends_its_stream(hand_off_app):
    """The stream is closed and its lifespan exited."""
    async with serving(hand_off_app.app) as served:
        peer = await connect(served, request("/"))
        await read_until(peer, STATE)
        peer.socket.close()
        with trio.fail_after(10):
            while hand_off_app.streams[0].is_open:
                await trio.lowlevel.checkpoint()

        assert (1, 1) == (hand_off_app.entered, hand_off_app.left)


async def test_shutdown_waits_for_the_close_message(hand_off_app):
    """The server ends after the last stream that was handed off."""
    async with serving(hand_off_app.app) as served:
        peer = await connect(served, request("/"))
        await read_until(peer, STATE)
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        assert not served.gone.is_set()
        hand_off_app.end()

        assert b"event: bye" in await read_until(peer, b"never")
        with trio.fail_after(10):
            await served.gone.wait()


async def test_head_is_answered_without_a_stream(hand_off_app):
    """A response to HEAD is not handed off."""
    async with serving(hand_off_app.app) as served:
        peer = await connect(served, request("/", method="HEAD") + request("/page"))
        received = await read_until(peer, b"a page")

        assert b"text/event-stream" in received
        assert b"data:" not in received
        assert 0 == hand_off_app.entered


async def test_http_1_0_is_served_without_chunks(hand_off_app):
    """EOF ends the body of an HTTP/1.0 response."""
    async with serving(hand_off_app.app) as served:
        peer = await connect(served, request("/", version="1.0"))
        head, _, body = (await read_until(peer, STATE)).partition(b"\r\n\r\n")
        hand_off_app.end()

        assert b"transfer-encoding" not in head.lower()
        assert STATE == body
        assert (await read_until(peer, b"never")).endswith(b"data: over\n\n")
        assert 1 == hand_off_app.left


async def test_http_2_stream_is_not_handed_off(hand_off_app):
    """An HTTP/2 connection is shared with other requests."""
    async with serving(hand_off_app.app) as served:
        peer = await connect_http2(served)
        stream = await peer.request("/")
        assert await peer.until(lambda: peer.responses[stream].body == STATE)
        assert (200, b"a page") == await peer.response(await peer.request("/page"))
        hand_off_app.end()

        assert await peer.until(lambda: peer.responses[stream].is_ended)
        assert peer.responses[stream].body.endswith(b"data: over\n\n")


async def test_tls_stream_is_not_handed_off(hand_off_app, serve_tls, connect_tls):
    """The data has to be encrypted."""
    async with serve_tls(hand_off_app.app) as served:
        stream = await connect_tls(served, "http/1.1")
        await stream.send_all(request("/"))
        await read_until(stream, STATE + b"\r\n")
        hand_off_app.publish("news")
        assert b"data: news" in await read_until(stream, b"e.1\n\n\r\n")
        hand_off_app.end()

        assert b"event: bye" in await read_until(stream, b"0\r\n\r\n")


async def test_server_without_the_extension_serves_the_stream(
    autojump_clock, hand_off_app
):
    """A prepared application works on any ASGI server."""
    async with AsgiClient(hand_off_app.app).stream("/") as stream:
        first = await stream.next_event()
        hand_off_app.publish("news")
        second = await stream.next_event()
        hand_off_app.end()
        third = await stream.next_event()

        assert ["start", "news", "over"] == [e.data for e in (first, second, third)]
        assert await stream.next_event() is None
    assert (1, 1) == (hand_off_app.entered, hand_off_app.left)


async def test_other_responses_are_not_handed_off(hand_off_app):
    """A response that is not an event stream is sent as usual."""
    async with serving(hand_off_app.app) as served:
        peer = await connect(served, request("/page"))

        assert b"a page" in await read_until(peer, b"a page")
