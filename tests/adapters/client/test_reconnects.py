"""How a client reconnects: delays, statuses, redirects and states, in virtual time."""

from __future__ import annotations

import gc
import warnings
from contextlib import aclosing

import anyio
import httpx
import httpx2
import pytest

from roundel import State
from roundel_adapters.client import StreamEnded, connect
from support.asgi_peer import all_tasks_wait, on_both_loops
from support.scripted_http import scripted_client, status, stream

URL = "http://a.example/news"
HELLO = stream(b"data: hello\n\n")
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2])


class Run:
    """The events, states, requests and the end of a subscription."""

    def __init__(self):
        self.events, self.states, self.comments = [], [], []
        self.end = None

    async def play(self, library, *script, url=URL, client_options=None, **options):
        client, self._requests = scripted_client(
            library, *script, status(204), **(client_options or {})
        )
        try:
            async with client, aclosing(
                connect(client, url, on_state=self._on_state, **options)
            ) as events:  # fmt: skip
                async for event in events:
                    self.events.append(event.data)
        except Exception as error:
            self.end = error
        return self

    def _on_state(self, state, reason, delay):
        self.states.append((state, reason, delay))

    @property
    def requests(self):
        return [request for _, request in self._requests]

    @property
    def times(self):
        return [time for time, _ in self._requests]

    @property
    def delays(self):
        """Return the seconds of each wait."""
        return [delay for state, _, delay in self.states if state is State.WAITING]

    @property
    def reasons(self):
        return [reason for state, reason, _ in self.states if state is State.WAITING]


async def play(library, *script, **options):
    return await Run().play(library, *script, **options)


# States.


@on_both_loops
@LIBRARIES
async def test_states(library):
    """Each state is reported, with the reason of the last loss and the delay."""
    run = await play(library, stream(b"data: a\n\n", 10.0), status(401), max_backoff=0)

    assert [
        (State.CONNECTING, "", 0.0),
        (State.OPEN, "", 0.0),
        (State.WAITING, "the stream ended", 3.0),
        (State.CONNECTING, "the stream ended", 0.0),
        (State.CLOSED, "expected status 200, got 401", 0.0),
    ] == run.states
    assert 401 == run.end.status


@on_both_loops
@LIBRARIES
async def test_callback_that_raises(library):
    """An error of *on_state* ends the subscription and is raised."""
    client, _ = scripted_client(library, HELLO)

    def on_state(state, reason, delay):
        raise KeyError(state)

    with pytest.raises(KeyError):
        await anext(connect(client, URL, on_state=on_state))


# Delays.


@on_both_loops
@LIBRARIES
async def test_first_delay_is_retry_to_a_quarter_more(library):
    """After a stream that was stable it waits `retry` times 1 to 1.25."""
    steady = stream(b"retry: 500\ndata: a\n\n", 10.0)
    run = await play(library, *[steady] * 50)

    assert 50 == len(run.delays)
    assert all(0.5 <= delay <= 0.625 for delay in run.delays)
    assert 0.02 < max(run.delays) - min(run.delays)


@on_both_loops
@LIBRARIES
async def test_backoff(library):
    """From the second failure on the delays grow, up to *max_backoff* more."""
    failures = [httpx2.ConnectError("refused") for _ in range(12)]
    run = await play(library, *failures, retry=1000, max_backoff=8.0)

    assert 1.0 <= run.delays[0] <= 1.25
    for failed, delay in enumerate(run.delays[1:], 1):
        assert 1.0 <= delay <= 1.0 + min(2.0**failed, 8.0)
    assert 4.0 < max(run.delays)


@on_both_loops
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
async def test_bounds_of_the_delay(library, line, options, delay):
    """The caller sets the reconnection time and bounds that of the server."""
    run = await play(library, stream(line, 10.0), max_backoff=0.0, **options)

    assert [pytest.approx(delay)] == run.delays


@on_both_loops
async def test_wrong_bounds():
    """Bounds that cannot be met are an error at once."""
    run = await play(httpx2, min_retry=0)

    assert "expected 0 < min_retry" in str(run.end)
    assert [] == run.requests


# Timeouts.


@on_both_loops
@LIBRARIES
async def test_silent_server(library):
    """A server that is silent in the middle of a stream is a loss."""
    run = await play(
        library, stream(b"data: a\n\n", 1e6), idle_timeout=20.0, max_backoff=0.0
    )

    assert ["nothing was received for 20.0 seconds"] == run.reasons
    assert [0.0, 23.0] == run.times


@on_both_loops
@LIBRARIES
async def test_server_without_a_head(library):
    """A server that sends no head in time is a loss."""
    run = await play(library, 60.0, idle_timeout=20.0, max_backoff=0.0)

    assert ["nothing was received for 20.0 seconds"] == run.reasons
    assert [0.0, 23.0] == run.times


