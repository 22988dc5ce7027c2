"""How a client reconnects: delays, statuses, redirects and states, in virtual time.

Each test runs over `connect()` on trio and asyncio, and over `connect_sync()`.
"""

from __future__ import annotations

import gc
import warnings
from contextlib import aclosing

import httpx2
import pytest

from roundel import State
from roundel_adapters.client import StreamEnded, connect
from support.asgi_peer import all_tasks_wait, on_both_loops
from support.scripted_http import scripted_client, status, stream
from support.stream_readers import (
    LIBRARIES,
    URL,
    WAYS,
    VirtualToken,
    connect_in_virtual_time,
    play,
)

HELLO = stream(b"data: hello\n\n")


# States.


@WAYS
@LIBRARIES
def test_states(way, library):
    """Each state is reported, with the reason of the last loss and the delay."""
    run = play(way, library, stream(b"data: a\n\n", 10.0), status(401), max_backoff=0)

    assert [
        (State.CONNECTING, "", 0.0),
        (State.OPEN, "", 0.0),
        (State.WAITING, "the stream ended", 3.0),
        (State.CONNECTING, "the stream ended", 0.0),
        (State.CLOSED, "expected status 200, got 401", 0.0),
    ] == run.states
    assert 401 == run.end.status


@WAYS
@LIBRARIES
def test_callback_that_raises(way, library):
    """An error of *on_state* ends the subscription and is raised."""

    def on_state(state, reason, delay):
        raise KeyError(state)

    run = play(way, library, HELLO, on_state=on_state)

    assert isinstance(run.end, KeyError)
    assert [] == run.requests


# Delays.


@WAYS
@LIBRARIES
def test_first_delay_is_retry_to_a_quarter_more(way, library):
    """After a stream that was stable it waits `retry` times 1 to 1.25."""
    steady = stream(b"retry: 500\ndata: a\n\n", 10.0)
    run = play(way, library, *[steady] * 50)

    assert 50 == len(run.delays)
    assert all(0.5 <= delay <= 0.625 for delay in run.delays)
    assert 0.02 < max(run.delays) - min(run.delays)


@WAYS
@LIBRARIES
def test_backoff(way, library):
    """From the second failure on the delays grow, up to *max_backoff* more."""
    failures = [httpx2.ConnectError("refused") for _ in range(12)]
    run = play(way, library, *failures, retry=1000, max_backoff=8.0)

    assert 1.0 <= run.delays[0] <= 1.25
    for failed, delay in enumerate(run.delays[1:], 1):
        assert 1.0 <= delay <= 1.0 + min(2.0**failed, 8.0)
    assert 4.0 < max(run.delays)


@WAYS
@pytest.mark.parametrize(
    ("line", "options", "delay"),
    [
        (b"retry: 1\n\n", {}, 0.1),
        (b"retry: 1\n\n", {"min_retry": 1}, 0.001),
        (b"retry: 9000000\n\n", {}, 600.0),
        (b"retry: 9000000\n\n", {"max_retry": 5_000}, 5.0),
        (b"", {"retry": 250}, 0.25),
        (b"", {"retry": 0, "min_retry": 7}, 0.007),
        (b"", {}, 3.0),
    ],
)
@LIBRARIES
def test_bounds_of_the_delay(way, library, line, options, delay):
    """The caller sets the reconnection time and bounds that of the server."""
    run = play(way, library, stream(line, 10.0), max_backoff=0.0, **options)

    assert [pytest.approx(delay)] == run.delays


@WAYS
def test_wrong_bounds(way):
    """Bounds that cannot be met are an error at once."""
    run = play(way, httpx2, min_retry=0)

    assert "expected 0 < min_retry" in str(run.end)
    assert [] == run.requests


# Timeouts.


@WAYS
@LIBRARIES
def test_silent_server(way, library):
    """A server that is silent in the middle of a stream is a loss."""
    run = play(
        way, library, stream(b"data: a\n\n", 1e6), idle_timeout=20.0, max_backoff=0.0
    )

    assert ["nothing was received for 20.0 seconds"] == run.reasons
    assert [0.0, 23.0] == run.times


@WAYS
@LIBRARIES
def test_server_without_a_head(way, library):
    """A server that sends no head in time is a loss."""
    run = play(way, library, 60.0, idle_timeout=20.0, max_backoff=0.0)

    assert ["nothing was received for 20.0 seconds"] == run.reasons
    assert [0.0, 23.0] == run.times


