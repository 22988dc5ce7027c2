"""The end of an HTTP/2 stream and of its connection, from both sides."""

from __future__ import annotations

import pytest
import trio

from support.asgi_apps import START, Ticker, answer, app_of, body_message
from support.http2 import connect_http2
from support.http2_cases import CASE_APP, HANG_POST
from support.http2_floods import FLOODS
from support.http2_wire import (
    POST,
    continuation,
    data,
    goaway,
    head,
    reset,
    window_update,
    wire_server,
)


async def test_idle_connection_gets_goaway_on_shutdown(serve):
    """Draining closes an idle HTTP/2 connection with GOAWAY."""
    async with serve(app_of(answer)) as served:
        peer = await connect_http2(served)
        await peer.response(await peer.request())
        served.stop.set()
        with trio.fail_after(2):
            await served.gone.wait()

        assert not await peer.until(lambda: False)
        assert peer.goaway == 0


async def test_draining_sends_two_goaways(serve):
    """RFC 9113 6.8: requests on their way are served, and later ones are refused."""
    ticker = Ticker()
    async with serve(ticker.app, drain_timeout=5) as served:
        peer = await connect_http2(served)
        stream = await peer.request("/stream")
        await peer.until(lambda: peer.responses[stream].status)
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        on_its_way = await peer.request("/")
        assert await peer.until(lambda: len(peer.goaways) == 2)
        refused = await peer.request("/")
        await peer.response(refused)

        assert [(2**31 - 1, 0), (on_its_way, 0)] == peer.goaways
        assert await peer.response(on_its_way) == (200, b"ok")
        assert peer.responses[refused].reset == 7
        ticker.send.close()
        assert await peer.until(lambda: peer.responses[stream].is_ended)
        with trio.fail_after(2):
            await served.gone.wait()


async def test_second_goaway_does_not_wait_for_a_silent_client(autojump_clock):
    """A client that does not answer the PING gets the second GOAWAY after 1 s."""
    async with wire_server(CASE_APP) as server:
        await server.receive(head(1, HANG_POST))
        await server.connection.drain()
        await server.receive(head(3))

        assert [(2**31 - 1, 0), (1, 0)] == server.goaways()
        assert server.resets() == {3: 7}
        assert trio.current_time() == 1.0


async def test_exception_in_the_app_resets_its_stream(serve, caplog):
    """An incomplete response is reset, and other streams continue."""
    caplog.set_level("CRITICAL", "roundel_adapters.server")

    async def fail(scope, receive, send):
        if scope["path"] == "/ok":
            await answer(scope, receive, send)
            return
        await send(START)
        await send(body_message(b"half"))
        raise RuntimeError("a bug in an application")

    async with serve(app_of(fail)) as served:
        peer = await connect_http2(served)
        broken = await peer.request("/broken")
        await peer.response(broken)

        assert (peer.responses[broken].body, peer.responses[broken].reset) == (
            b"half",
            2,
        )
        assert await peer.response(await peer.request("/ok")) == (200, b"ok")


@pytest.mark.parametrize(
    "ending",
    [continuation(1), goaway(2), FLOODS["SETTINGS"], reset(1) * 1_100],
    ids=["error", "goaway", "flood", "resets"],
)
async def test_applications_that_send_survive_the_end(ending, caplog):
    """An application that sends while its connection fails is not interrupted."""
    ended = trio.Event()

    async def pour(scope, receive, send):
        await send(START)
        with trio.move_on_after(0.05):
            while True:
                await send(body_message(b"x"))
        ended.set()

    async with wire_server(app_of(pour)) as server:
        await server.receive_now(window_update(0, 1 << 30))
        for stream in range(1, 20, 2):
            await server.receive_now(head(stream), window_update(stream, 1 << 30))
        await server.receive_now(ending)
        await ended.wait()

        assert server.is_closed
    assert caplog.messages == []


async def test_goaway_of_the_client_lets_its_streams_end(autojump_clock):
    """RFC 9113 6.8: the client opens no other stream, and the open ones continue."""
    async with wire_server(CASE_APP) as server:
        await server.receive(head(1, POST, end=False), goaway())
        assert not server.is_closed
        await server.receive(data(1, b"x", end=True))

        assert server.statuses() == {1: 200}
        assert server.is_closed


async def test_nothing_behind_the_last_goaway_is_served(autojump_clock):
    """A connection without a stream ends with the client's GOAWAY, in any read."""
    async with wire_server(CASE_APP) as server:
        await server.receive(head(1))
        await server.receive(goaway(), head(3))

        assert server.statuses() == {1: 200}
        assert server.is_closed


async def test_goaway_with_an_error_ends_the_streams(autojump_clock):
    """The applications of the connection get a disconnect."""
    async with wire_server(CASE_APP) as server:
        await server.receive(head(1, POST, end=False), goaway(1))

        assert server.is_closed
        assert not server.apps.running


async def test_goaway_of_an_idle_client_closes_the_connection(autojump_clock):
    """A connection without a stream ends with the client's GOAWAY."""
    async with wire_server(CASE_APP) as server:
        await server.receive(goaway())

        assert server.is_closed
