"""Streams as WSGI applications, in the thread of the test."""

from __future__ import annotations

import gc
import socket
import weakref
from contextlib import closing, contextmanager
from contextvars import ContextVar
from wsgiref.validate import validator

import pytest

from roundel import CloseMessage, Event, History, Stream
from roundel_adapters.drain import Drain
from roundel_adapters.testing import WsgiClient
from roundel_adapters.topics import Topics
from roundel_adapters.wakeup import Wakeup
from roundel_adapters.wsgi import WsgiBody, WsgiStreamResponse

BYE = CloseMessage(Event("over", "bye"), 7_000)
GET = {"REQUEST_METHOD": "GET"}

user = ContextVar("user", default="nobody")


class Page:
    """A stream of one topic, and a count of its lifespans."""

    def __init__(self, **options):
        self.topics = Topics(close_message=lambda: BYE, signals=False)
        self.topics.publish("news", Event("first"), snapshot=Event("first"))
        self.stream = self.topics.stream("news", **options)
        self.entered = self.exited = 0

    @contextmanager
    def lifespan(self):
        self.entered += 1
        try:
            yield
        finally:
            self.exited += 1

    def response(self, **options):
        return WsgiStreamResponse(self.stream, lifespan=self.lifespan(), **options)

    def body(self, **environ):
        return WsgiBody({**GET, **environ}, self.stream, lifespan=self.lifespan())

    @property
    def counts(self):
        return self.entered, self.exited, self.stream.is_open


def test_headers_and_events():
    """A response has the headers of a stream, its own ones, and the events."""
    page = Page()
    app = page.response(headers=[("X-App", "1"), ("cache-control", "no-store")])
    with WsgiClient(app).stream("/") as stream:
        page.topics.publish("news", Event("second"))

        assert ["first", "second"] == [stream.next_event().data for _ in range(2)]
        assert 200 == stream.status
        assert "no-store" == stream.headers["cache-control"]
        assert "1" == stream.headers["x-app"]
        # PEP 3333: hop-by-hop headers belong to the server.
        assert "connection" not in stream.headers
        assert (1, 0, True) == page.counts
    assert (1, 1, False) == page.counts


def test_headers_as_a_mapping():
    """Own headers can be a mapping, also with a name of two letters."""
    page = Page()
    with WsgiClient(page.response(headers={"TE": "x", "X-App": "1"})).stream(
        "/"
    ) as stream:
        assert "x" == stream.headers["te"]
        assert "1" == stream.headers["x-app"]


def test_validator():
    """The validator of the standard library accepts the response (PEP 3333)."""
    for method in ("GET", "HEAD"):
        page = Page()
        app = validator(page.response(headers=[("X-App", "1")]))
        with WsgiClient(app).open(method, "/") as response:
            chunk = response.next_chunk()

        assert (method == "GET") == (chunk is not None)
        assert not page.stream.is_open


def test_bare_stream():
    """A stream without topics has its wakeup and its drain as arguments."""
    history, wakeup, drain = History("e"), Wakeup(), Drain(lambda: BYE, signals=False)
    stream = Stream(history, now=0.0, last_event_id="e.0")
    app = WsgiStreamResponse(stream, wakeup, drain=drain)
    with WsgiClient(app).stream("/") as opened:
        history.append(Event("live"))
        assert "live" == opened.next_event().data
        drain.begin()
        assert "over" == opened.next_event().data
        assert opened.next_event() is None
    with pytest.raises(TypeError, match="wakeup"):
        WsgiStreamResponse(Stream(history, now=0.0))


def test_head():
    """HEAD gets the headers alone, enters no lifespan, and closes the stream."""
    page = Page()
    response = WsgiClient(page.response()).request("HEAD", "/")

    assert (200, b"") == (response.status, response.body)
    assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
    assert (0, 0, False) == page.counts


def test_close_before_the_first_chunk():
    """A server that never reads a body closes it: the stream is closed, no more."""
    page = Page()
    page.body().close()

    assert (0, 0, False) == page.counts


