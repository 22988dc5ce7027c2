"""`RequestReader`: which requests the fast path accepts, and what it reads of them."""

from __future__ import annotations

import pytest

from roundel_adapters.server import ServerLimits
from roundel_adapters.server.fastpath.interface import Headers
from roundel_adapters.server.fastpath.request_parser import (
    MAX_BODY,
    RequestReader,
    UnsupportedRequest,
)
from support.fastpath_app import FakeFastpathApp, post, request


def make_reader(app=None, **limits):
    return RequestReader(app or FakeFastpathApp(), ServerLimits(**limits))


def splits(data):
    """Return *data* whole, and byte by byte."""
    return [[data], [data[i : i + 1] for i in range(len(data))]]


def test_field_names_are_case_insensitive():
    """RFC 9110 5.1; all values of a repeated field are returned."""
    fields = Headers([("cookie", "a"), ("x", "1"), ("cookie", "b")])

    assert ["a", "b"] == fields.getlist("Cookie")
    assert "a" == fields.get("COOKIE")
    assert (None, []) == (fields.get("y"), fields.getlist("y"))


SUPPORTED = {
    "get": (request(), ("GET", b"", True)),
    "post": (post(b"hello"), ("POST", b"hello", True)),
    "empty-body": (post(b""), ("POST", b"", True)),
    "close": (request("/echo", "Connection: close"), ("GET", b"", False)),
    "space-after-length": (
        request("/echo", "Content-Length: 5 ", method="POST", body=b"hello"),
        ("POST", b"hello", True),
    ),
    "blank-line-in-body": (post(b"\r\n\r\n"), ("POST", b"\r\n\r\n", True)),
    "largest-body": (post(bytes(MAX_BODY)), ("POST", bytes(MAX_BODY), True)),
}


@pytest.mark.parametrize(("data", "expected"), SUPPORTED.values(), ids=SUPPORTED)
def test_request_is_complete_with_its_last_byte(data, expected):
    """Whole or byte by byte, and again on the same connection."""
    reader = make_reader()
    for chunks in [*splits(data)[: 1 if len(data) > 1_000 else 2], [data]]:
        *first, last = chunks
        assert [None] * len(first) == [reader.receive_data(each) for each in first]
        complete = reader.receive_data(last)

        head = complete.head
        assert expected == (head.method, complete.body, head.keep_alive)
        assert b"" == reader.received
        assert not reader.has_head


