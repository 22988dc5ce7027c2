"""Every error of the HTTP libraries: it heals, or it ends the subscription at once."""

from __future__ import annotations

import socket
import ssl
from contextlib import aclosing

import httpx
import httpx2
import pytest
import trio

from roundel import State
from roundel_adapters.client import StreamEnded, connect
from support.asgi_apps import answer, app_of
from support.ports import reserved_port
from support.scripted_http import scripted_client, status, stream

LIBRARIES = [httpx, httpx2]
HEALS, FINAL, STATUS = "heals", "final", "a status"

# The verdict of each class, base classes included.
VERDICTS = {
    "HTTPError": FINAL,
    "RequestError": FINAL,
    "TransportError": HEALS,
    "TimeoutException": HEALS,
    "ConnectTimeout": HEALS,
    "ReadTimeout": HEALS,
    "WriteTimeout": HEALS,
    "PoolTimeout": HEALS,
    "NetworkError": HEALS,
    "ConnectError": HEALS,
    "ReadError": HEALS,
    "WriteError": HEALS,
    "CloseError": HEALS,
    "ProxyError": HEALS,
    "ProtocolError": HEALS,
    "RemoteProtocolError": HEALS,
    "DecodingError": HEALS,
    # The request is at fault.
    "LocalProtocolError": FINAL,
    "UnsupportedProtocol": FINAL,
    "TooManyRedirects": FINAL,
    "InvalidURL": FINAL,
    "CookieConflict": FINAL,
    # The response is used wrongly.
    "SSEError": FINAL,
    "StreamError": FINAL,
    "StreamConsumed": FINAL,
    "StreamClosed": FINAL,
    "ResponseNotRead": FINAL,
    "RequestNotRead": FINAL,
    # By a hook that calls raise_for_status().
    "HTTPStatusError": STATUS,
}


def exceptions_of(library):
    """Return all exceptions that *library* defines, by name."""
    found = {n: c for n, c in vars(library).items() if _is_exception(c)}
    for kind in list(found.values()):
        found.update(_subclasses(kind, library.__name__))
    return found


def _is_exception(value):
    return isinstance(value, type) and issubclass(value, Exception)


def _subclasses(kind, package):
    for below in kind.__subclasses__():
        if below.__module__.partition(".")[0] == package:
            yield below.__name__, below
            yield from _subclasses(below, package)


def make_error(kind):
    """Make an error of *kind*, whose arguments differ."""
    for arguments in [("boom",), ()]:
        try:
            return kind(*arguments)
        except TypeError:
            continue
    request, response = httpx2.Request("GET", "http://x"), httpx2.Response(503)
    return kind("boom", request=request, response=response)


CASES = [
    pytest.param(library, kind, id=f"{library.__name__}.{name}")
    for library in LIBRARIES
    for name, kind in exceptions_of(library).items()
]


async def outcome(library, *script, was_open=False, **options):
    """Play *script*; return the states with their reasons, and how it ended."""
    states = []
    if was_open:
        script = stream(b"data: first\n\n"), *script
    client, _ = scripted_client(library, *script, status(204))

    def on_state(state, reason, delay):
        states.append((state, reason))

    try:
        async with client, aclosing(
            connect(client, "http://x/", on_state=on_state, **options)
        ) as events:  # fmt: skip
            async for _ in events:
                pass
    except Exception as error:
        return states, error
    raise AssertionError("an iterator of events never ends without an error")


@pytest.mark.parametrize(("library", "kind"), CASES)
async def test_every_error_has_a_verdict(autojump_clock, library, kind):
    """Each error heals and is reported, or is raised at once; a new one is noticed."""
    error = make_error(kind)
    states, end = await outcome(library, error)
    verdict = VERDICTS[kind.__name__]

    if verdict is HEALS:
        assert (State.WAITING, f"{kind.__name__}: boom") == states[1]
        assert isinstance(end, StreamEnded)
    elif verdict is STATUS:
        assert (State.WAITING, "expected status 200, got 503") == states[1]
        assert isinstance(end, StreamEnded)
    else:
        assert error is end
        assert [State.CONNECTING, State.CLOSED] == [state for state, _ in states]
        assert states[1][1].startswith(kind.__name__)


