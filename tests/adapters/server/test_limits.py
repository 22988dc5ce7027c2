"""The limits of a peer, and that a peer within them is served."""

from __future__ import annotations

import resource

import pytest
import trio
import trio.testing
from quart_trio import QuartTrio

from roundel_adapters import server
from roundel_adapters.server.serve import RESERVE
from support.asgi_apps import START, Ticker, answer, app_of, body_message
from support.fastpath_app import FakeFastpathApp
from support.http2 import connect_http2
from support.http2_wire import PREFACE, head, ping, settings
from support.server import read_until


async def connect(served):
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    served.streams.append(stream)
    return stream


async def status(stream):
    """Read an answer to its end, and return its status."""
    received = await read_until(stream, b"never")
    return int(received.split(maxsplit=2)[1]) if received else None


async def wait_for_more(scope, receive, send):
    """Begin a response, and end it when the client leaves."""
    await send(START)
    await send(body_message(b"begun"))
    await receive()
    await receive()


async def test_connection_above_the_limit_is_rejected(serve):
    """A new connection is closed at once, and no open response is cut."""
    async with serve(app_of(wait_for_more), max_connections=1) as served:
        first = await served.get("/")
        await read_until(first, b"begun")
        second = await served.get("/")
        assert await read_until(second, b"never") == b""
        await first.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        third = await served.get("/")

        assert b"begun" in await read_until(third, b"begun")


REQUEST = b"GET /lines HTTP/1.1\r\nhost: x\r\n\r\n"
END = b"0\r\n\r\n"


@pytest.mark.parametrize("size", [0, 9, len(REQUEST)], ids=["new", "head", "kept"])
@pytest.mark.parametrize("is_fast", [True, False], ids=["fastpath", "asgi"])
async def test_longest_idle_connection_makes_room(serve, size, is_fast):
    """Connections without a request cannot keep another one out."""
    fastpath = FakeFastpathApp() if is_fast else None
    async with serve(app_of(answer), fastpath, max_connections=2) as served:
        idle = []
        for _ in range(2):
            stream = await connect(served)
            await stream.send_all(REQUEST[:size])
            if size == len(REQUEST):
                await read_until(stream, END)
            await trio.testing.wait_all_tasks_blocked(0.005)
            idle.append(stream)
        fresh = await served.get("/lines")

        assert b"200" in await read_until(fresh, END)
        assert await read_until(idle[0], b"never") == b""
        await idle[1].send_all(REQUEST[size % len(REQUEST) :])
        assert b"200" in await read_until(idle[1], END)


@pytest.mark.parametrize("first", ["nothing", "ping", "half a head", "a request"])
@pytest.mark.parametrize("is_fast", [True, False], ids=["fastpath", "asgi"])
async def test_longest_idle_http2_connection_makes_room(serve, first, is_fast):
    """Connections over HTTP/2 without an open stream cannot keep another one out."""
    begin = {
        "nothing": b"",
        "ping": ping(),
        "half a head": head(1, flags=0),
        "a request": head(1),
    }[first]
    fastpath = FakeFastpathApp() if is_fast else None
    async with serve(app_of(answer), fastpath, max_connections=2) as served:
        idle = []
        for _ in range(2):
            stream = await connect(served)
            await stream.send_all(PREFACE + settings() + begin)
            await trio.testing.wait_all_tasks_blocked(0.01)
            idle.append(stream)
        fresh = await served.get("/lines")

        assert b"200" in await read_until(fresh, END)
        with trio.fail_after(2):
            await read_until(idle[0], b"never")


async def test_connections_are_counted():
    """`ServerCounters` counts open and rejected connections."""
    counters, stop = server.ServerCounters(), trio.Event()
    listeners = await server.listen("127.0.0.1", 0)
    address = listeners[0].socket.getsockname()
    limits = server.ServerLimits(max_connections=1)

    async def run(*, task_status):
        await server.serve(
            app_of(wait_for_more),
            listeners,
            shutdown=stop.wait,
            limits=limits,
            counters=counters,
            task_status=task_status,
        )

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        async with await trio.open_tcp_stream(*address) as busy:
            await busy.send_all(REQUEST)
            await read_until(busy, b"begun")
            async with await trio.open_tcp_stream(*address) as rejected:
                assert await rejected.receive_some() == b""
            assert (counters.open, counters.rejected) == (1, 1)
        stop.set()

    assert counters == server.ServerCounters(rejected=1)


