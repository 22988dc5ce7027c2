"""Streams as ASGI applications, behind servers and without one."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys

import anyio
import hypercorn.asyncio
import trio
import trio.testing
from hypercorn.config import Config

from roundel import Event, History, Stream, read_last_event_id
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.testing import AsgiClient
from roundel_adapters.wakeup import Wakeup
from support.server import read_until


class News:
    """A bare application: its streams resume."""

    def __init__(self):
        self.left = anyio.Event()
        self.history = History("e", snapshot=Event("start"))
        self.bell = Wakeup()

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        last_event_id = read_last_event_id(dict(scope["headers"]).get(b"last-event-id"))
        stream = Stream(
            self.history, now=anyio.current_time(), last_event_id=last_event_id
        )
        await StreamResponse(stream, self.bell)(scope, receive, send)
        self.left.set()

    def tell(self, text):
        self.history.append(Event(text), now=anyio.current_time())
        self.bell.notify()


async def test_peer_that_comes_back_is_told_what_it_missed(autojump_clock):
    """The last event id that it presents is where it goes on."""
    news = News()
    client = AsgiClient(news)
    async with client.stream("/") as stream:
        news.tell("one")
        assert ["start", "one"] == [(await stream.next_event()).data for _ in range(2)]
        last_event_id = stream.last_event_id
    news.tell("two")
    news.tell("three")
    presented = {"Last-Event-ID": last_event_id}
    async with client.stream("/", headers=presented) as stream:
        await trio.testing.wait_all_tasks_blocked()

        assert ["two", "three"] == [event.data for event in stream.ready_events()]


GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_stream_is_served_on_trio(serve):
    """Over a socket: the news come, and the peer's end is the stream's."""
    news = News()
    async with serve(news) as served:
        peer = await served.get("/")
        assert b"data: start" in await read_until(peer, b"id: e.0\n\n")
        news.tell("one")
        assert b"data: one" in await read_until(peer, b"id: e.1\n\n")
        await peer.aclose()
        with trio.fail_after(10):
            await news.left.wait()


def test_stream_is_served_on_asyncio():
    """Hypercorn's own code for asyncio, over a socket, to the same end."""

    async def story():
        news, stop = News(), asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = Config()
            # Its logger would stay as it sets it up, for all tests that follow.
            config.errorlog = None
            config.bind = [f"fd://{os.dup(listener.fileno())}"]
            serving = asyncio.create_task(
                hypercorn.asyncio.serve(news, config, shutdown_trigger=stop.wait)
            )
            address = listener.getsockname()
            reader, writer = await asyncio.open_connection(*address)
        writer.write(GET)
        async with asyncio.timeout(10):
            assert b"data: start" in await reader.readuntil(b"id: e.0\n\n")
            news.tell("one")
            assert b"data: one" in await reader.readuntil(b"id: e.1\n\n")
            writer.close()
            await writer.wait_closed()
            await news.left.wait()
            stop.set()
            await serving

    asyncio.run(story())


def test_asyncio_needs_no_trio():
    """Neither trio nor a server is loaded for a stream on asyncio."""
    program = (
        "import json, sys, roundel_adapters.asgi, roundel_adapters.wakeup;"
        "roundel_adapters.wakeup.Wakeup().notify();"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert not {"trio", "hypercorn", "quart"} & set(json.loads(done.stdout))
