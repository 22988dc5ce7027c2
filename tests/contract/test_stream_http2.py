"""Streams over HTTP/2: however one ends, nothing of it stays behind."""

from __future__ import annotations

import pytest
import trio
from hypercorn.events import Closed

from support.http2_floods import FLOODS
from support.http2_wire import (
    GET,
    continuation,
    data,
    goaway,
    head,
    reset,
    settings,
    window_update,
    wire_server,
)

WRITE_TIMEOUT = 5.0


def stream_head(world, stream):
    """Make the head of a request for a stream."""
    token = world.service.authenticator.sign("alice", ttl=86_400)
    path = (":path", "/v1/stream?level=items")
    return head(stream, [*GET[:2], path, GET[3], ("authorization", f"Bearer {token}")])


def sending(*frames):
    """Make an end that the client causes by *frames*."""

    async def end(server, world):
        await server.receive(*frames)

    return end


async def close(server, world):
    await server.connection.handle(Closed())


async def drain(server, world):
    world.service.hub.drain()


async def leave_and_drain(server, world):
    await server.receive(goaway())
    assert not server.is_closed
    await drain(server, world)


async def wait_for_write_timeout(server, world):
    await world.notify(title="x" * 1_000)
    await trio.sleep(2 * WRITE_TIMEOUT)


async def wait_for_max_age(server, world):
    await trio.sleep(700)


OPEN, CLOSED = settings(), settings((4, 0))

ENDS = {
    "reset": (OPEN, sending(reset(1))),
    "reset, its window closed": (CLOSED, sending(reset(1))),
    "two resets": (OPEN, sending(reset(1), reset(1))),
    "reset by DATA": (OPEN, sending(data(1, b"x"))),
    "reset by HEADERS": (CLOSED, sending(head(1))),
    "reset by a window": (OPEN, sending(window_update(1, (1 << 31) - 1))),
    "reset by a window of 0": (CLOSED, sending(window_update(1, 0))),
    "connection error": (OPEN, sending(continuation(1))),
    "connection error, its window closed": (CLOSED, sending(continuation(1))),
    "flood": (OPEN, sending(FLOODS["SETTINGS"])),
    "flood, its window closed": (CLOSED, sending(FLOODS["PING"])),
    "GOAWAY and a reset": (OPEN, sending(goaway(), reset(1))),
    "GOAWAY and a drain": (OPEN, leave_and_drain),
    "GOAWAY with an error": (OPEN, sending(goaway(2))),
    "GOAWAY, its window closed": (CLOSED, sending(goaway(2))),
    "EOF": (OPEN, close),
    "EOF, its window closed": (CLOSED, close),
    "drain": (OPEN, drain),
    "maximum age": (OPEN, wait_for_max_age),
    "write timeout": (CLOSED, wait_for_write_timeout),
}


def held(server, world):
    """Return what the connection and the service hold for streams."""
    streams, state = server.connection._streams, server.connection._state
    return [
        *(streams.exchanges, streams._waiting, streams._starved, server.apps.running),
        world.service.hub.streams,
        # The state of an ended connection goes with it.
        0 if server.connection._has_failed else state.open_inbound_streams,
    ]


@pytest.fixture
async def running(make_world):
    world = make_world(max_streams_per_user="100")
    await trio.testing.wait_all_tasks_blocked()
    return world


@pytest.mark.parametrize(("windows", "end"), ENDS.values(), ids=ENDS)
async def test_ended_stream_leaves_nothing(windows, end, autojump_clock, running):
    """The hub, the application and the connection release it."""
    app = running.service.app
    async with wire_server(app, write_timeout=WRITE_TIMEOUT) as server:
        await server.receive(windows, stream_head(running, 1))
        assert (running.service.hub.streams, server.statuses()) == (1, {1: 200})
        await end(server, running)
        await trio.testing.wait_all_tasks_blocked()

        assert not any(held(server, running))


@pytest.mark.slow
async def test_one_reset_leaves_the_other_streams(autojump_clock, running):
    """50 streams share a connection; each second one is reset, in any state."""
    async with wire_server(running.service.app) as server:
        for stream in range(1, 101, 2):
            await server.receive(
                settings((4, stream % 4)), stream_head(running, stream)
            )
        for stream in range(1, 101, 4):
            await server.receive(reset(stream))
        assert running.service.hub.streams == 25
        assert len(server.connection._streams.exchanges) == 25
        await server.receive(settings((4, 65_535)))
        drain_from = len(server.frames)
        await drain(server, running)
        await trio.testing.wait_all_tasks_blocked()

        ended = {each.stream_id for each in server.frames[drain_from:]}
        assert ended >= set(range(3, 101, 4))
        assert not any(held(server, running))


@pytest.mark.slow
async def test_streams_that_come_and_go_leave_nothing(autojump_clock, running):
    """100 streams that are reset after their first event leave no state."""
    async with wire_server(running.service.app) as server:
        for stream in range(1, 201, 2):
            await server.receive(stream_head(running, stream))
            await server.receive(reset(stream))

        assert not any(held(server, running))
        assert not server.connection._state.streams
        assert not server.is_closed