@WAYS
@LIBRARIES
def test_bytes_that_are_no_event_keep_a_connection(way, library):
    """Each byte renews the idle timeout, comments too."""
    run = play(way, library, stream(*[b":\n", 15.0] * 10), idle_timeout=20.0)

    assert ["the stream ended"] == run.reasons


@WAYS
@LIBRARIES
def test_slow_caller(way, library):
    """The time that the caller takes for an event is no silence of the server."""
    chunks = b"data: a\n\n", b"data: b\n\n", b"data: c\n\n"
    run = play(way, library, stream(*chunks), idle_timeout=5.0, pause=60.0)

    assert ["a", "b", "c"] == run.events
    assert ["the stream ended"] == run.reasons


# Statuses.


@WAYS
@pytest.mark.parametrize("code", [502, 503, 504])
@LIBRARIES
def test_statuses_that_are_retried(way, library, code):
    """A status of a restarting server is retried, and events follow."""
    run = play(way, library, status(code), status(code), HELLO)

    assert ["hello"] == run.events
    assert [f"expected status 200, got {code}"] * 2 == run.reasons[:2]


@WAYS
@pytest.mark.parametrize("code", [204, 205, 206, 300, 304, 400, 401, 403, 404, 410])
@pytest.mark.parametrize("more", [0, 1])
def test_statuses_that_are_final(way, code, more):
    """Any other status is final, on the first connection and on later ones."""
    run = play(way, httpx2, *[HELLO] * more, status(code))

    assert (f"expected status 200, got {code}", code) == (str(run.end), run.end.status)
    assert more + 1 == len(run.requests)


@WAYS
@pytest.mark.parametrize("code", [429, 500, 501, 505, 503])
def test_statuses_by_option(way, code):
    """*retry_statuses* replaces the default."""
    final = play(way, httpx2, status(code), retry_statuses=())
    retried = play(way, httpx2, status(code), HELLO, retry_statuses={code})

    assert f"expected status 200, got {code}" == str(final.end)
    assert ["hello"] == retried.events


@WAYS
@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({"retry_after": "120"}, 120.0),
        ({"retry_after": "1"}, 3.0),
        ({"retry_after": "86400"}, 600.0),
        ({"retry_after": "later"}, 3.0),
        ({"retry_after": "-5"}, 3.0),
        (
            {
                "date": "Sun, 06 Nov 1994 08:49:37 GMT",
                "retry_after": "Sun, 06 Nov 1994 08:50:07 GMT",
            },
            30.0,
        ),
        # Without a Date, from the client's clock.
        ({"retry_after": "Tue, 06 Nov 2125 08:50:07 GMT"}, 600.0),
        ({"retry_after": "Sun, 06 Nov 1994 08:50:07 GMT"}, 3.0),
    ],
)
@LIBRARIES
def test_retry_after(way, library, code, headers, delay):
    """Both forms of `Retry-After` delay the next request, up to *max_retry*."""
    run = play(
        way, library, status(code, **headers), HELLO,
        retry_statuses={429, 503}, max_backoff=0.0,
    )  # fmt: skip

    assert delay == run.delays[0]
    assert ["hello"] == run.events


@WAYS
@LIBRARIES
def test_content_type(way, library):
    """A 200 that is no event stream is final, even if the status is retried."""
    run = play(way, library, status(200, content_type="text/html"))

    assert "expected content type text/event-stream, got 'text/html'" == str(run.end)


# Redirects.


@WAYS
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@LIBRARIES
def test_redirect(way, library, code):
    """A redirect is followed; the next connection begins at the first URL again."""
    run = play(
        way, library, status(code, location="/there"), stream(b"id: 1\ndata: a\n\n"),
        status(code, location="http://b.example/"), HELLO,
    )  # fmt: skip

    assert ["a", "hello"] == run.events
    assert [URL, "http://a.example/there", URL, "http://b.example/", URL] == [
        str(request.url) for request in run.requests
    ]
    assert [None, None, "1", "1", "1"] == [
        request.headers.get("last-event-id") for request in run.requests
    ]


