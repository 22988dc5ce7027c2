"""Streams of topics that are handed off, while other threads publish."""

from __future__ import annotations

import re
import threading
from contextvars import ContextVar

import pytest
import trio
from quart_trio import QuartTrio

from roundel import CloseMessage, Event, History
from roundel_adapters.quart import stream_response
from roundel_adapters.quart_trio import prepare
from roundel_adapters.topics import Topics
from support.fastpath_app import connect, request
from support.server import read_until, serving

pytestmark = pytest.mark.slow

THREADS, EVENTS = 4, 100

user = ContextVar("user", default="nobody")


def make_history(name, epoch):
    return History(epoch, capacity=1_000)


def hello(resume):
    return Event(f"hello {user.get()}")


@pytest.fixture
def topics():
    bye = CloseMessage(Event("over", "bye"))
    return Topics(make_history, close_message=lambda: bye, signals=False)


@pytest.fixture
def app(topics):
    app = QuartTrio(__name__)
    prepare(app)

    @app.get("/")
    async def stream():
        user.set("alice")
        return stream_response(topics.stream("a", hello=hello, heartbeat=60.0))

    return app


async def test_threads_publish_to_streams_that_were_handed_off(app, topics):
    """Peers get each event of several threads at once, in one order, and the end."""

    def publish_all(thread):
        for number in range(EVENTS):
            topics.publish("a", Event(f"{thread} {number}"))

    async with serving(app) as served:
        peers = [await connect(served, request("/")) for _ in range(3)]
        for peer in peers:
            await read_until(peer, b"data: hello alice")
        threads = [
            threading.Thread(target=publish_all, args=(n,)) for n in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        received = [b""] * len(peers)
        # Without a wake they would arrive with the heartbeat.
        with trio.fail_after(30):
            for number, peer in enumerate(peers):
                while received[number].count(b"data: ") < THREADS * EVENTS:
                    received[number] += await peer.receive_some()
        for thread in threads:
            thread.join()
        topics.close()
        with trio.fail_after(30):
            for peer in peers:
                assert b"event: bye" in await read_until(peer, b"never")
    orders = [re.findall(rb"data: (\d+ \d+)", data) for data in received]

    assert orders[0] == orders[1] == orders[2]
    assert THREADS * EVENTS == len(set(orders[0]))