UNSUPPORTED = {
    "other-path": request("/other"),
    "absolute-form": request("http://x/echo"),
    "fragment": request("/echo#x"),
    "two-spaces": request(" /echo"),
    "http-1.0": request(version="1.0"),
    "http-2.0": request(version="2.0"),
    "not-http": request().replace(b"HTTP", b"RTSP"),
    "no-host": b"GET /echo HTTP/1.1\r\n\r\n",
    "two-hosts": request("/echo", "Host: y"),
    "expect": request("/echo", "Expect: 100-continue", "Content-Length: 1"),
    "websocket": request("/echo", "Upgrade: websocket", "Connection: Upgrade"),
    "h2c": request("/echo", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"),
    "chunked": request("/echo", "Transfer-Encoding: chunked"),
    "length-and-chunked": request(
        "/echo", "Content-Length: 5", "Transfer-Encoding: chunked"
    ),
    "chunked-and-length": request(
        "/echo", "Transfer-Encoding: chunked", "Content-Length: 5"
    ),
    "two-lengths": request("/echo", "Content-Length: 5", "Content-Length: 6"),
    "signed-length": request("/echo", "Content-Length: +5"),
    "body-too-large": request("/echo", f"Content-Length: {MAX_BODY + 1}"),
    "coding": request("/echo", "Transfer-Encoding: gzip"),
    "space-before-colon": request("/echo", "X : a"),
    "nul": request("/echo", "X: a\0"),
    "obs-fold": request("/echo", "X: a\r\n b"),
    "query-not-ascii": request("/echo?é"),
    "bare-lf": request().replace(b"\r\n", b"\n"),
    "bare-lf-at-the-end": request()[:-2] + b"\n",
    "lower-case-method": request(method="get"),
    "http2-preface": b"PRI * HTTP/2.0\r\n\r\n",
}


@pytest.mark.parametrize("data", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_request_keeps_all_its_bytes(data):
    """It is refused with the last byte of its head, so ASGI can read it all."""
    for chunks in splits(data):
        reader = make_reader()
        *first, last = chunks
        assert [None] * len(first) == [reader.receive_data(each) for each in first]
        with pytest.raises(UnsupportedRequest):
            reader.receive_data(last)

        assert data == reader.received


@pytest.mark.parametrize("tail", [b"x", request(), b"\r\n"])
@pytest.mark.parametrize("data", [request(), post(b"hello")])
def test_bytes_after_a_request_make_it_unsupported(data, tail):
    """ASGI answers pipelined requests one after another."""
    reader = make_reader()
    with pytest.raises(UnsupportedRequest):
        reader.receive_data(data + tail)

    assert data + tail == reader.received


def test_bytes_that_begin_no_request_are_refused_at_once():
    """A TLS client on a plain port gets its error without a timeout."""
    reader = make_reader()
    with pytest.raises(UnsupportedRequest):
        reader.receive_data(b"\x16\x03\x01")

    assert b"\x16\x03\x01" == reader.received


def test_head_limit_holds_with_and_without_an_end():
    """A head over the limit is refused as soon as it has too many bytes."""
    long = request("/echo", f"X: {'x' * 200}")
    for *first, last in ([long], [long[:90], long[90:150]]):
        reader = make_reader(max_head=100)
        assert [None] * len(first) == [reader.receive_data(each) for each in first]
        with pytest.raises(UnsupportedRequest):
            reader.receive_data(last)

        assert b"".join([*first, last]) == reader.received
    assert make_reader(max_head=100).receive_data(request()) is not None


def test_target_over_the_limit_is_unsupported():
    """ASGI answers it with 414; at the limit the parser is one byte stricter."""
    for target, is_supported in (("/echo?aa", True), ("/echo?aaa", False)):
        reader = make_reader(max_target=8)
        if is_supported:
            assert reader.receive_data(request(target)) is not None
        else:
            with pytest.raises(UnsupportedRequest):
                reader.receive_data(request(target))


def test_head_is_parsed_once_while_the_body_is_received():
    """`has_head` is true from the end of the head to the end of the body."""
    reader, data = make_reader(), post(b"hello")
    states = []
    for size in range(len(data)):
        reader.receive_data(data[size : size + 1])
        states.append(reader.has_head)

    end = data.index(b"\r\n\r\n") + 4
    assert [size >= end for size in range(1, len(data))] == states[:-1]
    assert not states[-1]


async def test_handler_gets_the_request():
    """Method, path, query and fields; whitespace around values is stripped."""
    app = FakeFastpathApp()
    data = request("/echo?a=%20b", "X-A:  a b \t", "X-E:", "x-a: é")
    complete = make_reader(app).receive_data(data)
    await complete.handler(complete.head.headers, complete.body)
    (call,) = app.calls

    assert ("GET", "/echo", b"a=%20b") == (call.method, call.path, call.query)
    assert ["a b", "é"] == call.headers.getlist("X-A")
    assert "" == call.headers.get("X-E")


def test_cached_head_is_not_changed_by_its_user():
    """A head that comes again is parsed to the same fields."""
    reader = make_reader()
    first = reader.receive_data(request())
    first.head.headers.getlist("Host").append("changed")
    second = reader.receive_data(request())

    assert ["x"] == second.head.headers.getlist("Host")


def test_handler_is_looked_up_again_for_a_cached_head():
    """A cached head does not keep the handler of another application."""
    make_reader().receive_data(request())
    app = FakeFastpathApp()
    app.PATHS = frozenset()
    with pytest.raises(UnsupportedRequest):
        make_reader(app).receive_data(request())
