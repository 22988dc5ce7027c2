"""An application for the short way, and a wire to serve it over."""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext

import trio

from roundel import CloseMessage, Event, History, Stream
from roundel_adapters.server.fastpath.http1 import Http1Connection
from roundel_adapters.server.fastpath.interface import (
    EventStreamResponse,
    Response,
    StreamingResponse,
)
from roundel_adapters.server.fastpath.request_parser import IncompleteBody
from roundel_adapters.wakeup import Wakeup

DATE = b"Date: "


class ShortApp:
    """Takes some paths, and keeps what it was asked and what it has done."""

    def __init__(self):
        self.asked = []
        self.done = []
        self.buffered = []
        self.history = History("e", snapshot=Event("start"))
        self.bell = Wakeup()
        self.streams = []

    def handles(self, method, path, query=b""):
        return method in {"GET", "POST"} and path in {
            "/echo",
            "/hand",
            "/deaf",
            "/status",
            "/lines",
            "/events",
            "/fail",
            "/much",
        }

    async def __call__(self, request):
        self.asked.append(request)
        reply = await getattr(self, request.path[1:])(request)
        self.done.append(request.path)
        return reply

    async def echo(self, request):
        body = b"".join([piece async for piece in request.body])
        return Response(headers={"X-Method": request.method}, body=body)

    async def hand(self, request):
        body = request.body.buffered()
        self.buffered.append(body)
        return await self.echo(request) if body is None else Response(body=body)

    async def deaf(self, request):
        return Response(body=b"no")

    async def status(self, request):
        return Response(status=int(request.query))

    async def lines(self, request):
        return StreamingResponse(body=self.upper(request.body))

    async def upper(self, body):
        async for piece in body:
            yield piece.upper()
        self.done.append("last line")

    async def much(self, request):
        return Response(body=bytes(1 << 26))

    async def fail(self, request):
        raise RuntimeError("a bug")

    async def events(self, request):
        stream = Stream(self.history, now=trio.current_time())
        self.streams.append(stream)
        return EventStreamResponse(
            stream=stream, wakeup=self.bell, lifespan=nullcontext()
        )

    def tell(self, text):
        self.history.append(Event(text), now=trio.current_time())
        self.bell.notify()

    def end(self):
        for stream in self.streams:
            stream.close(CloseMessage(Event("over", "bye")))
        self.bell.notify()


class FakeWire:
    """A wire on which *pieces* come, and then the end."""

    def __init__(self, pieces=()):
        self.pieces = deque(pieces)
        self.written = b""
        self.waits = []
        self.adopted = []
        self.is_open = True
        self.is_draining = False

    async def receive(self):
        await trio.lowlevel.checkpoint()
        return self.pieces.popleft() if self.pieces else b""

    async def write(self, data):
        self.written += data
        return self.is_open

    def wait(self, patience):
        self.waits.append(patience)

    def adopt(self, talker, bell, within, head=b""):
        self.written += head
        self.adopted.append((talker, bell, within))


async def served(pieces, *, max_head=16_384):
    """Serve what comes in *pieces*; return the app, the wire and what is left."""
    app, wire = ShortApp(), FakeWire(pieces)
    plain = Http1Connection(app, wire, max_head=max_head)
    try:
        left = await plain.run(10, 75)
    except IncompleteBody:
        left = b""
    return app, wire, left


def ways(data):
    """Return *data* whole, and byte by byte."""
    return [[data], [data[i : i + 1] for i in range(len(data))]]


def asked(target="/echo", *fields, method="GET", body=b"", version="1.1"):
    """Return a request as bytes."""
    lines = [f"{method} {target} HTTP/{version}", "Host: x", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def posted(body, *fields, target="/echo"):
    """Return a request with a body whose length is told."""
    length = f"Content-Length: {len(body)}"
    return asked(target, length, *fields, method="POST", body=body)


def chunked(*pieces, target="/echo", end=b"0\r\n\r\n"):
    """Return a request whose body is in chunks."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    field = "Transfer-Encoding: chunked"
    return asked(target, field, method="POST", body=chunks + end)


def undated(written):
    """Return what was written without the fields that tell the time."""
    lines = written.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(DATE))


async def connected(served, data=b""):
    """Connect to a server, and send *data*."""
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    served.streams.append(stream)
    if data:
        await stream.send_all(data)
    return stream


async def until(is_reached):
    """Let other tasks run until *is_reached* is true."""
    with trio.fail_after(10):
        while not is_reached():
            await trio.lowlevel.checkpoint()


def tasks():
    """Count the tasks that there are."""
    count, left = 0, [trio.lowlevel.current_root_task()]
    while left:
        task = left.pop()
        count += 1
        left += [child for n in task.child_nurseries for child in n.child_tasks]
    return count
