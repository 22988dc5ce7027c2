"""`connect_sync()` in threads and scripts: it ends at once, whatever it waits for."""

from __future__ import annotations

import inspect
import signal
import socket
import subprocess
import sys
import threading

import httpx2
import pytest

from roundel import State
from roundel_adapters.client import connect, connect_sync
from support.ports import reserved_port
from support.process import accept_ctrl_c
from support.scripted_http import scripted_client, stream
from support.silent_server import STREAM_HEAD, silent_server, wait_until_in
from support.stream_readers import (
    LIBRARIES,
    URL,
    VirtualToken,
    connect_in_virtual_time,
)

EVENT = STREAM_HEAD + b"data: a\n\n"
CHUNKED = STREAM_HEAD[:-2] + b"transfer-encoding: chunked\r\n\r\n"


class Reader:
    """A thread that reads a URL to its end."""

    def __init__(self, client, url, on_event=lambda: None, **options):
        self.on_event = on_event
        self.events = connect_sync(client, url, **options)
        self.received, self.error = [], None
        self.has_event = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            for event in self.events:
                self.received.append(event.data)
                self.has_event.set()
                self.on_event()
        except Exception as error:
            self.error = error

    def join(self):
        """Wait for the end of the thread, and check that it has no error."""
        self.thread.join(5)

        assert not self.thread.is_alive()
        assert self.error is None


def test_same_arguments():
    """`connect_sync()` has the arguments and defaults of `connect()`."""
    ours, theirs = map(inspect.signature, (connect_sync, connect))
    ours, theirs = list(ours.parameters.values()), list(theirs.parameters.values())

    assert [each.name for each in theirs] == [each.name for each in ours]
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert one.annotation == other.annotation
        assert one.name == "on_state" or one.default == other.default


@LIBRARIES
def test_client_of_the_other_kind(library):
    """A client of the other kind is an error at once, which names the function."""
    with library.Client() as client, pytest.raises(TypeError, match="connect_sync"):
        connect(client, URL)
    with pytest.raises(TypeError, match=r"use connect\(\)"):
        connect_sync(library.AsyncClient(), URL)


# What the thread waits for: the scheme, the response, and the function that blocks.
WAITS = {
    "response": ("http", b"", "read"),
    "TLS handshake": ("https", b"", "do_handshake"),
    "events": ("http", EVENT, "read"),
    "events over TLS": ("https", EVENT, "read"),
    "events, chunked": (
        "http",
        CHUNKED + b"9\r\ndata: a\n\n\r\n",
        "read",
    ),
}


@LIBRARIES
@pytest.mark.parametrize(
    ("scheme", "response", "function"), WAITS.values(), ids=list(WAITS)
)
def test_close_from_another_thread(tls_contexts, library, scheme, response, function):
    """`close()` ends a loop in another thread at once, whatever it waits for."""
    server_tls, client_tls = tls_contexts
    client_tls.check_hostname = False
    tls = server_tls if scheme == "https" else None
    with silent_server(response, tls) as port, library.Client(verify=client_tls) as c:
        reader = Reader(c, f"{scheme}://127.0.0.1:{port}/", idle_timeout=float("inf"))
        if response:
            assert reader.has_event.wait(5)
        wait_until_in(reader.thread, function)
        reader.events.close()
        reader.join()

        assert (["a"] if response else []) == reader.received


@LIBRARIES
def test_close_while_it_waits_to_reconnect(library):
    """`close()` ends a wait for the next request, which may be infinite."""
    with reserved_port() as port, library.Client() as client:
        reader = Reader(
            client, f"http://127.0.0.1:{port}/", retry=10**18, max_retry=10**18
        )
        wait_until_in(reader.thread, "wait")
        reader.events.close()
        reader.join()


