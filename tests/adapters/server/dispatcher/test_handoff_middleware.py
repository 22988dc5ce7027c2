"""A prepared application behind middleware, under the server that takes streams."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import trio
from quart_trio import QuartTrio
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware

from roundel import CloseMessage, Event, History, Stream
from roundel_adapters.quart import stream_response
from roundel_adapters.quart_trio import prepare
from roundel_adapters.wakeup import Wakeup
from support.fastpath_app import connect, request, task_count
from support.server import read_until, serving

pytestmark = pytest.mark.slow


class Spans:
    """Middleware that wraps no *send*: it records when each call starts and ends."""

    def __init__(self, app, log):
        self.app, self.log = app, log

    async def __call__(self, scope, receive, send):
        self.log.append("start")
        try:
            await self.app(scope, receive, send)
        finally:
            self.log.append("end")


class ByteCounter(Spans):
    """Middleware that reads each message as one that ASGI defines."""

    async def __call__(self, scope, receive, send):
        async def count(message):
            if message["type"] != "http.response.start":
                self.log.append(len(message["body"]))
            await send(message)

        await self.app(scope, receive, count)


class HeadChanger(Spans):
    """Middleware that changes the status and adds a header."""

    async def __call__(self, scope, receive, send):
        async def change(message):
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (b"x-added", b"1")]
                message = {**message, "status": 203, "headers": headers}
            await send(message)

        await self.app(scope, receive, change)


class ExceptionWrapper(Spans):
    """Middleware that answers 500 for an application's exception."""

    async def __call__(self, scope, receive, send):
        try:
            await self.app(scope, receive, send)
        except Exception:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b""})


async def _dispatch(request, call_next):
    return await call_next(request)


MIDDLEWARE = {
    "span": Spans,
    "byte counter": ByteCounter,
    "head changer": HeadChanger,
    "exception wrapper": ExceptionWrapper,
    "gzip": lambda app, log: GZipMiddleware(app),
    "base http": lambda app, log: BaseHTTPMiddleware(app, dispatch=_dispatch),
    "cors": lambda app, log: CORSMiddleware(app, allow_origins=["*"]),
    "sessions": lambda app, log: SessionMiddleware(app, secret_key="x"),
    "copied scope": lambda app, log: lambda scope, *io: app(dict(scope), *io),
    "none": lambda app, log: app,
}


def outside(app, wrap):
    """Give the server the middleware in place of the application."""
    return wrap(app)


def in_quart(app, wrap):
    """Wrap as Quart documents it, so that the server is given the application."""
    app.asgi_app = wrap(app.asgi_app)
    return app


def in_subclass(app, wrap):
    """Wrap by a method that a subclass overrides."""
    original = QuartTrio.asgi_app.__get__(app)
    wrapped = wrap(original)
    app.__class__ = type(
        "Wrapped",
        (QuartTrio,),
        {"asgi_app": lambda self, *arguments: wrapped(*arguments)},
    )
    return app


class StreamApp:
    """A prepared application with a stream at `/`."""

    def __init__(self):
        self.history = History("e", snapshot=Event("start"))
        self.wakeup = Wakeup()
        self.log = []
        self.app = QuartTrio(__name__)
        prepare(self.app)
        self.app.add_url_rule("/", view_func=self.stream)

    async def stream(self):
        self.open = Stream(self.history, now=trio.current_time())
        return stream_response(self.open, self.wakeup, lifespan=self.lifespan())

    @contextmanager
    def lifespan(self):
        self.log.append("entered")
        yield
        self.log.append("left")

    def publish(self, text):
        self.history.append(Event(text), now=trio.current_time())
        self.wakeup.notify()

    def end(self):
        self.open.close(CloseMessage(Event("over", "bye")))
        self.wakeup.notify()


@pytest.mark.parametrize("place", [outside, in_quart, in_subclass])
@pytest.mark.parametrize("middleware", MIDDLEWARE.values(), ids=MIDDLEWARE)
async def test_stream_passes_through_middleware(middleware, place):
    """A stream behind middleware is as long, and as live, as without `prepare()`."""
    page = StreamApp()
    app = place(page.app, lambda app: middleware(app, page.log))
    async with serving(app) as served:
        page.log.clear()
        peer = await connect(served, request("/"))
        head = await read_until(peer, b"data: start\nid: e.0\n\n\r\n")
        page.publish("news")
        news = await read_until(peer, b"id: e.1\n\n\r\n")
        assert not {"left", "end"} & set(page.log)
        page.end()
        rest = await read_until(peer, b"0\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()

    assert head.startswith(
        b"HTTP/1.1 203" if middleware is HeadChanger else b"HTTP/1.1 200"
    )
    assert (b"x-added" in head) == (middleware is HeadChanger)
    assert b"data: news" in news
    assert b"event: bye" in rest
    assert [1, 1] == [page.log.count("entered"), page.log.count("left")]
    if middleware is Spans:
        assert ["start", "entered", "left", "end"] == page.log[:4]
    if middleware is ByteCounter:
        assert sum(n for n in page.log if isinstance(n, int)) > len(
            b"data: newsdata: over"
        )


async def test_application_without_middleware_needs_no_task():
    """The streams of an application that the server calls itself are handed off."""
    page = StreamApp()
    async with serving(page.app) as served:
        await connect(served)
        await trio.testing.wait_all_tasks_blocked()
        before = task_count()
        peer = await connect(served, request("/"))
        await read_until(peer, b"id: e.0\n\n\r\n")
        await trio.testing.wait_all_tasks_blocked()

        assert before == task_count()
        page.end()
        await read_until(peer, b"0\r\n\r\n")


async def test_status_of_the_response_is_kept():
    """A hook that changes the status of a stream changes it in a hand-off too."""
    page = StreamApp()

    @page.app.after_request
    async def change(response):
        response.status_code = 203
        return response

    async with serving(page.app) as served:
        peer = await connect(served, request("/"))
        head = await read_until(peer, b"id: e.0\n\n\r\n")
        page.end()
        await read_until(peer, b"0\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 203")
