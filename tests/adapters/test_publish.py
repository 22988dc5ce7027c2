"""The documented `publish()` works wherever code of the event loop's thread runs."""

from __future__ import annotations

import asyncio
import re
import threading
from functools import partial
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import trio

from roundel import Event, History, read_last_event_id
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.testing import AsgiClient

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "how-to" / "stream-from-asgi.md"


def documented():
    """Run the page's example without topics; return its names."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [code] = [block for block in blocks if "def publish(" in block]
    names = {
        "Event": Event,
        "History": History,
        "StreamResponse": StreamResponse,
        "read_last_event_id": read_last_event_id,
    }
    exec(code, names)
    return names


async def call_soon(publish):
    """Publish in a callback of the asyncio loop."""
    asyncio.get_running_loop().call_soon(publish)


async def call_later(publish):
    """Publish in a timer of the asyncio loop."""
    asyncio.get_running_loop().call_later(0.001, publish)


async def call_soon_threadsafe(publish):
    """Publish in a callback that a thread schedules."""
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(loop.call_soon_threadsafe, publish)


async def done_callback(publish):
    """Publish when an asyncio task is done."""
    task = asyncio.create_task(asyncio.sleep(0))
    task.add_done_callback(lambda _: publish())
    await task


async def protocol_callback(publish):
    """Publish in a callback of an asyncio transport."""

    class Protocol(asyncio.Protocol):
        def data_received(self, data):
            publish()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Protocol, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"x")
    await asyncio.sleep(0.01)
    writer.close()
    server.close()


async def run_sync_soon(publish):
    """Publish in a callback of the trio loop."""
    trio.lowlevel.current_trio_token().run_sync_soon(publish)


async def trio_thread(publish):
    """Publish from a thread of trio."""
    await trio.to_thread.run_sync(partial(trio.from_thread.run_sync, publish))


async def foreign_thread(publish):
    """Publish from a thread that has the token of the trio loop."""
    token = trio.lowlevel.current_trio_token()
    call = partial(trio.from_thread.run_sync, publish, trio_token=token)
    thread = threading.Thread(target=call)
    thread.start()
    await trio.to_thread.run_sync(thread.join)


async def anyio_thread(publish):
    """Publish from a worker thread of anyio, as FastAPI's `def` endpoints run in."""
    await anyio.to_thread.run_sync(partial(anyio.from_thread.run_sync, publish))


async def task(publish):
    """Publish in a task."""
    publish()


ASYNCIO = [call_soon, call_later, call_soon_threadsafe, done_callback,
           protocol_callback, anyio_thread, task]  # fmt: skip
TRIO = [run_sync_soon, trio_thread, foreign_thread, anyio_thread, task]

# Not by `anyio.run()`: callbacks would inherit its context variable, which servers do
# not set.
RUN = {"asyncio": lambda scenario: asyncio.run(scenario()), "trio": trio.run}


@pytest.mark.parametrize(
    ("backend", "place"),
    [
        pytest.param(backend, place, id=f"{backend}-{place.__name__}")
        for backend, places in (("asyncio", ASYNCIO), ("trio", TRIO))
        for place in places
    ],
)
def test_places(backend, place):
    """An event that is published anywhere in the loop's thread arrives at once."""
    names = documented()

    async def scenario():
        async with AsgiClient(names["news_app"]).stream("/") as stream:
            first = await stream.next_event()
            with anyio.fail_after(5):
                await place(partial(names["publish"], "news"))
                second = await stream.next_event()

        assert ("nothing yet", "news") == (first.data, second.data)

    RUN[backend](scenario)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_without_a_loop(backend):
    """Events can be published before a loop runs, and after it has ended."""
    names = documented()
    names["publish"]("early")

    async def scenario():
        async with AsgiClient(names["news_app"]).stream("/") as stream:
            return [(await stream.next_event()).data for _ in range(2)]

    received = RUN[backend](scenario)
    names["publish"]("late")

    assert ["nothing yet", "early"] == received
    assert 2 == names["news"].head.offset