@on_both_loops
@LIBRARIES
async def test_bytes_that_are_no_event_keep_a_connection(library):
    """Each byte renews the idle timeout, comments too."""
    run = await play(library, stream(*[b":\n", 15.0] * 10), idle_timeout=20.0)

    assert ["the stream ended"] == run.reasons


@on_both_loops
@LIBRARIES
async def test_slow_caller(library):
    """The time that the caller takes for an event is no silence of the server."""
    client, requests = scripted_client(
        library, stream(b"data: a\n\n", b"data: b\n\n", b"data: c\n\n"), status(204)
    )
    received = []
    with pytest.raises(StreamEnded):  # noqa: PT012
        async for event in connect(client, URL, idle_timeout=5.0):
            received.append(event.data)
            await anyio.sleep(60.0)

    assert ["a", "b", "c"] == received
    assert 2 == len(requests)


# Statuses.


@on_both_loops
@pytest.mark.parametrize("code", [502, 503, 504])
@LIBRARIES
async def test_statuses_that_are_retried(library, code):
    """A status of a restarting server is retried, and events follow."""
    run = await play(library, status(code), status(code), HELLO)

    assert ["hello"] == run.events
    assert [f"expected status 200, got {code}"] * 2 == run.reasons[:2]


@on_both_loops
@pytest.mark.parametrize("code", [204, 205, 206, 300, 304, 400, 401, 403, 404, 410])
@pytest.mark.parametrize("more", [0, 1])
async def test_statuses_that_are_final(code, more):
    """Any other status is final, on the first connection and on later ones."""
    run = await play(httpx2, *[HELLO] * more, status(code))

    assert (f"expected status 200, got {code}", code) == (str(run.end), run.end.status)
    assert more + 1 == len(run.requests)


@on_both_loops
@pytest.mark.parametrize("code", [429, 500, 501, 505, 503])
async def test_statuses_by_option(code):
    """*retry_statuses* replaces the default."""
    final = await play(httpx2, status(code), retry_statuses=())
    retried = await play(httpx2, status(code), HELLO, retry_statuses={code})

    assert f"expected status 200, got {code}" == str(final.end)
    assert ["hello"] == retried.events


@on_both_loops
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
async def test_retry_after(library, code, headers, delay):
    """Both forms of `Retry-After` delay the next request, up to *max_retry*."""
    run = await play(
        library, status(code, **headers), HELLO,
        retry_statuses={429, 503}, max_backoff=0.0,
    )  # fmt: skip

    assert delay == run.delays[0]
    assert ["hello"] == run.events


@on_both_loops
@LIBRARIES
async def test_content_type(library):
    """A 200 that is no event stream is final, even if the status is retried."""
    run = await play(library, status(200, content_type="text/html"))

    assert "expected content type text/event-stream, got 'text/html'" == str(run.end)


# Redirects.


@on_both_loops
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@LIBRARIES
async def test_redirect(library, code):
    """A redirect is followed; the next connection begins at the first URL again."""
    run = await play(
        library, status(code, location="/there"), stream(b"id: 1\ndata: a\n\n"),
        status(code, location="http://b.example/"), HELLO,
    )  # fmt: skip

    assert ["a", "hello"] == run.events
    assert [URL, "http://a.example/there", URL, "http://b.example/", URL] == [
        str(request.url) for request in run.requests
    ]
    assert [None, None, "1", "1", "1"] == [
        request.headers.get("last-event-id") for request in run.requests
    ]


