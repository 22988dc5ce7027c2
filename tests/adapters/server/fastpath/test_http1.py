"""The short way on one connection, without a socket."""

from __future__ import annotations

import re

import pytest

from roundel_adapters.server.fastpath.http1 import Http1Connection
from roundel_adapters.server.fastpath.interface import Headers, Response
from support.fastpath_app import (
    FakeWire,
    ShortApp,
    asked,
    chunked,
    posted,
    served,
    undated,
    ways,
)

OK = b"HTTP/1.1 200 OK\r\nX-Method: %b\r\nContent-Length: %d\r\n%b\r\n%b"
CLOSE = b"Connection: close\r\n"


def echoed(body=b"", *, method=b"POST", last=False):
    return OK % (method, len(body), CLOSE if last else b"", body)


def test_fields_are_found_whatever_their_case():
    """RFC 9110 5.1: names are case-insensitive; all values of a name are there."""
    fields = Headers([("cookie", "a"), ("x", "1"), ("cookie", "b")])

    assert ["a", "b"] == fields.getlist("Cookie")
    assert "a" == fields.get("COOKIE")
    assert (None, []) == (fields.get("y"), fields.getlist("y"))


TAKEN = {
    "get": (asked(), [echoed(method=b"GET")]),
    "post": (posted(b"hello"), [echoed(b"hello")]),
    "post-nothing": (posted(b""), [echoed()]),
    "in-chunks": (chunked(b"he", b"llo"), [echoed(b"hello", last=True)]),
    "in-no-chunk": (chunked(), [echoed(last=True)]),
    "trailer": (
        chunked(b"hello", end=b"0\r\nX-Method: x\r\n\r\n"),
        [echoed(b"hello", last=True)],
    ),
    "extension": (
        asked(
            "/echo",
            "Transfer-Encoding: Chunked",
            method="POST",
            body=b"5;a=b\r\nhello\r\n0\r\n\r\n",
        ),
        [echoed(b"hello", last=True)],
    ),
    "close": (asked("/echo", "Connection: close"), [echoed(method=b"GET", last=True)]),
    "space-behind-length": (
        asked("/echo", "Content-Length: 5 ", method="POST", body=b"hello"),
        [echoed(b"hello")],
    ),
    "one-after-another": (
        posted(b"one") + asked() + posted(b"two"),
        [echoed(b"one"), echoed(method=b"GET"), echoed(b"two")],
    ),
    "last-of-several": (
        posted(b"one") + posted(b"two", "Connection: close") + posted(b"three"),
        [echoed(b"one"), echoed(b"two", last=True)],
    ),
}


@pytest.mark.parametrize(("data", "answers"), TAKEN.values(), ids=TAKEN)
async def test_request_is_answered_however_it_comes(data, answers):
    """Whole or byte by byte, alone or one behind another: the answer is the same."""
    for pieces in ways(data):
        app, wire, left = await served(pieces)

        assert b"".join(answers) == undated(wire.written)
        assert len(answers) == len(app.done)
        assert left == b""


@pytest.mark.parametrize(
    ("pieces", "buffered"),
    [
        ([posted(b"hello", target="/hand")], b"hello"),
        ([posted(b"hello", target="/hand") + asked()], b"hello"),
        ([posted(b"", target="/hand")], b""),
        ([posted(b"hello", target="/hand")[:-1], b"o"], None),
        ([chunked(b"hello", target="/hand")], None),
    ],
)
async def test_body_that_has_come_can_be_taken_at_once(pieces, buffered):
    """It is the same body, and the connection goes on behind it as it would."""
    echoing = [piece.replace(b"/hand", b"/echo") for piece in pieces]
    app, wire, left = await served(pieces)
    _, expected, _ = await served(echoing)

    assert [buffered] == app.buffered
    assert left == b""
    lines = expected.written.replace(b"X-Method: POST\r\n", b"")
    assert undated(lines) == undated(wire.written.replace(b"X-Method: POST\r\n", b""))