@LIBRARIES
def test_close_while_a_reconnect_has_no_response(library):
    """`close()` ends a second request too: it has a connection of its own.

    The client's pool keeps a connection whose response has ended.
    """
    content = CHUNKED + b"b\r\nretry: 1\n\n\n\r\n0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener, library.Client() as client:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        reader = Reader(client, url, min_retry=1)
        listener.settimeout(5)
        with listener.accept()[0] as first:
            first.recv(65536)
            first.sendall(content)
            with listener.accept()[0] as second:
                second.recv(65536)
                wait_until_in(reader.thread, "read")
                reader.events.close()
                reader.join()


@LIBRARIES
def test_close_on_a_connection_of_another_request(library):
    """`close()` ends a read on a connection that the pool had already."""
    with socket.create_server(("127.0.0.1", 0)) as listener, library.Client() as client:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        listener.settimeout(5)
        other = threading.Thread(target=client.get, args=(url,))
        other.start()
        with listener.accept()[0] as peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            other.join(5)
            reader = Reader(client, url)
            peer.settimeout(5)
            peer.recv(65536)
            peer.sendall(EVENT)
            assert reader.has_event.wait(5)
            wait_until_in(reader.thread, "read")
            reader.events.close()
            reader.join()


@LIBRARIES
def test_redirect_keeps_its_connection(library):
    """A redirect to the same server is followed on the same connection."""
    redirect = b"HTTP/1.1 307 Moved\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener, library.Client() as client:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        reader = Reader(client, url)
        listener.settimeout(5)
        with listener.accept()[0] as peer:
            peer.settimeout(5)
            peer.recv(65536)
            peer.sendall(redirect)
            second = peer.recv(65536)
            reader.events.close()
            reader.join()

        assert second.startswith(b"GET /b ")


@LIBRARIES
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_close_behind_a_silent_proxy(library, scheme):
    """`close()` ends a request that a proxy does not answer."""
    with (
        silent_server(b"") as port,
        library.Client(proxy=f"http://127.0.0.1:{port}") as client,
    ):
        reader = Reader(client, f"{scheme}://a.example/")
        wait_until_in(reader.thread, "read")
        reader.events.close()
        reader.join()


@LIBRARIES
@pytest.mark.parametrize("seconds", [1.0, 1e7, float("inf")])
def test_idle_timeout_of_any_length(library, seconds):
    """An idle timeout may be infinite, or longer than a socket can count."""
    with silent_server(EVENT) as port, library.Client() as client:
        url = f"http://127.0.0.1:{port}/"
        with connect_sync(client, url, idle_timeout=seconds) as events:
            assert "a" == next(events).data


@LIBRARIES
def test_idle_timeout_of_a_socket(library):
    """A silent server is a loss, with the same reason as on an event loop."""
    lost = []

    def on_state(state, reason, delay):
        if state is State.WAITING:
            lost.append(reason)
            events.close()

    with silent_server(EVENT) as port, library.Client() as client:
        events = connect_sync(
            client, f"http://127.0.0.1:{port}/", idle_timeout=0.05, on_state=on_state
        )

        assert ["a"] == [event.data for event in events]
    assert ["nothing was received for 0.05 seconds"] == lost


@LIBRARIES
def test_peer_notices_the_end(library):
    """After `close()` the connection is closed, in the client's pool too."""
    with socket.create_server(("127.0.0.1", 0)) as listener, library.Client() as client:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        reader = Reader(client, url)
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(5)
            peer.recv(65536)
            peer.sendall(EVENT)
            assert reader.has_event.wait(5)
            reader.events.close()
            reader.join()

            assert b"" == peer.recv(1)


def test_close_while_the_caller_has_an_event():
    """`close()` from another thread closes the connection of a caller that is busy."""
    is_closed = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, httpx2.Client() as client:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        reader = Reader(client, url, on_event=lambda: is_closed.wait(5))
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(5)
            peer.recv(65536)
            peer.sendall(EVENT + b"data: b\n\n")
            assert reader.has_event.wait(5)
            reader.events.close()

            assert b"" == peer.recv(1)
        is_closed.set()
        reader.join()

        assert ["a"] == reader.received