@on_both_loops
@pytest.mark.parametrize(
    ("code", "method"),
    [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")],
)
@LIBRARIES
async def test_method_of_a_redirect(library, code, method):
    """307 and 308 keep the method and the body (RFC 9110 15.4)."""
    run = await play(
        library, status(code, location="/b"), HELLO, method="POST", content="body"
    )

    assert ["POST", method] == [request.method for request in run.requests[:2]]
    assert ("body" if method == "POST" else "") == run.requests[1].content.decode()


@on_both_loops
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
async def test_credentials_of_a_redirect(library, location, sent):
    """Another origin does not get the credentials; the same host by TLS does."""
    secret = {"Authorization": "Bearer secret", "Cookie": "session=secret"}
    run = await play(
        library, status(307, location=location), HELLO, headers=lambda: secret
    )
    followed = run.requests[1].headers

    assert sent == ("authorization" in followed)
    assert "cookie" not in followed
    assert "text/event-stream" == followed["accept"]


@on_both_loops
@LIBRARIES
async def test_redirect_without_an_end(library):
    """Redirects end at the client's limit, with its error."""
    script = [status(302, location="/again")] * 30
    run = await play(library, *script, client_options={"max_redirects": 5})

    assert "TooManyRedirects" == type(run.end).__name__
    assert 6 == len(run.requests)


@on_both_loops
@pytest.mark.parametrize("code", [301, 307])
@pytest.mark.parametrize("headers", [{}, {"location": ""}])
async def test_redirect_to_nowhere(code, headers):
    """A redirect without a location is final."""
    run = await play(httpx2, *[status(code, **headers)] * 30)

    assert run.end is not None
    assert State.CLOSED is run.states[-1][0]


@on_both_loops
async def test_redirect_to_another_scheme():
    """A redirect to a scheme that is not HTTP is an error at once."""

    error = httpx2.UnsupportedProtocol("ftp")
    run = await play(httpx2, status(302, location="ftp://a.example/"), error)

    assert "UnsupportedProtocol" == type(run.end).__name__


@on_both_loops
async def test_redirect_to_a_malformed_url():
    """A malformed location is the server's error, and is reported."""
    run = await play(httpx2, status(302, location="http://[::1"), HELLO)

    assert ["hello"] == run.events
    assert "RemoteProtocolError" in run.reasons[0]


# Requests.


@on_both_loops
@LIBRARIES
async def test_request(library):
    """The request is a GET with the headers of an EventSource."""
    run = await play(library, HELLO)
    request = run.requests[0]

    assert ("GET", b"") == (request.method, request.content)
    assert "text/event-stream" == request.headers["accept"]
    assert "no-cache" == request.headers["cache-control"]
    assert "last-event-id" not in request.headers


@on_both_loops
@LIBRARIES
async def test_headers_in_any_case(library):
    """The caller's headers are sent; those of the protocol are sent once."""
    own = {"accept": "*/*", "LAST-EVENT-ID": "old", "X-Own": "1"}
    run = await play(library, stream(b"id: new\n\n"), HELLO, headers=lambda: own)
    first, second = run.requests[:2]

    assert ["text/event-stream"] == first.headers.get_list("accept")
    assert ["old"] == first.headers.get_list("last-event-id")
    assert ["new"] == second.headers.get_list("last-event-id")
    assert "1" == second.headers["x-own"]


@on_both_loops
@pytest.mark.parametrize("options", [{}, {"cookies": {"a": "b"}}])
@LIBRARIES
async def test_id_in_utf_8(library, options):
    """An id that is not ASCII is sent in UTF-8 (WPT last-event-id), redirected too."""
    run = await play(
        library,
        stream("id: a…é\n\n".encode()), status(307, location="/b"), HELLO,
        client_options=options,
    )  # fmt: skip

    for request in run.requests[1:3]:
        sent = {name.lower(): value for name, value in request.headers.raw}
        assert "a…é".encode() == sent[b"last-event-id"]


@on_both_loops
@pytest.mark.parametrize("method", ["POST", "REPORT", "PUT", "QUERY"])
@pytest.mark.parametrize("content", ['{"hello": "wörld"}', b"\x00\xff"])
@LIBRARIES
async def test_body_is_sent_again(library, method, content):
    """Each connection sends the method and the body."""
    typed = {"content-type": "application/json; charset=utf-8"}
    run = await play(
        library, HELLO, status(503), HELLO, method=method, content=content,
        headers=lambda: typed,
    )  # fmt: skip
    sent = content.encode() if isinstance(content, str) else content

    assert {(method, sent, typed["content-type"])} == {
        (request.method, request.content, request.headers["content-type"])
        for request in run.requests
    }
    assert 4 == len(run.requests)


@on_both_loops
async def test_settings_of_the_client():
    """The base URL, headers, parameters and cookies of the client are used."""
    run = await play(
        httpx2, HELLO, url="news?a=1",
        client_options={
            "base_url": "http://a.example/v1/", "headers": {"x-client": "1"},
            "cookies": {"session": "s"}, "timeout": 3.0,
        },
    )  # fmt: skip
    request = run.requests[0]

    assert "http://a.example/v1/news?a=1" == str(request.url)
    assert "1" == request.headers["x-client"]
    assert "session=s" == request.headers["cookie"]
    assert {"connect": 3.0, "read": None, "write": 3.0, "pool": 3.0} == (
        request.extensions["timeout"]
    )


# Bounds.


@on_both_loops
@LIBRARIES
async def test_event_over_the_bound(library):
    """An event over the bound is an error that names the bound."""
    run = await play(library, stream(b"data: a\n\ndata: ", *[b"x" * 65536] * 40))

    assert ["a"] == run.events
    assert isinstance(run.end, StreamEnded)
    assert "max_event_size=1048576" in str(run.end)


@on_both_loops
@LIBRARIES
async def test_larger_bound(library):
    """*max_event_size* allows longer events."""
    large = stream(b"data: ", *[b"x" * (1 << 20)] * 10, b"\n\n")
    run = await play(library, large, max_event_size=11 << 20)

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
