"""Streams as responses of Flask, in the thread of the test."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

import pytest
from flask import Flask, g, request, session

from roundel import CloseMessage, Event
from roundel_adapters.flask import stream_response
from roundel_adapters.testing import WsgiClient
from roundel_adapters.topics import Topics

BYE = CloseMessage(Event("over", "bye"), 7_000)

user = ContextVar("user", default="nobody")


class Application:
    """An application with one stream, and a log of what it did."""

    def __init__(self):
        self.topics = Topics(close_message=lambda: BYE, signals=False)
        self.topics.publish("news", Event("first"), snapshot=Event("first"))
        self.log = []
        self.app = Flask(__name__)
        self.app.secret_key = "secret"
        self.app.add_url_rule("/events", view_func=self.events)
        self.app.teardown_request(lambda error: self.log.append("teardown"))

    @contextmanager
    def lifespan(self):
        self.log.append("enter")
        try:
            yield
        finally:
            self.log.append("exit")

    def events(self):
        self.stream = self.topics.stream(
            "news",
            last_event_id=request.headers.get("Last-Event-ID"),
            hello=self.hello,
        )
        user.set("alice")
        g.user, session["user"] = "bob", "carol"
        return stream_response(
            self.stream,
            headers=[("X-App", "1")],
            lifespan=self.lifespan(),
        )

    def hello(self, info):
        return Event(f"{user.get()} {g.user} {session['user']} {request.path}", "hello")


@pytest.fixture
def site():
    return Application()


def test_stream(site):
    """A view returns a stream, whose events arrive, and which a client resumes."""
    with WsgiClient(site.app).stream("/events") as stream:
        hello, first = stream.next_event(), stream.next_event()
        last_event_id = stream.last_event_id
        names = [name for name, _ in stream.headers.items()]
        assert "text/event-stream; charset=utf-8" == stream.headers["content-type"]
    site.topics.publish("news", Event("second"))
    headers = {"Last-Event-ID": last_event_id}
    with WsgiClient(site.app).stream("/events", headers=headers) as stream:
        stream.next_event()
        assert "second" == stream.next_event().data

    assert "first" == first.data
    # The functions of the stream run in the context of the request.
    assert "alice bob carol /events" == hello.data
    assert 1 == names.count("x-app") == names.count("content-type")


def test_lifespan_and_teardown(site):
    """A stream outlives the view, which has freed its resources by then."""
    with WsgiClient(site.app).stream("/events") as stream:
        assert ["teardown"] == site.log
        stream.next_event()
        assert ["teardown", "enter"] == site.log
        site.topics.close()
        assert ["first", "over", None] == [
            event and event.data for event in [stream.next_event() for _ in range(3)]
        ]
        assert ["teardown", "enter", "exit"] == site.log
    assert not site.stream.is_open


def test_disconnect(site):
    """The lifespan is exited when the server closes the response."""
    with WsgiClient(site.app).stream("/events") as stream:
        stream.next_event()
    assert ["teardown", "enter", "exit"] == site.log
    assert not site.stream.is_open


def test_response_that_is_not_read(site):
    """A server that closes an unread response closes the stream."""
    with WsgiClient(site.app).open("GET", "/events"):
        assert site.stream.is_open
    assert ["teardown"] == site.log
    assert not site.stream.is_open


def test_head(site):
    """HEAD gets the headers alone, and no length: that of a stream is unknown."""
    response = WsgiClient(site.app).request("HEAD", "/events")

    assert b"" == response.body
    assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
    assert "content-length" not in response.headers
    assert ["teardown"] == site.log
    assert not site.stream.is_open


def test_error_after_the_view(site):
    """An error that drops the response leaves no stream behind."""

    @site.app.after_request
    def fail(response):
        raise ZeroDivisionError

    response = WsgiClient(site.app).request("GET", "/events")

    assert 500 == response.status
    assert ["teardown"] == site.log


def test_extension_that_collects_the_body(site):
    """An extension that needs the whole body gets an error, not an endless wait."""

    @site.app.after_request
    def collect(response):
        with pytest.raises(RuntimeError, match="passthrough"):
            response.get_data()
        return response

    with WsgiClient(site.app).stream("/events") as stream:
        assert "first" == [stream.next_event(), stream.next_event()][1].data


def test_flask_client(site):
    """Flask's own test client reads a stream without collecting it."""
    response = site.app.test_client().get("/events", buffered=False)
    chunks = response.iter_encoded()

    assert b"data: first" in next(chunks)
    response.close()
    assert ["teardown", "enter", "exit"] == site.log
