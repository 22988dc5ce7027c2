"""Streams of Quart on asyncio and of Quart-Trio, without a server, in virtual time."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from math import inf

import anyio
import pytest
from quart import Quart, g, request, session
from quart_trio import QuartTrio

from roundel import CloseMessage, Event
from roundel_adapters import quart, quart_trio
from roundel_adapters.quart import stream_response
from roundel_adapters.testing import AsgiClient
from roundel_adapters.topics import Topics
from support.asgi_peer import Peer, all_tasks_wait, approx, on_both_loops, run

BYE = CloseMessage(Event("over", "bye"), 7_000)


class Page:
    """An application for the loop that runs, with a count of its lifespans."""

    def __init__(self, *, is_prepared=False, **options):
        self.topics = Topics(close_message=lambda: BYE, signals=False)
        self.topics.publish("a", Event("start"), snapshot=Event("start"))
        self.options = options
        self.streaming = {}
        self.entered = self.exited = 0
        is_trio = "trio" in anyio.get_cancelled_exc_class().__module__
        self.app = (QuartTrio if is_trio else Quart)(__name__)
        if is_prepared:
            (quart_trio.prepare if is_trio else quart.prepare)(self.app)
        self.app.secret_key = "secret"
        self.app.add_url_rule("/", view_func=self.respond)

    async def respond(self):
        stream = self.topics.stream("a", **self.streaming)
        return stream_response(stream, lifespan=self.lifespan(), **self.options)

    def publish(self, text):
        self.topics.publish("a", Event(text))

    @contextmanager
    def lifespan(self):
        self.entered += 1
        try:
            yield
        finally:
            self.exited += 1

    async def _run(self, peer):
        if isinstance(self.app, QuartTrio):
            await peer.run()
            return
        # A server cancels its task once, unlike a scope of anyio.
        peer.asyncio_task = asyncio.ensure_future(peer.run())
        try:
            with suppress(asyncio.CancelledError):
                await peer.asyncio_task
        except* ConnectionAbortedError:
            pass  # A server logs it, and closes the connection.

    @asynccontextmanager
    async def served(self):
        """Serve a request for the length of the block, with a connected peer."""
        peer = Peer(self.app)
        peer.requests = []
        peer.scope |= {
            "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"",
            "headers": [(b"host", b"x")], "root_path": "", "extensions": {},
        }  # fmt: skip
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run, peer)
            await all_tasks_wait()
            yield peer
            peer.disconnect.set()
        assert (1, 1) == (self.entered, self.exited)


both_ways = pytest.mark.parametrize("is_prepared", [False, True])


@both_ways
@on_both_loops
async def test_events_heartbeat_and_disconnect(is_prepared):
    """A stream has events, heartbeats, and an end at the disconnect."""
    page = Page(is_prepared=is_prepared)
    async with page.served() as peer:
        await anyio.sleep(100)
        page.publish("news")
        await all_tasks_wait()
        assert ["start", "news"] == peer.received
        assert approx([0, 15, 30, 45, 60, 75, 90, 100]) == peer.times
        peer.disconnect.set()
        await peer.ended.wait()

        assert (1, 1) == (page.entered, page.exited)
        assert approx(100.0) == anyio.current_time()


@both_ways
@on_both_loops
async def test_close(is_prepared):
    """`Topics.close()` ends the response after its close message."""
    page = Page(is_prepared=is_prepared)
    async with page.served() as peer:
        page.topics.close()
        await peer.ended.wait()

        assert ["start", "over"] == peer.received
        assert peer.is_complete


@both_ways
@on_both_loops
async def test_additional_headers(is_prepared):
    """Own headers are sent once each, and replace those of the stream."""
    own = [("Set-Cookie", "a=1"), ("cache-control", "no-cache")]
    page = Page(is_prepared=is_prepared, headers=own)

    @page.app.after_request
    async def add_header(response):
        response.headers["X-After"] = "1"
        return response

    async with AsgiClient(page.app).open("GET", "/") as response:
        headers = response.headers

    assert "no-cache" == headers["cache-control"]
    assert "a=1" == headers["set-cookie"]
    assert ("no", "1") == (headers["x-accel-buffering"], headers["x-after"])


@both_ways
@on_both_loops
async def test_variables_of_the_request(is_prepared):
    """Functions of the stream can use the request, the session, and context variables.

    Quart resets its own before it sends the body.
    """
    user = ContextVar("user", default="nobody")
    page = Page(is_prepared=is_prepared)

    @page.app.before_request
    async def set_user():
        user.set("alice")
        g.user = "bob"
        session["user"] = "carol"

    def hello(_resume):
        names = user.get(), g.user, session["user"], request.path
        return Event(" ".join(names), "hello")

    page.streaming = {"hello": hello, "ping": hello, "heartbeat": 15.0}
    async with page.served() as peer:
        await anyio.sleep(16)

        assert ["alice bob carol /", "start", "alice bob carol /"] == peer.received


@on_both_loops
async def test_error_of_the_stream():
    """An error of the caller's function ends the response, and exits the lifespan."""

    def fail(_resume):
        raise KeyError("no such user")

    page = Page()
    page.streaming = {"hello": fail}
    with pytest.RaisesGroup(KeyError, flatten_subgroups=True, allow_unwrapped=True):
        async with page.served():
            pass

    assert (1, 1) == (page.entered, page.exited)


