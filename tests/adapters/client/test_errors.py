"""Every error of the HTTP libraries: it heals, or it ends the subscription at once."""

from __future__ import annotations

import socket
import ssl

import httpx
import httpx2
import pytest
import trio

from roundel import State
from roundel_adapters.client import StreamEnded, connect, connect_sync
from support.asgi_apps import answer, app_of
from support.ports import reserved_port
from support.scripted_http import status, stream
from support.stream_readers import LIBRARIES, WAYS, play

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
    for library in (httpx, httpx2)
    for name, kind in exceptions_of(library).items()
]


def outcome(way, library, *script, was_open=False, **options):
    """Play *script*; return the states with their reasons, and how it ended."""
    if was_open:
        script = stream(b"data: first\n\n"), *script
    run = play(way, library, *script, **options)
    return [(state, reason) for state, reason, _ in run.states], run.end


@WAYS
@pytest.mark.parametrize(("library", "kind"), CASES)
def test_every_error_has_a_verdict(way, library, kind):
    """Each error heals and is reported, or is raised at once; a new one is noticed."""
    error = make_error(kind)
    states, end = outcome(way, library, error)
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


@WAYS
@pytest.mark.parametrize("kind", ["ReadError", "RemoteProtocolError", "DecodingError"])
@LIBRARIES
def test_error_of_a_body(way, library, kind):
    """An error in the middle of a stream is a loss, and its text is the reason."""
    error = getattr(library, kind)("cut")
    states, end = outcome(way, library, stream(b"data: a\n\n", error))

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


@WAYS
@pytest.mark.parametrize("cause", WRONG_PEER)
@LIBRARIES
def test_wrong_peer(way, library, cause):
    """A wrong certificate and an unknown name are raised at once."""
    error = _caused(library.ConnectError("failed"), cause)
    _, end = outcome(way, library, error)

    assert error is end


@WAYS
@pytest.mark.parametrize("cause", WRONG_PEER)
def test_wrong_peer_after_an_open_stream(way, cause):
    """After an open stream they are losses: a captive portal looks like this."""
    error = _caused(httpx2.ConnectError("failed"), cause)
    states, end = outcome(way, httpx2, error, was_open=True)

    assert (State.WAITING, "ConnectError: failed") in states
    assert isinstance(end, StreamEnded)


@WAYS
@pytest.mark.parametrize("cause", CUTS)
@LIBRARIES
def test_absent_peer(way, library, cause):
    """A server that is not there is waited for."""
    error = _caused(library.ConnectError("failed"), cause)
    states, end = outcome(way, library, error)

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


@WAYS
@pytest.mark.parametrize(("error", "heals"), RAW)
def test_error_that_the_library_lets_through(way, error, heals):
    """After an open stream a network error heals, wrapped by the library or not."""
    _, end = outcome(way, httpx2, error, was_open=True)
    body_states, body_end = outcome(way, httpx2, stream(b"data: a\n\n", error))

    assert heals == isinstance(end, StreamEnded) == isinstance(body_end, StreamEnded)
    if not heals:
        assert error is end
        assert State.CLOSED is body_states[-1][0]


@WAYS
@pytest.mark.parametrize("callback", ["headers", "on_state", "on_comment"])
def test_network_error_of_the_callers_function(way, callback):
    """An error of the caller's function is no loss, even if it is a network error."""
    error = BrokenPipeError("stdout")

    def fail(*arguments):
        raise error

    run = play(way, httpx2, stream(b":a\ndata: a\n\n"), **{callback: fail})

    assert error is run.end
    assert len(run.requests) <= 1


@WAYS
@pytest.mark.parametrize(
    ("text", "heals"),
    [("407 Proxy Authentication Required", False), ("502 Bad Gateway", True)],
)
def test_proxy(way, text, heals):
    """A proxy that refuses is final; a proxy that cannot reach the server is not."""
    _, end = outcome(way, httpx2, httpx2.ProxyError(text))

    assert heals == isinstance(end, StreamEnded)


@WAYS
def test_reason_of_an_error_without_text(way):
    """The reason of an error without text is the text of its cause."""
    first = _caused(httpx2.ConnectError(""), None)
    states, _ = outcome(way, httpx2, first, httpx2.ReadTimeout(""))
    reasons = [reason for state, reason in states if state is State.WAITING]

    assert ["ConnectError: all attempts to connect failed", "ReadTimeout"] == reasons


@WAYS
@LIBRARIES
def test_hook_that_raises_for_a_status(way, library):
    """With a hook that calls `raise_for_status()` statuses count as without it."""

    def check(response):
        response.raise_for_status()

    async def check_async(response):
        response.raise_for_status()

    hook = check if way == "sync" else check_async
    run = play(
        way, library, status(503), stream(b"data: a\n\n"), status(401),
        client_options={"event_hooks": {"response": [hook]}},
    )  # fmt: skip

    assert ["a"] == run.events
    assert isinstance(run.end, StreamEnded)
    assert (401, "expected status 200, got 401") == (run.end.status, str(run.end))
    assert 3 == len(run.requests)


@WAYS
def test_error_of_the_caller(way):
    """An error of the caller's functions is raised, and is not taken for a loss."""
    for error in (ValueError("no token"), OSError("no file")):

        def headers(error=error):
            raise error

        _, end = outcome(way, httpx2, headers=headers)

        assert error is end


# Over sockets.


def _text_or_note(error):
    """Return the text of *error*, or the note that `connect()` adds without one."""
    return str(error) or error.__notes__[0]


async def read_first(library, url, **options):
    async with library.AsyncClient() as client:
        await anext(connect(client, url, **options))


async def read_first_sync(library, url, **options):
    with library.Client() as client:
        events = connect_sync(client, url, **options)
        await trio.to_thread.run_sync(next, events)


@LIBRARIES
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
@pytest.mark.parametrize("read", [read_first, read_first_sync])
async def test_wrong_request(read, library, serve, url, headers, expected):
    """A request that cannot be made is an error at once."""
    async with serve(app_of(answer)) as served:
        url = url.format(port=served.port)
        with trio.fail_after(5), pytest.raises(Exception) as caught:  # noqa: PT011
            await read(library, url, headers=lambda: headers)

    assert expected == caught.type.__name__


@LIBRARIES
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
@LIBRARIES
@pytest.mark.parametrize("read", [read_first, read_first_sync])
async def test_wrong_certificate(read, library, serve_tls):
    """A certificate that the client does not trust is an error at once."""
    async with serve_tls(app_of(answer)) as served:
        with trio.fail_after(5), pytest.raises(library.ConnectError) as caught:
            await read(library, f"https://127.0.0.1:{served.port}/")

    assert "CERTIFICATE_VERIFY_FAILED" in _text_or_note(caught.value)


@LIBRARIES
@pytest.mark.parametrize("read", [read_first, read_first_sync])
async def test_no_tls(read, library, serve):
    """A server without TLS at a https URL is an error at once."""
    async with serve(app_of(answer)) as served:
        with trio.fail_after(5), pytest.raises(library.ConnectError) as caught:
            await read(library, f"https://127.0.0.1:{served.port}/")

    assert "SSL" in _text_or_note(caught.value)
