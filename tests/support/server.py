"""A Hypercorn of ours on loopback, for the tests that need sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from roundel_adapters import server


@attrs.define
class Served:
    """A running server: where it is, how to stop it, and when it is gone."""

    port: int
    stop: trio.Event
    gone: trio.Event
    streams: list[trio.SocketStream] = attrs.field(factory=list)

    async def get(self, path: str) -> trio.SocketStream:
        """Send a request on a connection of its own, closed at the end."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.streams.append(stream)
        await stream.send_all(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode())
        return stream


@asynccontextmanager
async def serving(app, **limits):
    """Serve *app* on any port, and stop it at the end."""
    listeners = await server.listen("127.0.0.1", 0)
    port = listeners[0].socket.getsockname()[1]
    served = Served(port, trio.Event(), trio.Event())

    async def run(*, task_status) -> None:
        await server.serve(
            app,
            listeners,
            shutdown=served.stop.wait,
            limits=server.ServerLimits(**limits),
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
    """Serve an ASGI app for the length of a block."""
    return partial(serving)


async def read_until(stream: trio.SocketStream, mark: bytes) -> bytes:
    """Read until *mark* has come, or the end."""
    received = b""
    with trio.fail_after(10):
        while mark not in received:
            piece = await stream.receive_some()
            if not piece:
                break
            received += piece
    return received