@pytest.mark.parametrize("kind", ["ReadError", "RemoteProtocolError", "DecodingError"])
@pytest.mark.parametrize("library", LIBRARIES)
async def test_error_of_a_body(autojump_clock, library, kind):
    """An error in the middle of a stream is a loss, and its text is the reason."""
    error = getattr(library, kind)("cut")
    states, end = await outcome(library, stream(b"data: a\n\n", error))

    assert (State.OPEN, "") == states[1]
    assert (State.WAITING, f"{kind}: cut") == states[2]
    assert (204, "expected status 200, got 204") == (end.status, str(end))


def _caused(error, cause):
    error.__cause__ = OSError("all attempts to connect failed")
    error.__cause__.__context__ = cause
    return error


WRONG_PEER = [
    pytest.param(ssl.SSLCertVerificationError("self-signed"), id="certificate"),
    pytest.param(ssl.SSLError("WRONG_VERSION_NUMBER"), id="no TLS"),
    pytest.param(socket.gaierror(socket.EAI_NONAME, "unknown"), id="no such name"),
]
CUTS = [
    pytest.param(ConnectionRefusedError(111, "refused"), id="refused"),
    pytest.param(ssl.SSLEOFError("EOF"), id="EOF in the handshake"),
    pytest.param(ssl.SSLZeroReturnError("closed"), id="TLS closed"),
    pytest.param(socket.gaierror(socket.EAI_AGAIN, "later"), id="no resolver"),
    pytest.param(FileNotFoundError("no socket"), id="no Unix socket yet"),
    pytest.param(OSError(101, "unreachable"), id="no network"),
]


@pytest.mark.parametrize("cause", WRONG_PEER)
@pytest.mark.parametrize("library", LIBRARIES)
async def test_wrong_peer(autojump_clock, library, cause):
    """A wrong certificate and an unknown name are raised at once."""
    error = _caused(library.ConnectError("failed"), cause)
    _, end = await outcome(library, error)

    assert error is end


@pytest.mark.parametrize("cause", WRONG_PEER)
async def test_wrong_peer_after_an_open_stream(autojump_clock, cause):
    """After an open stream they are losses: a captive portal looks like this."""
    error = _caused(httpx2.ConnectError("failed"), cause)
    states, end = await outcome(httpx2, error, was_open=True)

    assert (State.WAITING, "ConnectError: failed") in states
    assert isinstance(end, StreamEnded)


@pytest.mark.parametrize("cause", CUTS)
@pytest.mark.parametrize("library", LIBRARIES)
async def test_absent_peer(autojump_clock, library, cause):
    """A server that is not there is waited for."""
    error = _caused(library.ConnectError("failed"), cause)
    states, end = await outcome(library, error)

    assert (State.WAITING, "ConnectError: failed") == states[1]
    assert isinstance(end, StreamEnded)


RAW = [
    (ConnectionResetError("reset"), True),
    (BrokenPipeError("pipe"), True),
    (TimeoutError("late"), True),
    (ssl.SSLError("BAD_RECORD_MAC"), True),
    (socket.gaierror(socket.EAI_NONAME, "unknown"), True),
    (FileNotFoundError("no token"), False),
    (ValueError("bad"), False),
    (RuntimeError("client has been closed"), False),
]


@pytest.mark.parametrize(("error", "heals"), RAW)
async def test_error_that_the_library_lets_through(autojump_clock, error, heals):
    """After an open stream a network error heals, wrapped by the library or not."""
    _, end = await outcome(httpx2, error, was_open=True)
    body_states, body_end = await outcome(httpx2, stream(b"data: a\n\n", error))

    assert heals == isinstance(end, StreamEnded) == isinstance(body_end, StreamEnded)
    if not heals:
        assert error is end
        assert State.CLOSED is body_states[-1][0]


@pytest.mark.parametrize("callback", ["headers", "on_state", "on_comment"])
async def test_network_error_of_the_callers_function(autojump_clock, callback):
    """An error of the caller's function is no loss, even if it is a network error."""
    error = BrokenPipeError("stdout")

    def fail(*arguments):
        raise error

    client, requests = scripted_client(httpx2, stream(b":a\ndata: a\n\n"))
    with pytest.raises(BrokenPipeError):
        await anext(connect(client, "http://x/", **{callback: fail}))

    assert len(requests) <= 1