@WAYS
@pytest.mark.parametrize(
    ("code", "method"),
    [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")],
)
@LIBRARIES
def test_method_of_a_redirect(way, library, code, method):
    """307 and 308 keep the method and the body (RFC 9110 15.4)."""
    run = play(
        way, library, status(code, location="/b"), HELLO, method="POST", content="body"
    )

    assert ["POST", method] == [request.method for request in run.requests[:2]]
    assert ("body" if method == "POST" else "") == run.requests[1].content.decode()


@WAYS
@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("http://a.example/b", True),
        ("//a.example/b", True),
        ("https://a.example/b", True),
        ("http://a.example:81/b", False),
        ("http://b.example/", False),
        ("https://b.example/", False),
        ("http://a.example.evil.example/", False),
    ],
)
@LIBRARIES
def test_credentials_of_a_redirect(way, library, location, sent):
    """Another origin does not get the credentials; the same host by TLS does."""
    secret = {"Authorization": "Bearer secret", "Cookie": "session=secret"}
    run = play(
        way, library, status(307, location=location), HELLO, headers=lambda: secret
    )
    followed = run.requests[1].headers

    assert sent == ("authorization" in followed)
    assert "cookie" not in followed
    assert "text/event-stream" == followed["accept"]


@WAYS
@LIBRARIES
def test_redirect_without_an_end(way, library):
    """Redirects end at the client's limit, with its error."""
    script = [status(302, location="/again")] * 30
    run = play(way, library, *script, client_options={"max_redirects": 5})

    assert "TooManyRedirects" == type(run.end).__name__
    assert 6 == len(run.requests)


@WAYS
@pytest.mark.parametrize("code", [301, 307])
@pytest.mark.parametrize("headers", [{}, {"location": ""}])
def test_redirect_to_nowhere(way, code, headers):
    """A redirect without a location is final."""
    run = play(way, httpx2, *[status(code, **headers)] * 30)

    assert run.end is not None
    assert State.CLOSED is run.states[-1][0]


@WAYS
def test_redirect_to_another_scheme(way):
    """A redirect to a scheme that is not HTTP is an error at once."""

    error = httpx2.UnsupportedProtocol("ftp")
    run = play(way, httpx2, status(302, location="ftp://a.example/"), error)

    assert "UnsupportedProtocol" == type(run.end).__name__


@WAYS
def test_redirect_to_a_malformed_url(way):
    """A malformed location is the server's error, and is reported."""
    run = play(way, httpx2, status(302, location="http://[::1"), HELLO)

    assert ["hello"] == run.events
    assert "RemoteProtocolError" in run.reasons[0]


# Requests.


@WAYS
@LIBRARIES
def test_request(way, library):
    """The request is a GET with the headers of an EventSource."""
    run = play(way, library, HELLO)
    request = run.requests[0]

    assert ("GET", b"") == (request.method, request.content)
    assert "text/event-stream" == request.headers["accept"]
    assert "no-cache" == request.headers["cache-control"]
    assert "last-event-id" not in request.headers


@WAYS
@LIBRARIES
def test_headers_in_any_case(way, library):
    """The caller's headers are sent; those of the protocol are sent once."""
    own = {"accept": "*/*", "LAST-EVENT-ID": "old", "X-Own": "1"}
    run = play(way, library, stream(b"id: new\n\n"), HELLO, headers=lambda: own)
    first, second = run.requests[:2]

    assert ["text/event-stream"] == first.headers.get_list("accept")
    assert ["old"] == first.headers.get_list("last-event-id")
    assert ["new"] == second.headers.get_list("last-event-id")
    assert "1" == second.headers["x-own"]


@WAYS
@pytest.mark.parametrize("options", [{}, {"cookies": {"a": "b"}}])
@LIBRARIES
def test_id_in_utf_8(way, library, options):
    """An id that is not ASCII is sent in UTF-8 (WPT last-event-id), redirected too."""
    run = play(
        way, library,
        stream("id: a…é\n\n".encode()), status(307, location="/b"), HELLO,
        client_options=options,
    )  # fmt: skip

    for request in run.requests[1:3]:
        sent = {name.lower(): value for name, value in request.headers.raw}
        assert "a…é".encode() == sent[b"last-event-id"]


