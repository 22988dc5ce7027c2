"""The short way on a server: beside ASGI, and with the same limits."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from support.asgi_apps import ECHO_APP
from support.fastpath_app import (
    ShortApp,
    asked,
    chunked,
    connected,
    posted,
    tasks,
    until,
)
from support.http2 import connect_http2
from support.server import read_until, serving

pytestmark = pytest.mark.slow


@pytest.fixture
def short():
    return ShortApp()


async def test_both_ways_share_a_connection(short):
    """What is not taken goes on from there the usual way, with all that came."""
    data = posted(b"one") + asked("/other") + posted(b"two")
    for size in (len(data), 7):
        async with serving(ECHO_APP, short) as served:
            peer = await connected(served)
            for start in range(0, len(data), size):
                await peer.send_all(data[start : start + size])
            received = await read_until(peer, b"two")

            assert received.index(b"\r\n\r\none") < received.index(b"asgi GET /other")
            assert received.endswith(b"asgi POST /echo two")
    assert ["/echo"] * 2 == short.done


@pytest.mark.parametrize(
    "data",
    [
        asked(method="HEAD"),
        asked(method="OPTIONS"),
        asked("/nowhere"),
        asked(version="1.0"),
        asked("http://x/echo"),
        asked().replace(b"\r\n", b"\n"),
        posted(b"x", "Expect: 100-continue")[:-1],
        asked("/echo", "Upgrade: h2c", "Connection: Upgrade"),
        asked("/echo", f"X: {'x' * 20_000}"),
        asked("/echo", "Host: y"),
        b"GET /echo HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
    ],
    ids=lambda data: data[:30].decode("latin-1"),
)
async def test_what_is_not_usual_is_answered_as_without_a_short_way(short, data):
    """Status, fields and framing are those of the ASGI server."""
    answers = []
    for taken in (short, None):
        async with serving(ECHO_APP, taken) as served:
            peer = await connected(served, data)
            answers.append((await read_until(peer, b"\r\n\r\n")).splitlines()[0])

    assert answers[0] == answers[1]
    assert [] == short.asked


async def test_http_2_by_prior_knowledge_is_served(short):
    """The preface finds its way through."""
    async with serving(ECHO_APP, short) as served:
        peer = await connect_http2(served)

        assert (200, b"asgi GET /echo ") == await peer.response(
            await peer.request("/echo")
        )


async def test_two_lengths_at_once_are_refused(short):
    """RFC 9112 6.1: who sends both may be smuggling; nothing behind it is served."""
    data = chunked(b"x").replace(b"\r\n", b"\r\nContent-Length: 3\r\n", 1)
    async with serving(ECHO_APP, short) as served:
        peer = await connected(served, data + asked("/smuggled"))
        received = await read_until(peer, b"smuggled")

        assert b"smuggled" not in received


@pytest.mark.parametrize("chunks", [False, True])
async def test_answer_to_a_body_that_nobody_reads_can_be_read(short, chunks):
    """The connection ends without a reset, which would take the answer away."""
    body = bytes(1 << 23)
    make = chunked if chunks else posted
    async with serving(ECHO_APP, short) as served:
        peer = await connected(served)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour, peer, make(body, target="/deaf"))
            received = await read_until(peer, b"never")
            nursery.cancel_scope.cancel()

        assert received.endswith(b"Connection: close\r\n\r\nno")


async def pour(peer, data):
    with suppress(trio.BrokenResourceError):
        await peer.send_all(data)


async def test_body_that_is_cut_short_is_forgotten(short, caplog):
    """Nothing is done about it, and it is nothing to write about."""
    async with serving(ECHO_APP, short) as served:
        peer = await connected(served, posted(b"hello")[:-1])
        await peer.send_eof()

        assert b"" == await read_until(peer, b"never")
        assert [] == short.done
        assert [] == caplog.messages


async def test_fault_costs_its_own_connection(short, caplog):
    """Others go on, and the log tells."""
    async with serving(ECHO_APP, short) as served:
        broken = await connected(served, asked("/fail"))
        assert b"" == await read_until(broken, b"never")
        healthy = await connected(served, asked())

        assert b"200 OK" in await read_until(healthy, b"\r\n\r\n")
        await until(lambda: caplog.messages)
        assert ["a connection failed"] == caplog.messages


@pytest.mark.parametrize("begun", [b"", asked()[:9], asked() + asked()[:9], asked()])
async def test_connection_that_waits_for_too_long_is_ended(short, begun):
    """A head has its time, an idle connection has its own."""
    limits = {"head_timeout": 0.1, "keep_alive_timeout": 0.1}
    async with serving(ECHO_APP, short, **limits) as served:
        peer = await connected(served, begun)

        received = await read_until(peer, b"never")
        assert begun.count(b"\r\n\r\n") == received.count(b"200 OK")


async def test_head_behind_another_request_has_the_time_of_a_head(short):
    """However long an idle connection may wait."""
    async with serving(ECHO_APP, short, head_timeout=0.1) as served:
        peer = await connected(served, asked() + asked()[:9])

        assert 1 == (await read_until(peer, b"never")).count(b"200 OK")


async def test_peer_that_takes_nothing_of_an_answer_is_cut(short):
    """As everywhere."""
    async with serving(ECHO_APP, short, write_timeout=0.1) as served:
        await connected(served, asked("/much"))
        await until(lambda: short.done)
        with trio.fail_after(10):
            served.stop.set()
            await served.gone.wait()


async def test_idle_connection_does_not_hold_the_end_up(short):
    """Whether it has served something or nothing."""
    async with serving(ECHO_APP, short) as served:
        fresh = await connected(served)
        used = await connected(served, asked())
        await read_until(used, b"\r\n\r\n")
        served.stop.set()
        with trio.fail_after(10):
            await served.gone.wait()

        assert b"" == await read_until(fresh, b"never")
        assert b"" == await read_until(used, b"never")


async def test_running_request_is_answered_before_the_end(short):
    """A body that is coming may come."""
    data = posted(b"hello", target="/echo")
    async with serving(ECHO_APP, short) as served:
        peer = await connected(served, data[:-1])
        await until(lambda: short.asked)
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        await peer.send_all(data[-1:] + asked())
        with trio.fail_after(10):
            received = await read_until(peer, b"never")
            await served.gone.wait()

        assert 1 == received.count(b"200 OK")
        assert received.endswith(b"hello")


async def test_stream_costs_no_task(short):
    """Head, frames and end come from the one switchboard."""
    async with serving(ECHO_APP, short) as served:
        before = tasks()
        peers = [await connected(served, asked("/events")) for _ in range(5)]
        for peer in peers:
            assert b"200 OK" in await read_until(peer, b"start\nid: e.0\n\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        assert before == tasks()
        short.tell("news")
        for peer in peers:
            assert b"news" in await read_until(peer, b"e.1\n\n\r\n")
        short.end()
        for peer in peers:
            assert (await read_until(peer, b"never")).endswith(b"0\r\n\r\n")


async def test_streams_are_waited_for_and_then_cut(short):
    """The end waits for streams as long as for requests."""
    async with serving(ECHO_APP, short, drain_timeout=0.2) as served:
        peer = await connected(served, asked("/events"))
        await read_until(peer, b"e.0\n\n\r\n")
        served.stop.set()
        with trio.fail_after(10):
            await served.gone.wait()

        assert b"" == await read_until(peer, b"never")
        assert not short.streams[0].is_open