async def test_body_can_be_taken_once():
    """Whoever has taken it finds nothing behind it, and neither does the next."""
    app = ShortApp()

    async def greedy(request):
        taken = [request.body.buffered(), request.body.buffered()]
        taken += [piece async for piece in request.body]
        return Response(body=repr(taken).encode())

    app.deaf = greedy
    wire = FakeWire([posted(b"hello", target="/deaf") + asked()])
    await Http1Connection(app, wire, max_head=1_000).run(10, 75)

    assert b"[b'hello', b'']" in wire.written
    assert undated(wire.written).endswith(echoed(method=b"GET"))


@pytest.mark.parametrize("data", [posted(b"one"), chunked(b"one")])
async def test_head_that_comes_again_is_read_as_the_first_time(data):
    """What was kept of a head is the same for every request, and no body is kept."""
    answers = []
    for body in (b"one", b"two", b"one"):
        app, wire, _ = await served([data.replace(b"one", body)])
        app.asked[0].headers.getlist("Host").append("changed")
        answers.append(undated(wire.written).replace(body, b"*"))

    assert {answers[0]} == {*answers}
    assert ["x"] == app.asked[0].headers.getlist("Host")


NOT_TAKEN = {
    "other-path": asked("/other"),
    "path-of-a-url": asked("http://x/echo"),
    "fragment": asked("/echo#x"),
    "two-spaces": asked(" /echo"),
    "http-1.0": asked(version="1.0"),
    "http-2.0": asked(version="2.0"),
    "not-http": asked().replace(b"HTTP", b"RTSP"),
    "no-host": b"GET /echo HTTP/1.1\r\n\r\n",
    "two-hosts": asked("/echo", "Host: y"),
    "invitation": asked("/echo", "Expect: 100-continue", "Content-Length: 1"),
    "websocket": asked("/echo", "Upgrade: websocket", "Connection: Upgrade"),
    "h2c": asked("/echo", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"),
    "both-lengths": asked("/echo", "Content-Length: 5", "Transfer-Encoding: chunked"),
    "both-lengths-again": asked(
        "/echo", "Transfer-Encoding: chunked", "Content-Length: 5"
    ),
    "two-lengths": asked("/echo", "Content-Length: 5", "Content-Length: 6"),
    "length-that-is-none": asked("/echo", "Content-Length: +5"),
    "coding": asked("/echo", "Transfer-Encoding: gzip"),
    "coding-in-chunks": asked("/echo", "Transfer-Encoding: gzip, chunked"),
    "chunks-twice": asked("/echo", "Transfer-Encoding: chunked, chunked"),
    "space-before-colon": asked("/echo", "X : a"),
    "nul": asked("/echo", "X: a\0"),
    "folded": asked("/echo", "X: a\r\n b"),
    "query-not-ascii": asked("/echo?é"),
    "bare-lf": asked().replace(b"\r\n", b"\n"),
    "bare-lf-in-the-end": asked()[:-2] + b"\n",
    "lower-case": asked(method="get"),
}


@pytest.mark.parametrize("data", NOT_TAKEN.values(), ids=NOT_TAKEN)
async def test_what_is_not_usual_goes_the_usual_way_with_all_its_bytes(data):
    """Nothing is answered, and nothing is lost, of what is taken and what follows."""
    for pieces in ways(data):
        app, wire, left = await served([*pieces, b"never read"])

        assert (data, []) == (left, app.asked)
        assert wire.written == b""
    app, wire, left = await served([posted(b"taken") + data + b"tail"])

    assert (echoed(b"taken"), data + b"tail") == (undated(wire.written), left)


async def test_preface_of_http_2_goes_on_as_it_came():
    """Prior knowledge: the preface has an end of a head in its middle."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    _, wire, left = await served([preface])

    assert (preface, b"") == (left, wire.written)


async def test_tls_on_a_plain_port_is_not_waited_for():
    """What cannot become a request is handed on with its first byte."""
    _, _, left = await served([b"\x16\x03\x01", b"never read"])

    assert left == b"\x16\x03\x01"


async def test_head_that_is_too_long_is_handed_on():
    """The limit holds for heads that end and for those that do not."""
    long = asked("/echo", f"X: {'x' * 200}")
    for pieces in ([long], [long[:150], long[150:]], [long[:150]]):
        app, _, left = await served(pieces, max_head=100)

        assert long.startswith(left)
        assert len(left) > 100
        assert app.asked == []
    assert len((await served([asked()], max_head=100))[0].asked) == 1


async def test_peer_that_leaves_in_a_head_is_not_answered():
    """Half a request is none."""
    app, wire, left = await served([asked()[:-3]])

    assert (b"", b"", []) == (left, wire.written, app.asked)


async def test_application_is_told_what_was_asked():
    """Method, path, query and the fields, without the space around their values."""
    app, _, _ = await served([asked("/echo?a=%20b", "X-A:  a b \t", "X-E:", "x-a: é")])
    (request,) = app.asked

    assert ("GET", "/echo", b"a=%20b") == (request.method, request.path, request.query)
    assert ["a b", "é"] == request.headers.getlist("X-A")
    assert "" == request.headers.get("X-E")


async def test_what_is_sent_behind_a_chunked_body_is_no_part_of_it():
    """RFC 9112 7.1: the body ends where it says, whatever came with it."""
    for behind in (
        posted(b"more", "X-Evil: 1"),
        asked("/echo", "Upgrade: x", "Connection: upgrade"),
        b"\x16 nonsense",
    ):
        app, wire, left = await served([chunked(b"body") + behind])

        assert (echoed(b"body", last=True), b"") == (undated(wire.written), left)
        assert app.asked[0].headers.get("X-Evil") is None
        assert len(app.asked) == 1


CUT = {
    "length": posted(b"hello")[:-1],
    "length-lines": posted(b"hello", target="/lines")[:-1],
    "chunks": chunked(b"hello")[:-1],
    "chunk": chunked(b"hello")[:-8],
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT)
async def test_body_that_is_cut_short_is_not_acted_upon(data):
    """Half an order must not be carried out, and nobody is there to be answered."""
    for pieces in ways(data):
        app, wire, _ = await served(pieces)

        assert "last line" not in app.done
        assert b"Content-Length" not in wire.written
        assert not wire.written.endswith(b"0\r\n\r\n")


async def test_body_that_makes_no_sense_is_400():
    """A chunk without a size is refused before anything is done."""
    data = asked("/echo", "Transfer-Encoding: chunked", method="POST", body=b"zz\r\n")
    app, wire, _ = await served([data])

    assert wire.written.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert CLOSE in wire.written
    assert app.done == []


async def test_body_that_nobody_reads_is_told_of():
    """The end of such a connection has to wait for a peer that is still sending."""
    for data, is_unread in (
        (posted(b"hello", target="/deaf"), True),
        (chunked(b"hello", target="/deaf"), True),
        (asked("/deaf", "Connection: close"), False),
    ):
        wire = FakeWire([data])
        plain = Http1Connection(ShortApp(), wire, max_head=1_000)
        await plain.run(10, 75)

        assert is_unread is plain.is_unread
        assert wire.written.endswith(CLOSE + b"\r\nno")


@pytest.mark.parametrize("status", [204, 304])
async def test_answer_that_has_no_body_has_no_length(status):
    """RFC 9110 8.6: a length would be that of another answer."""
    _, wire, _ = await served([asked(f"/status?{status}") * 2])

    assert b"Content-Length" not in wire.written
    assert 2 == wire.written.count(b"HTTP/1.1 %d " % status)


async def test_every_answer_tells_its_date():
    """RFC 9110 6.6.1: an origin server with a clock says when."""
    _, wire, _ = await served([asked()])

    assert re.search(
        rb"\r\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n", wire.written
    )
