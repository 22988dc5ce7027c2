"""The WSGI client without sockets and threads."""

from __future__ import annotations

from wsgiref.validate import validator

import pytest

from roundel_adapters.testing import WsgiClient


class Page:
    """A WSGI application with one event stream, which notes its end."""

    def __init__(self):
        self.events = ["start"]
        self.ended = None

    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        try:
            yield b"retry: 2000\n\n"
            while self.events:
                text = self.events.pop(0)
                yield f"id: {text}\n".encode()
                yield f"data: {text}\n\n".encode()
            self.ended = "returned"
        finally:
            self.ended = self.ended or "closed"


def test_event_stream():
    """Events are read one by one; the application runs during a read."""
    page = Page()
    with WsgiClient(page).stream("/") as stream:
        first = stream.next_event()
        page.events.append("one")
        second = stream.next_event()

        assert (200, "text/event-stream") == (
            stream.status, stream.headers["content-type"],
        )  # fmt: skip
        assert ["start", "one"] == [first.data, second.data]
        assert ("one", 2000) == (stream.last_event_id, stream.retry)
        assert stream.next_event() is None
    assert "returned" == page.ended


def test_leaving_the_block_disconnects():
    """Leaving the block closes the response, also by an error."""
    page = Page()
    with WsgiClient(page).stream("/") as stream:
        stream.next_event()
        assert page.ended is None
    after = page.ended
    failing = Page()
    with pytest.raises(KeyError), WsgiClient(failing).open("GET", "/") as response:
        raise KeyError(response.next_chunk())

    assert ("closed", "closed") == (after, failing.ended)


def test_request():
    """The application gets the method, the path, the query, headers and the body."""
    seen = {}

    @validator
    def app(environ, start_response):
        seen.update(environ, body=environ["wsgi.input"].read(5))
        fields = [("Content-Type", "text/plain"), ("Set-Cookie", "a=1")]
        start_response("201 Created", [*fields, ("Set-Cookie", "b=2")])
        return [b"do", b"ne"]

    client = WsgiClient(app, headers={"X-One": "1", "Content-Type": "text/plain"})
    response = client.with_headers({"Cookie": ["a=1", "b=2"]}).request(
        "POST", "/caf%C3%A9?x=%20", body=b"hello", headers={"Accept": ["a/b", "c/d"]}
    )

    assert (201, b"done") == (response.status, response.body)
    assert {"a": "1", "b": "2"} == response.headers.cookies
    expected = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/cafÃ©",
        "QUERY_STRING": "x=%20",
        "HTTP_X_ONE": "1",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_ACCEPT": "a/b, c/d",
        "HTTP_HOST": "roundel.test",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "5",
        "body": b"hello",
    }
    assert expected == {name: seen[name] for name in expected}


def test_write_of_an_old_application():
    """Data that the application writes comes before what it returns."""

    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"one ")
        return [b"two"]

    assert b"one two" == WsgiClient(app).request("GET", "/").body


def test_application_that_does_not_start_a_response():
    """A response that was not started is an error that says so."""

    def app(environ, start_response):
        return [b"body"]

    with pytest.raises(RuntimeError, match=r"expected a call of start_response\(\)"):
        WsgiClient(app).request("GET", "/")