async def test_open_file_limit_bounds_the_connections(serve, monkeypatch):
    """`RESERVE` open files are not used for connections."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (RESERVE, 1 << 20))
    async with serve(app_of(answer)) as served:
        assert await read_until(await connect(served), b"never") == b""


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n"])
async def test_incomplete_head_times_out(serve, sent):
    """The head of the first request has to arrive within the head timeout."""
    async with serve(app_of(answer), head_timeout=0.1) as served:
        stream = await connect(served)
        await stream.send_all(sent)

        assert b"200" not in await read_until(stream, b"never")


async def test_slow_head_times_out(serve):
    """A received byte does not extend the head timeout."""
    async with serve(app_of(answer), head_timeout=0.1) as served:
        stream = await served.get("/")
        await read_until(stream, b"ok")
        await stream.send_all(b"GET / HTTP/1.1\r\n")
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(2):
            await drip(stream)


async def drip(stream):
    while True:
        await stream.send_all(b"a")
        await trio.sleep(0.01)


async def test_idle_connection_times_out(serve):
    """Between requests the keep-alive timeout applies, and not the head timeout."""
    limits = {"head_timeout": 0.05, "keep_alive_timeout": 0.15}
    async with serve(app_of(answer), **limits) as served:
        stream = await served.get("/")
        await read_until(stream, b"ok\r\n0\r\n\r\n")
        start = trio.current_time()

        assert await read_until(stream, b"never") == b""
        assert trio.current_time() - start > 0.1


async def test_silent_stream_does_not_time_out(serve):
    """Neither timeout applies while a response is open."""
    ticker = Ticker()
    limits = {"head_timeout": 0.05, "keep_alive_timeout": 0.05}
    async with serve(ticker.app, **limits) as served:
        over_1 = await served.get("/stream")
        peer = await connect_http2(served)
        over_2 = await peer.request("/stream")
        await peer.until(lambda: peer.responses[over_2].status)
        await trio.sleep(0.15)
        await ticker.send.send(b"news;")
        await ticker.send.send(b"news;")
        ticker.send.close()

        assert b"news" in await read_until(over_1, b"0\r\n\r\n")
        assert await peer.response(over_2) == (200, b"news;")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % (b"x" * 8_000), 200),
        (b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % (b"x" * 8_192), 414),
        (b"GET / HTTP/1.1\r\nhost: x\r\na: %b\r\n\r\n" % (b"x" * 16_000), 200),
        (b"GET / HTTP/1.1\r\nhost: x\r\na: %b\r\n\r\n" % (b"x" * 16_384), 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\n%b\r\n" % (b"a: b\r\n" * 3_000), 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 20_000, 431),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
    ids=["target", "long target", "head", "long", "many", "endless", "bad", "tls"],
)
async def test_head_has_a_limit(serve, head, expected):
    """A head above the limit gets the status that names it, and is closed."""
    async with serve(app_of(answer), keep_alive_timeout=0.05) as served:
        stream = await connect(served)
        await stream.send_all(head)

        assert await status(stream) == expected


@pytest.mark.parametrize("framework", ["asgi", "quart"])
@pytest.mark.slow
async def test_unread_request_body_is_bounded(serve, framework):
    """A body that the application does not read is not buffered."""
    release = trio.Event()

    async def ignore(scope, receive, send):
        await release.wait()
        await answer(scope, receive, send)

    app = app_of(ignore)
    if framework == "quart":
        app = QuartTrio(__name__)

        @app.post("/")
        async def upload():
            await release.wait()
            return "ok"

    async with serve(app) as served:
        peer = await connect(served)
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n"
        await peer.send_all(head)
        before = peak_memory()
        sent = 0
        with trio.move_on_after(0.3):
            while sent < 100_000_000:
                await peer.send_all(bytes(65_536))
                sent += 65_536
        grown = peak_memory() - before
        release.set()

        assert await status(peer) == 200
        # Quart-Trio buffers up to its own limit, 16 MiB by default.
        assert grown < 40_000_000
        assert framework == "quart" or sent < 20_000_000


def peak_memory():
    """Return the most that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024
