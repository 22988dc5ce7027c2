"""A peer of an aiohttp application: its server without sockets, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from aiohttp import web

from roundel import Parser

HIGH_WATER = 65_536
"""The bytes at which asyncio's transports pause a writer."""


class MemoryTransport(asyncio.Transport):
    """A connection whose peer reads all, unless it is stalled."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.received = b""
        self.times = []
        self.unread = 0
        self.is_stalled = self.is_lost = self.is_aborted = False

    def start(self, protocol):
        self.protocol = protocol
        protocol.connection_made(self)

    def get_protocol(self):
        return self.protocol

    def set_protocol(self, protocol):
        # As asyncio's transports of TLS.
        assert not self.is_lost, "no protocol after the end"
        self.protocol = protocol

    def get_extra_info(self, name, default=None):
        return default

    def write(self, data):
        self.received += data
        self.times.append(self.loop.time())
        if self.is_stalled:
            was_below = self.unread <= HIGH_WATER
            self.unread += len(data)
            if was_below and self.unread > HIGH_WATER:
                self.protocol.pause_writing()

    def writelines(self, chunks):
        self.write(b"".join(chunks))

    def is_closing(self):
        return self.is_lost

    def close(self):
        # As asyncio's transports: they wait until the peer has read everything.
        if not self.unread:
            self.lose()

    def abort(self):
        self.is_aborted = True
        self.lose()

    def lose(self):
        if not self.is_lost:
            self.is_lost = True
            self.loop.call_soon(self.protocol.connection_lost, None)


class AiohttpPeer:
    """The connections of one application."""

    def __init__(self, server):
        self.server = server

    def connect(self, method="GET", path="/", version="1.1", headers=()):
        transport = MemoryTransport()
        transport.start(self.server())
        lines = [f"{method} {path} HTTP/{version}", "Host: x", *headers, "", ""]
        transport.protocol.data_received("\r\n".join(lines).encode())
        return transport


@asynccontextmanager
async def serving(app, **options):
    """Run the application within the block, and shut it down."""
    runner = web.AppRunner(app, access_log=None, **options)
    await runner.setup()
    try:
        yield AiohttpPeer(runner.server)
    finally:
        await runner.cleanup()


def head_of(transport):
    """Return the status line and the header lines."""
    status, *lines = transport.received.split(b"\r\n\r\n")[0].decode().split("\r\n")
    return status, [line for line in lines if not line.startswith(("Date", "Server"))]


def body_of(transport):
    """Return the body, without the framing of chunks, and whether it has ended."""
    head, _, rest = transport.received.partition(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" not in head:
        return rest, transport.is_lost
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            return body, True
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body, False


def data_of(transport):
    """Return the data of each event."""
    return [event.data for event in Parser().receive_data(body_of(transport)[0])]