def test_close_in_the_middle():
    """`close()` exits the lifespan and closes the stream; again it does nothing."""
    page = Page()
    body = page.body()
    next(body)
    body.close()
    body.close()

    assert (1, 1, False) == page.counts
    assert [] == list(body)
    assert not page.stream.wakeup.wakers


def test_body_that_is_dropped():
    """A body that is neither read nor closed, or not closed, holds nothing."""
    page = Page()
    body = page.body()
    next(body)
    other = page.topics.stream("news")
    unread, known = WsgiBody(GET, other), weakref.ref(other)
    del body, unread, other
    gc.collect()

    assert (1, 1, False) == page.counts
    assert known() is None


def test_error_of_the_application():
    """An error of a function of the stream is raised, and the lifespan is exited."""
    page = Page(hello=lambda info: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(page.body())

    assert (1, 1, False) == page.counts


def test_context_variables():
    """Functions of the stream and the lifespan see the variables of the view."""
    seen = []

    @contextmanager
    def lifespan():
        seen.append(("enter", user.get()))
        try:
            yield
        finally:
            seen.append(("exit", user.get()))

    page = Page(
        hello=lambda info: Event(user.get(), "hello"),
        ping=lambda cursor: Event(user.get(), "ping"),
        heartbeat=0.001,
    )
    token = user.set("alice")
    body = WsgiBody(GET, page.stream, lifespan=lifespan())
    user.reset(token)
    with closing(body):
        assert b"event: hello\ndata: alice\n\n" in next(body)
        assert b"event: ping\ndata: alice\n\n" == next(body)

    assert [("enter", "alice"), ("exit", "alice")] == seen


def test_peer_that_has_left():
    """A heartbeat ends the response of a peer that has closed its connection."""
    page = Page(heartbeat=0.001)
    ours, peers = socket.socketpair()
    with ours, peers:
        body = page.body(**{"gunicorn.socket": ours})
        next(body)
        assert 30.0 == ours.gettimeout()
        assert b":\n" == next(body)
        peers.close()

        assert [] == list(body)
        assert (1, 1, False) == page.counts
        assert ours.gettimeout() is None


@pytest.mark.parametrize("failing", ["lifespan", "hello"])
def test_error_before_the_first_chunk(failing):
    """A function that fails at the start closes the stream; the server sends a 500."""

    @contextmanager
    def fail():
        raise ZeroDivisionError
        yield

    page = Page(hello=(lambda _: 1 / 0) if failing == "hello" else None)
    lifespan = fail() if failing == "lifespan" else None
    ours, peers = socket.socketpair()
    with ours, peers:
        environ = {**GET, "gunicorn.socket": ours}
        body = WsgiBody(environ, page.stream, lifespan=lifespan)
        with pytest.raises(ZeroDivisionError):
            next(body)
        assert not page.stream.is_open
        body.close()
        ours.sendall(b"HTTP/1.1 500")

        assert b"HTTP/1.1 500" == peers.recv(99)


@pytest.mark.parametrize(
    "end", ["drain", "cut", "max_age", "unread", "unread in a drain", "HEAD"]
)
def test_end_of_the_connection(end):
    """The connection ends with a drain or a cut, and stays alive after other ends."""
    page = Page(max_age=0.001 if end == "max_age" else 99.0)
    ours, peers = socket.socketpair()
    with ours, peers:
        peers.setblocking(False)
        method = "HEAD" if end == "HEAD" else "GET"
        body = page.body(REQUEST_METHOD=method, **{"gunicorn.socket": ours})
        # A slow machine sends the message of max_age in the first chunk.
        first = next(body) if end in ("drain", "cut", "max_age") else b""
        if "drain" in end:
            page.topics.close()
        if end in ("drain", "max_age"):
            assert b"event: bye" in b"".join([first, *body])
        body.close()
        if end in ("drain", "cut"):
            assert b"" == peers.recv(1)
        else:
            with pytest.raises(BlockingIOError):
                peers.recv(1)
