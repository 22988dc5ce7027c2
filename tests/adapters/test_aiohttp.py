"""Streams as aiohttp responses: its server without sockets, in virtual time."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from math import inf

import pytest
from aiohttp import web

from roundel import CloseMessage, Event, History, Parser, Stream
from roundel_adapters.aiohttp import close_on_shutdown, stream_response
from roundel_adapters.topics import Topics
from roundel_adapters.wakeup import Wakeup
from support.aiohttp_peer import HIGH_WATER, body_of, data_of, head_of, serving
from support.asgi_peer import all_tasks_wait, approx, run

BYE = CloseMessage(Event("over", "bye"), 7_000)
KILOBYTE = "x" * 1_024


class Page:
    """An application with one topic, and a count of its lifespans."""

    def __init__(self, *, middlewares=(), **options):
        self.topics = Topics(close_message=lambda: BYE, signals=False)
        self.topics.publish("a", Event("start"), snapshot=Event("start"))
        self.options = {"lifespan": self.lifespan, **options}
        self.streaming = {}
        self.entered = self.exited = 0
        self.app = web.Application(middlewares=middlewares)
        self.app.router.add_get("/", self.respond)

    async def respond(self, request):
        last_event_id = request.headers.get("Last-Event-ID")
        stream = self.topics.stream("a", last_event_id=last_event_id, **self.streaming)
        options = {**self.options, "lifespan": self.options["lifespan"]()}
        return stream_response(stream, **options)

    def publish(self, text):
        self.topics.publish("a", Event(text))

    @contextmanager
    def lifespan(self):
        self.entered += 1
        try:
            yield
        finally:
            self.exited += 1

    @asynccontextmanager
    async def served(self, **request):
        """Serve one request for the length of the block."""
        async with serving(self.app) as peer:
            transport = peer.connect(**request)
            await all_tasks_wait()
            yield transport
            transport.lose()
            await all_tasks_wait()
        assert self.entered == self.exited


def scenario(function):
    """Run a test on asyncio in virtual time."""

    def test(**arguments):
        run("asyncio", lambda: function(**arguments))

    test.__doc__ = function.__doc__
    test.__signature__ = inspect.signature(function)
    return test


@scenario
async def test_response():
    """The headers of an event stream are followed by the snapshot at once."""
    page = Page()
    async with page.served() as peer:
        assert (
            "HTTP/1.1 200 OK",
            [
                "Content-Type: text/event-stream; charset=utf-8",
                "Cache-Control: no-store, no-transform",
                "X-Accel-Buffering: no",
                "Transfer-Encoding: chunked",
            ],
        ) == head_of(peer)
        assert ["start"] == data_of(peer)
        assert 1 == page.entered


@scenario
async def test_events_and_heartbeats():
    """An event is sent when it is published, and a heartbeat after 15 seconds."""
    page = Page()
    async with page.served() as peer:
        await asyncio.sleep(20)
        page.publish("news")
        await all_tasks_wait()

        assert ["start", "news"] == data_of(peer)
        assert approx([0, 0, 15, 20]) == peer.times


@scenario
async def test_additional_headers():
    """Own headers are sent once each, and replace those of the stream."""
    page = Page(
        headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("cache-control", "x")]
    )
    async with page.served() as peer:
        assert [
            "Content-Type: text/event-stream; charset=utf-8",
            "X-Accel-Buffering: no",
            "Set-Cookie: a=1",
            "Set-Cookie: b=2",
            "cache-control: x",
            "Transfer-Encoding: chunked",
        ] == head_of(peer)[1]


@scenario
async def test_headers_as_a_mapping():
    """Own headers can be a mapping, also with a name of two letters."""
    async with Page(headers={"TE": "x", "X-App": "1"}).served() as peer:
        assert {"TE: x", "X-App: 1"} < set(head_of(peer)[1])


@scenario
async def test_middleware_changes_the_response():
    """A middleware adds headers and cookies to a response that it gets unsent."""

    @web.middleware
    async def add(request, handler):
        response = await handler(request)
        assert not response.prepared
        response.headers["X-App"] = "1"
        response.set_cookie("session", "s")
        response.enable_compression()
        return response

    page = Page(middlewares=[add])
    async with page.served(headers=["Accept-Encoding: gzip, deflate"]) as peer:
        lines = head_of(peer)[1]

        assert "X-App: 1" in lines
        assert "Set-Cookie: session=s; Path=/" in lines
        assert not any("Encoding: deflate" in line for line in lines)
        assert ["start"] == data_of(peer)


@scenario
async def test_head():
    """HEAD gets the headers of GET alone, and enters no lifespan."""
    page = Page()
    async with page.served(method="HEAD") as peer:
        status, lines = head_of(peer)

        assert "HTTP/1.1 200 OK" == status
        assert "Content-Type: text/event-stream; charset=utf-8" in lines
        assert not any("Transfer-Encoding" in line for line in lines)
        assert b"" == body_of(peer)[0]
        assert 0 == page.entered


@scenario
async def test_http_1_0():
    """A response of HTTP/1.0 has no chunks, and ends with its connection."""
    page = Page()
    async with page.served(version="1.0") as peer:
        assert 1 == head_of(peer)[1].count("Connection: close")
        assert b"event: bye" not in body_of(peer)[0]
        page.topics.close()
        await all_tasks_wait()

        assert body_of(peer)[0].endswith(b"retry: 7000\nevent: bye\ndata: over\n\n")
        assert peer.is_lost


@scenario
async def test_disconnect():
    """A disconnect is noticed at once, without a write."""
    page = Page()
    async with page.served() as peer:
        await asyncio.sleep(1)
        assert (1, 0) == (page.entered, page.exited)
        peer.lose()
        await all_tasks_wait()

        assert (1, 1) == (page.entered, page.exited)
        assert approx(1.0) == asyncio.get_running_loop().time()


@scenario
async def test_disconnect_of_a_stalled_peer():
    """A disconnect of a peer that does not read is noticed at once too."""
    page = Page(write_timeout=inf)
    async with page.served() as peer:
        peer.is_stalled = True
        for _ in range(100):
            page.publish(KILOBYTE)
            await all_tasks_wait()
        assert 0 == page.exited
        peer.lose()
        await all_tasks_wait()

        assert 1 == page.exited


@scenario
async def test_disconnect_before_the_body(caplog):
    """A peer that is gone before the body costs no error."""

    @web.middleware
    async def wait(request, handler):
        response = await handler(request)
        await response.prepare(request)
        await asyncio.sleep(1)
        return response

    page = Page(middlewares=[wait])
    async with page.served() as peer:
        peer.lose()
        await asyncio.sleep(2)

        assert (1, 1) == (page.entered, page.exited)
        assert "" == caplog.text


@scenario
async def test_write_timeout(caplog):
    """A peer that does not read is cut, and occupies bounded memory until then."""
    page = Page(write_timeout=7.0)
    async with page.served() as peer:
        peer.is_stalled = True
        for _ in range(1_000):
            page.publish(KILOBYTE)
            await all_tasks_wait()
        assert peer.unread < HIGH_WATER + 2 * len(KILOBYTE)
        assert (1, 0) == (page.entered, page.exited)
        await asyncio.sleep(7)

        assert peer.is_aborted
        assert (1, 1) == (page.entered, page.exited)
        assert "" == caplog.text


@scenario
async def test_peer_that_reads_again():
    """A peer that reads again in time gets the events that it missed."""
    page = Page(write_timeout=7.0)
    async with page.served() as peer:
        peer.is_stalled = True
        for number in range(200):
            page.publish(f"{number} {KILOBYTE}")
            await all_tasks_wait()
        await asyncio.sleep(6)
        peer.is_stalled, peer.unread = False, 0
        peer.protocol.resume_writing()
        await asyncio.sleep(6)

        numbers = [data.split()[0] for data in data_of(peer)]
        assert ["start", *map(str, range(200))] == numbers


@scenario
async def test_close():
    """`Topics.close()` ends the response after its close message."""
    page = Page()
    async with page.served() as peer:
        page.topics.close()
        await all_tasks_wait()

        assert ["start", "over"] == data_of(peer)
        assert body_of(peer)[1]
        # The connection can serve another request.
        assert not peer.is_lost


@scenario
async def test_shutdown_of_the_application():
    """With `close_on_shutdown()` a shutdown ends the streams before it waits."""
    page = Page()
    close_on_shutdown(page.app, page.topics)
    async with serving(page.app, shutdown_timeout=60.0) as peer:
        peers = [peer.connect() for _ in range(10)]
        await all_tasks_wait()

    assert [["start", "over"]] * 10 == [data_of(peer) for peer in peers]
    assert (10, 10) == (page.entered, page.exited)
    assert asyncio.get_running_loop().time() < 1.0


@scenario
async def test_cancelled_response():
    """A response that the server cancels exits its lifespan."""
    page = Page()
    async with serving(page.app, shutdown_timeout=1.0) as peer:
        peer.connect()
        await all_tasks_wait()

    assert (1, 1) == (page.entered, page.exited)


@scenario
async def test_handler_cancellation():
    """With aiohttp's handler cancellation a disconnect ends the stream as well."""
    page = Page()
    async with serving(page.app, handler_cancellation=True) as peer:
        transport = peer.connect()
        await all_tasks_wait()
        transport.lose()
        await all_tasks_wait()

        assert (1, 1) == (page.entered, page.exited)


