"""Streams as ASGI applications, with a server and without one."""

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


class TopicApp:
    """A plain ASGI application with one topic."""

    def __init__(self):
        self.ended = anyio.Event()
        self.history = History("e", snapshot=Event("start"))
        self.wakeup = Wakeup()

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        last_event_id = read_last_event_id(dict(scope["headers"]).get(b"last-event-id"))
        stream = Stream(
            self.history, now=anyio.current_time(), last_event_id=last_event_id
        )
        await StreamResponse(stream, self.wakeup)(scope, receive, send)
        self.ended.set()

    def publish(self, text):
        self.history.append(Event(text), now=anyio.current_time())
        self.wakeup.notify()


async def test_reconnect_gets_the_missed_events(autojump_clock):
    """A peer that reconnects gets the events after its last event id."""
    app = TopicApp()
    client = AsgiClient(app)
    async with client.stream("/") as stream:
        app.publish("one")
        assert ["start", "one"] == [(await stream.next_event()).data for _ in range(2)]
        last_event_id = stream.last_event_id
    app.publish("two")
    app.publish("three")
    headers = {"Last-Event-ID": last_event_id}
    async with client.stream("/", headers=headers) as stream:
        await trio.testing.wait_all_tasks_blocked()

        assert ["two", "three"] == [event.data for event in stream.ready_events()]


GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_stream_on_trio(serve):
    """Over a socket on trio events arrive, and a disconnect ends the stream."""
    app = TopicApp()
    async with serve(app) as served:
        peer = await served.get("/")
        assert b"data: start" in await read_until(peer, b"id: e.0\n\n")
        app.publish("one")
        assert b"data: one" in await read_until(peer, b"id: e.1\n\n")
        await peer.aclose()
        with trio.fail_after(10):
            await app.ended.wait()


def test_stream_on_asyncio():
    """Hypercorn on asyncio serves a stream, and a disconnect ends it."""

    async def scenario():
        app, stop = TopicApp(), asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = Config()
            # Hypercorn would configure a logger for all later tests.
            config.errorlog = None
            config.bind = [f"fd://{os.dup(listener.fileno())}"]
            serving = asyncio.create_task(
                hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait)
            )
            address = listener.getsockname()
            reader, writer = await asyncio.open_connection(*address)
        writer.write(GET)
        async with asyncio.timeout(10):
            assert b"data: start" in await reader.readuntil(b"id: e.0\n\n")
            app.publish("one")
            assert b"data: one" in await reader.readuntil(b"id: e.1\n\n")
            writer.close()
            await writer.wait_closed()
            await app.ended.wait()
            stop.set()
            await serving

    asyncio.run(scenario())


def test_asyncio_needs_no_trio():
    """A stream on asyncio imports neither trio nor a server."""
    program = (
        "import json, sys, roundel_adapters.asgi, roundel_adapters.wakeup;"
        "import roundel_adapters.testing;"
        "roundel_adapters.wakeup.Wakeup().notify();"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert not {"trio", "hypercorn", "quart"} & set(json.loads(done.stdout))