def play_sync(*script, **options):
    clock = VirtualToken()
    client, requests = scripted_client(httpx2, *script, clock=clock)
    return connect_in_virtual_time(clock, client, URL, **options), requests


def test_close_before_the_first_event():
    """After `close()` no request is made."""
    events, requests = play_sync()
    events.close()
    events.close()

    assert [] == list(events)
    assert [] == requests


def test_close_in_the_loop():
    """After `close()` no event is returned, though it was received."""
    events, requests = play_sync(stream(b"data: a\n\ndata: b\n\n"))
    received = []
    for event in events:
        received.append(event.data)
        events.close()

    assert ["a"] == received
    assert 1 == len(requests)


@pytest.mark.parametrize("state", [State.CONNECTING, State.OPEN, State.WAITING])
def test_close_in_a_callback(state):
    """`close()` in *on_state* ends the iterator, without another request or event."""

    def on_state(now, reason, delay):
        states.append(now)
        if now is state:
            events.close()

    states = []
    events, requests = play_sync(stream(b"data: a\n\n"), on_state=on_state)
    received = [event.data for event in events]

    assert state is states[-1]
    assert (["a"] if state is State.WAITING else []) == received
    assert (state is not State.CONNECTING) == len(requests)


def test_close_in_headers():
    """`close()` in *headers* ends the iterator before the request."""

    def headers():
        events.close()
        return {}

    events, requests = play_sync(stream(b"data: a\n\n"), headers=headers)

    assert [] == list(events)
    assert [] == requests


def test_close_in_a_hook_of_the_client():
    """`close()` in a hook ends the iterator, and its response is not reported."""
    states = []
    clock = VirtualToken()
    hooks = {"response": [lambda response: events.close()]}
    client, _ = scripted_client(
        httpx2, stream(b"data: a\n\n"), clock=clock, event_hooks=hooks
    )
    events = connect_in_virtual_time(
        clock, client, URL, on_state=lambda state, *_: states.append(state)
    )

    assert [] == list(events)
    assert [State.CONNECTING] == states


def test_close_in_on_comment():
    """`close()` in *on_comment* ends the iterator before the next event."""
    events, _ = play_sync(
        stream(b":a\ndata: a\n\n"), on_comment=lambda text: events.close()
    )

    assert [] == list(events)


def test_several_threads():
    """A thread waits while another one reads, and each event goes to one of them."""
    received = []
    other = threading.Thread(target=lambda: received.append(next(events).data))

    def on_state(state, reason, delay):
        if state is State.OPEN:
            other.start()
            wait_until_in(other, "__next__")

    events, _ = play_sync(stream(b"data: a\n\ndata: b\n\n"), on_state=on_state)
    first = next(events).data
    other.join(5)
    events.close()

    assert ("a", ["b"]) == (first, received)


def test_context_manager():
    """The end of a `with` block closes it."""
    opened, _ = play_sync(stream(b"data: a\n\ndata: b\n\n"))
    with opened as events:
        first = next(events)

    assert "a" == first.data
    assert [] == list(opened)


SCRIPT = """
import signal, sys
import httpx2
from roundel_adapters.client import connect_sync

with httpx2.Client() as client:
    events = connect_sync(client, sys.argv[1])
    signal.signal(signal.SIGTERM, lambda number, frame: events.close())
    for event in events:
        print(event.data, flush=True)
print("closed")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "status", "output"),
    [(signal.SIGTERM, 0, "closed\n"), (signal.SIGINT, -signal.SIGINT, "")],
)
def test_signal(sent, status, output):
    """Ctrl-C ends a script, and a signal handler may call `close()`."""
    with (
        silent_server(EVENT) as port,
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, f"http://127.0.0.1:{port}/"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=accept_ctrl_c,
        ) as script,
    ):
        try:
            first = script.stdout.readline()
            script.send_signal(sent)
            rest, _ = script.communicate(timeout=10)
        finally:
            script.kill()

    assert ("a\n", output, status) == (first, rest, script.returncode)
