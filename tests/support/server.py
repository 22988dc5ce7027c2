"""The server on loopback, for the tests that need sockets."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from roundel_adapters import server
from support.certificates import Authority

TLS_NAME = "roundel.test"


@attrs.define
class Served:
    """A running server: its port, the event that stops it, the event that it ended."""

    port: int
    stop: trio.Event
    gone: trio.Event
    streams: list[trio.SocketStream] = attrs.field(factory=list)

    async def get(self, path: str) -> trio.SocketStream:
        """Send a request on a new connection, which is closed at the end."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.streams.append(stream)
        await stream.send_all(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode())
        return stream


@asynccontextmanager
async def serving(app, fastpath=None, *, tls=None, http2=True, **limits):
    """Serve *app*, and *fastpath* if there is one, on any port; stop at the end."""
    listeners = await server.listen("127.0.0.1", 0, tls=tls)
    listener = listeners[0].transport_listener if tls else listeners[0]
    served = Served(listener.socket.getsockname()[1], trio.Event(), trio.Event())

    async def run(*, task_status) -> None:
        await server.serve(
            app,
            listeners,
            shutdown=served.stop.wait,
            limits=server.ServerLimits(**limits),
            fastpath=fastpath,
            http2=http2,
            task_status=task_status,
        )
        served.gone.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        try:
            yield served
        finally:
            for stream in served.streams:
                stream.socket.close()
            served.stop.set()


@pytest.fixture
def serve():
    """Return `serving()`, which serves an ASGI app in a block."""
    return partial(serving)


@pytest.fixture(scope="module")
def tls_contexts(tmp_path_factory):
    """Create the TLS contexts of a server and of a client that trusts it."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue(TLS_NAME))
    return server, ssl.create_default_context(cafile=authority.file)


@pytest.fixture
def serve_tls(tls_contexts):
    """Serve an ASGI app over TLS for the length of a block."""
    return partial(serving, tls=tls_contexts[0])


@pytest.fixture
def connect_tls(tls_contexts):
    """Connect a TLS client that offers the given ALPN protocols."""
    _, client = tls_contexts

    async def connect(served, *protocols):
        client.set_alpn_protocols(list(protocols))
        plain = await trio.open_tcp_stream("127.0.0.1", served.port)
        served.streams.append(plain)
        return trio.SSLStream(
            plain, client, server_hostname=TLS_NAME, https_compatible=True
        )

    return connect


async def read_until(stream: trio.SocketStream, mark: bytes) -> bytes:
    """Read until *mark* was received, or until EOF."""
    received = b""
    with trio.fail_after(10):
        while mark not in received:
            data = await stream.receive_some()
            if not data:
                break
            received += data
    return received
