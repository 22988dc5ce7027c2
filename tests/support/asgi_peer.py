"""A peer of an ASGI application, on trio and asyncio, in virtual time."""

from __future__ import annotations

import asyncio
import inspect
import selectors
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import anyio
import pytest
import trio.testing

from roundel import Event, History, Parser, Stream
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.wakeup import Wakeup

DAY = 86_400.0
SHORTEST_DELAY = 1e-6

approx = partial(pytest.approx, abs=0.001)


class VirtualSelector(selectors.DefaultSelector):
    """A selector that advances its time instead of waiting."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        self.now += timeout or 0.0
        return super().select(None if timeout is None else 0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time."""

    def __init__(self):
        self._selector = VirtualSelector()
        super().__init__(self._selector)

    def time(self):
        return self._selector.now


def run(backend, scenario):
    """Run *scenario* in virtual time, from second 0 and for at most a day."""
    if backend == "trio":
        options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
    else:
        options = {"loop_factory": VirtualLoop}

    async def run_scenario():
        with anyio.fail_after(DAY):
            await scenario()

    anyio.run(run_scenario, backend=backend, backend_options=options)


def on_both_loops(scenario):
    """Make a test of *scenario* that runs on trio and on asyncio."""

    @pytest.mark.parametrize("backend", ["trio", "asyncio"])
    def test(backend, **arguments):
        run(backend, partial(scenario, **arguments))

    test.__doc__ = scenario.__doc__
    test.pytestmark += getattr(scenario, "pytestmark", [])
    # pytest finds the parameters by the signature.
    ours = inspect.signature(test).parameters["backend"]
    parameters = inspect.signature(scenario).parameters.values()
    test.__signature__ = inspect.Signature([ours, *parameters])
    return test


class DisconnectedError(OSError):
    """The error that a server's *send* raises after a disconnect."""


class Peer:
    """The server's side of one request."""

    def __init__(self, response, *, method="GET", http_version="1.1"):
        self.response = response
        self.scope = {"type": "http", "http_version": http_version, "method": method}
        self.sent = []
        self.times = []
        self.disconnect = anyio.Event()
        self.ended = anyio.Event()
        self.may_send = anyio.Event()
        self.may_send.set()
        self.send_fails = False
        self.requests = [b"body of ", b"the request"]
        self.task = anyio.CancelScope()

    async def receive(self):
        await anyio.lowlevel.checkpoint()
        if self.requests:
            chunk = self.requests.pop(0)
            return {
                "type": "http.request",
                "body": chunk,
                "more_body": bool(self.requests),
            }
        await self.disconnect.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        await anyio.lowlevel.checkpoint()
        if self.send_fails:
            raise DisconnectedError("the peer disconnected")
        await self.may_send.wait()
        self.sent.append(message)
        if message.get("more_body") is False:
            # ASGI's `receive()` returns a disconnect after the response too.
            self.disconnect.set()
        if message.get("body"):
            self.times.append(anyio.current_time())

    async def run(self):
        try:
            with self.task:
                await self.response(self.scope, self.receive, self.send)
        finally:
            self.ended.set()

    @property
    def chunks(self):
        return [m["body"] for m in self.sent[1:] if m["body"]]

    @property
    def received(self):
        return [e.data for e in Parser().receive_data(b"".join(self.chunks))]

    @property
    def retry(self):
        """The reconnection time that the stream set, in milliseconds."""
        parser = Parser()
        parser.receive_data(b"".join(self.chunks))
        return parser.retry

    @property
    def is_complete(self):
        """Whether the response ended, once."""
        more = [message["more_body"] for message in self.sent[1:]]
        return more == [True] * (len(more) - 1) + [False]


class Page:
    """One stream, and a count of its entered and exited lifespans."""

    def __init__(self, **options):
        self.history = History("e", snapshot=Event("start"))
        self.wakeup = Wakeup()
        self.stream = Stream(self.history, now=anyio.current_time(), **options)
        self.entered = self.exited = 0

    def publish(self, text):
        self.history.append(Event(text), now=anyio.current_time())
        self.wakeup.notify()

    @contextmanager
    def lifespan(self):
        self.entered += 1
        try:
            yield
        finally:
            # The stream is closed before its lifespan is exited.
            self.exited += not self.stream.is_open

    @asynccontextmanager
    async def served(self, stream=None, **options):
        """Serve a request for the length of the block, with a connected peer."""
        response = StreamResponse(
            stream or self.stream, self.wakeup, lifespan=self.lifespan(), **options
        )
        peer = Peer(response)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.run)
            await all_tasks_wait()
            yield peer
            peer.disconnect.set()
        assert not self.stream.is_open
        assert (1, 1) == (self.entered, self.exited)
        assert not self.wakeup.wakers


async def all_tasks_wait():
    """Wait until all other tasks wait.

    Virtual time advances only then, and no timer is as short as this one.
    """
    await anyio.sleep(SHORTEST_DELAY)