def on_asyncio(scenario):
    """Make a test of *scenario* that runs on asyncio."""

    def test(**arguments):
        run("asyncio", partial(scenario, **arguments))

    test.__doc__ = scenario.__doc__
    test.__signature__ = inspect.signature(scenario)
    return test


@on_both_loops
async def test_cancelled_response():
    """A prepared app sends the close message of a stream that the server cancels."""
    page = Page(is_prepared=True)
    async with page.served() as peer:
        await anyio.sleep(1)
        if isinstance(page.app, QuartTrio):
            peer.task.cancel()
        else:
            peer.asyncio_task.cancel()
        await peer.ended.wait()

        assert ["start", "over"] == peer.received
        assert peer.is_complete
        assert approx(1.0) == anyio.current_time()


@both_ways
@on_asyncio
async def test_write_timeout(is_prepared):
    """A write that takes longer than *write_timeout* ends the response."""
    page = Page(is_prepared=is_prepared, write_timeout=7.0)
    async with page.served() as peer:
        peer.may_send = anyio.Event()
        await anyio.sleep(1)
        page.publish("news")
        await peer.ended.wait()

        assert approx(8.0) == anyio.current_time()
        assert ["start"] == peer.received
        assert not peer.is_complete


@on_asyncio
async def test_silence_is_no_write_timeout():
    """A stream without events lasts longer than *write_timeout*."""
    page = Page(write_timeout=7.0)
    page.streaming = {"heartbeat": 60.0}
    async with page.served() as peer:
        await anyio.sleep(50)
        page.publish("news")
        await all_tasks_wait()

        assert ["start", "news"] == peer.received


@on_asyncio
async def test_no_write_timeout():
    """With an infinite *write_timeout* a write can take any time."""
    page = Page(write_timeout=inf)
    async with page.served() as peer:
        peer.may_send = anyio.Event()
        page.publish("news")
        await anyio.sleep(10_000)
        peer.may_send.set()
        await all_tasks_wait()

        assert ["start", "news"] == peer.received


def test_prepare_is_for_asyncio():
    """`prepare()` of Quart can be repeated, and refuses an app of Quart-Trio."""
    app = Quart(__name__)
    quart.prepare(app)
    quart.prepare(app)
    with pytest.raises(TypeError, match="TrioASGIHTTPConnection"):
        quart.prepare(QuartTrio(__name__))