@scenario
async def test_context_variables():
    """Functions of the stream run with the context variables of the request."""
    user = ContextVar("user")

    @web.middleware
    async def set_user(request, handler):
        user.set(request.headers["X-User"])
        return await handler(request)

    page = Page(middlewares=[set_user])
    page.streaming["hello"] = lambda resume: Event(user.get(), "hello")
    async with page.served(headers=["X-User: alice"]) as peer:
        assert ["alice", "start"] == data_of(peer)


@scenario
async def test_error_of_the_stream(caplog):
    """An error of the caller's function cuts the connection, and is logged."""

    def fail(resume):
        raise KeyError("no such user")

    page = Page()
    page.streaming["hello"] = fail
    async with page.served() as peer:
        assert peer.is_lost
        assert (1, 1) == (page.entered, page.exited)
    assert "no such user" in caplog.text


@scenario
async def test_bare_stream():
    """A stream of the core is served with its wakeup, on the clock of the loop."""
    history, wakeup = History("e", snapshot=Event("start")), Wakeup()
    app = web.Application()

    async def respond(request):
        now = asyncio.get_running_loop().time()
        return stream_response(Stream(history, now=now, max_age=40.0), wakeup)

    app.router.add_get("/", respond)
    async with serving(app) as peer:
        transport = peer.connect()
        await all_tasks_wait()
        history.append(Event("news"))
        wakeup.notify()
        await asyncio.sleep(41)

        assert ["start", "news"] == data_of(transport)
        assert body_of(transport)[1]
        assert not wakeup.wakers


def test_stream_without_a_wakeup():
    """A stream of the core without a wakeup is an error at once."""
    with pytest.raises(TypeError, match="wakeup"):
        stream_response(Stream(History("e"), now=0.0))


@scenario
async def test_resume():
    """A peer that reconnects gets exactly the events that it missed."""
    page = Page()
    async with serving(page.app) as server:
        first = server.connect()
        await all_tasks_wait()
        [start] = Parser().receive_data(body_of(first)[0])
        first.lose()
        page.publish("missed")
        again = server.connect(headers=[f"Last-Event-ID: {start.id}"])
        await all_tasks_wait()

        assert ["missed"] == data_of(again)


@scenario
async def test_next_request_of_the_connection():
    """A connection whose stream has ended serves another request."""
    page = Page()
    page.streaming["max_age"] = 10.0
    async with page.served() as peer:
        await asyncio.sleep(11)
        assert ["start", "over"] == data_of(peer)
        assert isinstance(peer.protocol, web.RequestHandler)
        peer.received = b""
        peer.protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await all_tasks_wait()

        assert ["start"] == data_of(peer)
