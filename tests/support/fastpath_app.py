"""An application for the fast path, and the requests to send to it."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import attrs
import trio

from roundel import CloseMessage, Event, History, Stream
from roundel_adapters.wakeup import Wakeup

LARGE_BODY = bytes(1 << 26)
"""A body that no socket buffer holds."""


@attrs.frozen
class Call:
    """The arguments of one call of the application."""

    method: str
    path: str
    query: bytes
    headers: object
    body: bytes


@attrs.frozen(kw_only=True)
class FakeResponse:
    """A response with the attributes that the fast path uses."""

    status: int = 200
    headers: dict = attrs.field(factory=dict)
    body: object = b""


@attrs.frozen(kw_only=True)
class FakeEventStream:
    """An event stream with the attributes that the fast path uses."""

    stream: Stream
    wakeup: Wakeup
    status: int = 200
    headers: dict = attrs.field(factory=dict)
    lifespan: object = attrs.field(factory=nullcontext)


class FakeFastpathApp:
    """Serves a few paths, each by the method of its name, and records the calls."""

    PATHS = frozenset({"/echo", "/status", "/lines", "/events", "/fail", "/large"})

    def __init__(self):
        self.calls = []
        self.done = []
        self.history = History("e", snapshot=Event("start"))
        self.wakeup = Wakeup()
        self.streams = []

    def find_handler(self, method, path, query=b""):
        if method not in {"GET", "POST"} or path not in self.PATHS:
            return None
        return partial(self._handle, method, path, query)

    async def _handle(self, method, path, query, headers, body):
        call = Call(method, path, query, headers, body)
        self.calls.append(call)
        response = await getattr(self, path[1:])(call)
        self.done.append(path)
        return response

    async def echo(self, call):
        return FakeResponse(headers={"X-Method": call.method}, body=call.body)

    async def status(self, call):
        return FakeResponse(status=int(call.query))

    async def lines(self, call):
        return FakeResponse(body=self._lines(call.body))

    async def _lines(self, body):
        for line in body.split(b"\n"):
            yield line.upper()
        self.done.append("last line")

    async def large(self, call):
        return FakeResponse(body=LARGE_BODY)

    async def fail(self, call):
        raise RuntimeError("a bug")

    async def events(self, call):
        stream = Stream(self.history, now=trio.current_time())
        self.streams.append(stream)
        return FakeEventStream(stream=stream, wakeup=self.wakeup)

    def publish(self, text):
        self.history.append(Event(text), now=trio.current_time())
        self.wakeup.notify()

    def close_streams(self):
        for stream in self.streams:
            stream.close(CloseMessage(Event("over", "bye")))
        self.wakeup.notify()


def request(target="/echo", *fields, method="GET", body=b"", version="1.1"):
    """Return a request as bytes."""
    lines = [f"{method} {target} HTTP/{version}", "Host: x", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def post(body, *fields, target="/echo"):
    """Return a POST request with a `Content-Length`."""
    length = f"Content-Length: {len(body)}"
    return request(target, length, *fields, method="POST", body=body)


def post_chunked(*chunks, target="/echo"):
    """Return a POST request with a chunked body."""
    encoded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    field = "Transfer-Encoding: chunked"
    return request(target, field, method="POST", body=encoded + b"0\r\n\r\n")


def without_date(received):
    """Return *received* without its `Date` fields."""
    lines = received.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(b"Date: "))


async def connect(served, data=b""):
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


def task_count():
    """Count the tasks that run now."""
    count, left = 0, [trio.lowlevel.current_root_task()]
    while left:
        task = left.pop()
        count += 1
        left += [child for n in task.child_nurseries for child in n.child_tasks]
    return count