@pytest.mark.parametrize(
    ("text", "heals"),
    [("407 Proxy Authentication Required", False), ("502 Bad Gateway", True)],
)
async def test_proxy(autojump_clock, text, heals):
    """A proxy that refuses is final; a proxy that cannot reach the server is not."""
    _, end = await outcome(httpx2, httpx2.ProxyError(text))

    assert heals == isinstance(end, StreamEnded)


async def test_reason_of_an_error_without_text(autojump_clock):
    """The reason of an error without text is the text of its cause."""
    first = _caused(httpx2.ConnectError(""), None)
    states, _ = await outcome(httpx2, first, httpx2.ReadTimeout(""))
    reasons = [reason for state, reason in states if state is State.WAITING]

    assert ["ConnectError: all attempts to connect failed", "ReadTimeout"] == reasons


@pytest.mark.parametrize("library", LIBRARIES)
async def test_hook_that_raises_for_a_status(autojump_clock, library):
    """With a hook that calls `raise_for_status()` statuses count as without it."""

    async def hook(response):
        response.raise_for_status()

    client, requests = scripted_client(
        library, status(503), stream(b"data: a\n\n"), status(401),
        event_hooks={"response": [hook]},
    )  # fmt: skip
    events = connect(client, "http://x/")
    first = await anext(events)
    with pytest.raises(StreamEnded, match="got 401") as caught:
        await anext(events)

    assert "a" == first.data
    assert 401 == caught.value.status
    assert 3 == len(requests)


async def test_error_of_the_caller(autojump_clock):
    """An error of the caller's functions is raised, and is not taken for a loss."""
    for error in (ValueError("no token"), OSError("no file")):

        def headers(error=error):
            raise error

        _, end = await outcome(httpx2, headers=headers)

        assert error is end


# Over sockets.


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("url", "headers", "expected"),
    [
        ("ftp://127.0.0.1/", {}, "UnsupportedProtocol"),
        ("//127.0.0.1/", {}, "UnsupportedProtocol"),
        ("http://", {}, "UnsupportedProtocol"),
        ("http://[", {}, "ConnectError"),
        ("http://127.0.0.1:99999/", {}, "ValueError"),
        ("http://127.0.0.1:{port}/", {"x": "a\r\nb: c"}, "LocalProtocolError"),
        ("http://127.0.0.1:{port}/", {"x": "a\nb"}, "LocalProtocolError"),
        ("http://127.0.0.1:{port}/", {"a b": "c"}, "LocalProtocolError"),
        ("http://127.0.0.1:{port}/", {"x": "é…"}, "UnicodeEncodeError"),
        ("http://no-such-host.invalid/", {}, "ConnectError"),
    ],
)
async def test_wrong_request(library, serve, url, headers, expected):
    """A request that cannot be made is an error at once."""
    async with serve(app_of(answer)) as served, library.AsyncClient() as client:
        events = connect(client, url.format(port=served.port), headers=lambda: headers)
        with trio.fail_after(5), pytest.raises(Exception) as caught:  # noqa: PT011
            await anext(events)

    assert expected == caught.type.__name__


@pytest.mark.parametrize("library", LIBRARIES)
async def test_wrong_port(library):
    """A port without a server is reported, with the delay until the next request."""
    states = []
    with reserved_port() as port, trio.fail_after(5):
        async with library.AsyncClient() as client:
            with trio.CancelScope() as scope:

                def on_state(state, reason, delay):
                    states.append((state, delay))
                    if state is State.WAITING:
                        scope.cancel()

                await anext(
                    connect(client, f"http://127.0.0.1:{port}/", on_state=on_state)
                )

    assert (State.CONNECTING, 0.0) == states[0]
    assert State.WAITING is states[1][0]
    assert 3.0 <= states[1][1] <= 3.75


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
async def test_wrong_certificate(library, serve_tls):
    """A certificate that the client does not trust is an error at once."""
    async with serve_tls(app_of(answer)) as served, library.AsyncClient() as client:
        with trio.fail_after(5), pytest.raises(library.ConnectError) as caught:
            await anext(connect(client, f"https://127.0.0.1:{served.port}/"))

    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.__notes__[0]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_no_tls(library, serve):
    """A server without TLS at a https URL is an error at once."""
    async with serve(app_of(answer)) as served, library.AsyncClient() as client:
        with trio.fail_after(5), pytest.raises(library.ConnectError) as caught:
            await anext(connect(client, f"https://127.0.0.1:{served.port}/"))

    assert "SSL" in caught.value.__notes__[0]