@WAYS
@pytest.mark.parametrize("method", ["POST", "REPORT", "PUT", "QUERY"])
@pytest.mark.parametrize("content", ['{"hello": "wörld"}', b"\x00\xff"])
@LIBRARIES
def test_body_is_sent_again(way, library, method, content):
    """Each connection sends the method and the body."""
    typed = {"content-type": "application/json; charset=utf-8"}
    run = play(
        way, library, HELLO, status(503), HELLO, method=method, content=content,
        headers=lambda: typed,
    )  # fmt: skip
    sent = content.encode() if isinstance(content, str) else content

    assert {(method, sent, typed["content-type"])} == {
        (request.method, request.content, request.headers["content-type"])
        for request in run.requests
    }
    assert 4 == len(run.requests)


@WAYS
def test_settings_of_the_client(way):
    """The base URL, headers, parameters and cookies of the client are used."""
    run = play(
        way, httpx2, HELLO, url="news?a=1",
        client_options={
            "base_url": "http://a.example/v1/", "headers": {"x-client": "1"},
            "cookies": {"session": "s"}, "timeout": 3.0,
        },
    )  # fmt: skip
    request = run.requests[0]

    assert "http://a.example/v1/news?a=1" == str(request.url)
    assert "1" == request.headers["x-client"]
    assert "session=s" == request.headers["cookie"]
    # On an event loop the idle timeout is that of a cancel scope.
    read = 60.0 if way == "sync" else None
    assert {"connect": 3.0, "read": read, "write": 3.0, "pool": 3.0} == (
        request.extensions["timeout"]
    )


@pytest.mark.parametrize(
    ("timeout", "idle_timeout", "connect", "read"),
    [
        (3.0, 20.0, 3.0, 20.0),
        (None, 20.0, 20.0, 20.0),
        (30.0, 20.0, 20.0, 20.0),
        (3.0, float("inf"), 3.0, None),
        (None, 1e9, None, None),
    ],
)
@LIBRARIES
def test_timeouts_of_a_synchronous_request(
    library, timeout, idle_timeout, connect, read
):
    """A read has the idle timeout, which bounds the client's timeouts too."""
    run = play(
        "sync", library, HELLO,
        idle_timeout=idle_timeout, client_options={"timeout": timeout},
    )  # fmt: skip

    assert {"connect": connect, "read": read, "write": connect, "pool": connect} == (
        run.requests[0].extensions["timeout"]
    )


# Bounds.


@WAYS
@LIBRARIES
def test_event_over_the_bound(way, library):
    """An event over the bound is an error that names the bound."""
    run = play(way, library, stream(b"data: a\n\ndata: ", *[b"x" * 65536] * 40))

    assert ["a"] == run.events
    assert isinstance(run.end, StreamEnded)
    assert "max_event_size=1048576" in str(run.end)


@WAYS
@LIBRARIES
def test_larger_bound(way, library):
    """*max_event_size* allows longer events."""
    large = stream(b"data: ", *[b"x" * (1 << 20)] * 10, b"\n\n")
    run = play(way, library, large, max_event_size=11 << 20)

    assert [10 << 20] == [len(data) for data in run.events]


# Leaving the loop.


def collected(caught):
    gc.collect()
    return [str(warning.message) for warning in caught]


async def leave_early(client):
    """Read one event, and leave the loop."""
    async with aclosing(connect(client, URL)) as events:
        async for event in events:
            return event.data
    return None


@on_both_loops
@LIBRARIES
async def test_nothing_is_left_to_the_collector(library):
    """After a `break` no generator is left, not even inside the HTTP library."""
    client, _ = scripted_client(library, stream(b"data: a\n\ndata: b\n\n", 1e6))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await leave_early(client)
        await all_tasks_wait()

        assert [] == collected(caught)


@LIBRARIES
def test_nothing_is_left_of_a_synchronous_iterator(library):
    """After a `break` the response is closed, without the garbage collector."""
    clock = VirtualToken()
    client, _ = scripted_client(
        library, stream(b"data: a\n\ndata: b\n\n", 1e6), clock=clock
    )
    closed = []
    client.event_hooks = {"response": [lambda r: _note_close(r, closed)]}
    gc.disable()
    try:
        for event in connect_in_virtual_time(clock, client, URL):
            first = event.data
            break
    finally:
        gc.enable()

    assert "a" == first
    assert closed


def _note_close(response, closed):
    close = response.close

    def noted():
        close()
        closed.append(True)

    response.close = noted
