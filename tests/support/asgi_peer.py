"""A peer of an ASGI application, on both loops, in virtual time."""

from __future__ import annotations

import asyncio
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
MOMENT = 1e-6

about = partial(pytest.approx, abs=0.001)


class Jumping(selectors.DefaultSelector):
    """Waits for no timer: its time is the next one's."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        self.now += timeout or 0.0
        return super().select(None if timeout is None else 0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose time is what its timers make of it."""

    def __init__(self):
        self._jumping = Jumping()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.now


def run(backend, story):
    """Run a story in virtual time, from second 0 and for a day at the most."""
    if backend == "trio":
        options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
    else:
        options = {"loop_factory": VirtualLoop}

    async def bounded():
        with anyio.fail_after(DAY):
            await story()

    anyio.run(bounded, backend=backend, backend_options=options)


def on_both(story):
    """Make a test of a story: it runs on trio and on asyncio."""

    @pytest.mark.parametrize("backend", ["trio", "asyncio"])
    def test(backend):
        run(backend, story)

    test.__doc__ = story.__doc__
    return test


class PeerGoneError(OSError):
    """What a server raises when the peer is gone."""


class Peer:
    """The server's side of one request, and the peer behind it."""

    def __init__(self, response, *, method="GET", http_version="1.1"):
        self.response = response
        self.scope = {"type": "http", "http_version": http_version, "method": method}
        self.sent = []
        self.times = []
        self.gone = anyio.Event()
        self.ended = anyio.Event()
        self.free = anyio.Event()
        self.free.set()
        self.is_refusing = False
        self.requests = [b"body of ", b"the request"]
        self.failure = None
        self.task = anyio.CancelScope()

    async def receive(self):
        await anyio.lowlevel.checkpoint()
        if self.requests:
            piece = self.requests.pop(0)
            return {
                "type": "http.request",
                "body": piece,
                "more_body": bool(self.requests),
            }
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        await anyio.lowlevel.checkpoint()
        if self.is_refusing:
            raise PeerGoneError("the peer has gone")
        await self.free.wait()
        self.sent.append(message)
        if message.get("body"):
            self.times.append(anyio.current_time())

    async def run(self):
        try:
            with self.task:
                await self.response(self.scope, self.receive, self.send)
        finally:
            self.ended.set()

    @property
    def pieces(self):
        return [m["body"] for m in self.sent[1:] if m["body"]]

    @property
    def told(self):
        return [e.data for e in Parser().receive_data(b"".join(self.pieces))]

    @property
    def is_whole(self):
        """Whether the response was brought to its end, once."""
        more = [message["more_body"] for message in self.sent[1:]]
        return more == [True] * (len(more) - 1) + [False]


class Page:
    """One stream, and what a test wants to know of it."""

    def __init__(self, **options):
        self.history = History("e", snapshot=Event("start"))
        self.bell = Wakeup()
        self.stream = Stream(self.history, now=anyio.current_time(), **options)
        self.entered = self.left = 0

    def tell(self, text):
        self.history.append(Event(text), now=anyio.current_time())
        self.bell.notify()

    @contextmanager
    def counted(self):
        self.entered += 1
        try:
            yield
        finally:
            # What is left sees a stream that is over.
            self.left += not self.stream.is_open

    @asynccontextmanager
    async def answered(self, talker=None, **options):
        """Answer a request for the length of a block, to which the peer stays."""
        response = StreamResponse(
            talker or self.stream, self.bell, lifespan=self.counted(), **options
        )
        peer = Peer(response)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.run)
            await all_wait()
            yield peer
            peer.gone.set()
        assert not self.stream.is_open
        assert (1, 1) == (self.entered, self.left)
        assert not self.bell._wakers


async def all_wait():
    """Let everybody do what can be done now.

    Time goes on only when everybody waits, and nobody waits for so short a time.
    """
    await anyio.sleep(MOMENT)
