"""HTTP/2: event streams as good as over HTTP/1.1, many to a connection."""

from __future__ import annotations

from collections import defaultdict

import attrs
import h2.config
import h2.connection
import h2.events
import h2.settings
import trio
from quart_trio import QuartTrio

from roundel import Event, History, Stream
from roundel_adapters.quart import stream_response
from roundel_adapters.wakeup import Wakeup

from ..test_serve import answer, app_of, until_disconnect

START = {"type": "http.response.start", "status": 200, "headers": []}


def piece(body, *, more=True):
    return {"type": "http.response.body", "body": body, "more_body": more}


@attrs.define
class Told:
    """What an HTTP/2 peer has been told on one stream."""

    status: int = 0
    body: bytes = b""
    is_ended: bool = False
    reset: int | None = None


class Peer:
    """An HTTP/2 client that does only what it is told to."""

    def __init__(self, stream, *, acknowledges=True, **settings):
        self.stream = stream
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        if settings:
            codes = h2.settings.SettingCodes
            self.h2.update_settings({codes[n]: v for n, v in settings.items()})
        self.acknowledges = acknowledges
        self.told = defaultdict(Told)
        self.goaway = None
        self.heard = set()

    async def ask(self, path="/", *, method="GET", body=None, flush=True, **headers):
        """Send a request; with a *body* of `...`, one that goes on."""
        stream_id = self.h2.get_next_available_stream_id()
        head = {":method": method, ":path": path, ":scheme": "http", ":authority": "x"}
        self.h2.send_headers(
            stream_id, [*head.items(), *headers.items()], end_stream=body is None
        )
        if flush:
            await self.flush()
        return stream_id

    async def reset(self, stream_id):
        self.h2.reset_stream(stream_id)
        await self.flush()

    async def flush(self):
        await self.stream.send_all(self.h2.data_to_send())

    async def until(self, is_enough):
        """Read until *is_enough* is true; `False` if the connection ended before."""
        with trio.fail_after(10):
            while not is_enough():
                data = await self.stream.receive_some()
                if not data:
                    return False
                for event in self.h2.receive_data(data):
                    self._hear(event)
                await self.flush()
        return True

    async def answer(self, stream_id):
        """Wait for a whole response."""
        told = self.told[stream_id]
        assert await self.until(lambda: told.is_ended or told.reset is not None)
        return told.status, told.body

    def _hear(self, event):
        self.heard.add(type(event))
        told = self.told[getattr(event, "stream_id", 0)]
        match event:
            case h2.events.ResponseReceived():
                told.status = int(dict(event.headers)[":status"])
            case h2.events.DataReceived():
                told.body += event.data
                if self.acknowledges:
                    size = event.flow_controlled_length
                    self.h2.acknowledge_received_data(size, event.stream_id)
            case h2.events.StreamEnded():
                told.is_ended = True
            case h2.events.StreamReset():
                told.reset = event.error_code
            case h2.events.ConnectionTerminated():
                self.goaway = event.error_code


async def connect(served, **settings):
    """Connect an HTTP/2 peer by prior knowledge."""
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    served.streams.append(stream)
    peer = Peer(stream, **settings)
    await peer.flush()
    return peer


class Ticker:
    """An app whose `/stream` says what it is told to, and counts who listens."""

    def __init__(self):
        self.open = 0
        self.ended = trio.Event()
        self.send, self.ticks = trio.open_memory_channel(10)
        self.app = app_of(self.handle)

    async def handle(self, scope, receive, send):
        if scope["path"] != "/stream":
            await answer(scope, receive, send)
            return
        self.open += 1
        try:
            await until_disconnect(self._tick, self.ended)(scope, receive, send)
        finally:
            self.open -= 1

    async def _tick(self, scope, receive, send):
        await send(START)
        async for tick in self.ticks:
            await send(piece(tick))
        await send(piece(b"", more=False))


async def test_request_is_answered_by_prior_knowledge(serve):
    """HTTP/2 works without TLS for whoever knows that it does."""
    async with serve(app_of(answer)) as served:
        peer = await connect(served)

        assert await peer.answer(await peer.ask()) == (200, b"ok")


async def test_stream_goes_on_beside_requests(serve):
    """An event stream and other requests share a connection."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect(served)
        stream = await peer.ask("/stream")
        for number in range(3):
            await ticker.send.send(b"%d;" % number)
            assert await peer.answer(await peer.ask("/")) == (200, b"ok")
        assert await peer.until(lambda: peer.told[stream].body == b"0;1;2;")


async def test_reset_stream_is_noticed_and_no_other_is_touched(serve):
    """A browser that leaves one stream keeps the connection and the rest."""
    ticker = Ticker()
    async with serve(ticker.app) as served:
        peer = await connect(served)
        left, kept = await peer.ask("/stream"), await peer.ask("/stream")
        await peer.until(lambda: peer.told[kept].status)
        await peer.reset(left)
        with trio.fail_after(5):
            await ticker.ended.wait()
        await trio.testing.wait_all_tasks_blocked()
        await ticker.send.send(b"news")

        assert await peer.until(lambda: peer.told[kept].body == b"news")
        assert ticker.open == 1


async def test_large_answer_passes_the_windows_in_turns(serve):
    """Two answers larger than the window arrive whole, side by side."""
    size = 1_000_000

    async def large(scope, receive, send):
        await send(START)
        await send(piece(bytes(size)))
        await send(piece(b"end", more=False))

    async with serve(app_of(large)) as served:
        peer = await connect(served)
        asked = [await peer.ask(), await peer.ask()]
        for stream_id in asked:
            status, body = await peer.answer(stream_id)
            assert (200, size + 3) == (status, len(body))


async def test_quart_stream_goes_on_over_http_2(serve):
    """The binding's streams are the same whatever version carries them."""
    app, history, bell = QuartTrio(__name__), History("e"), Wakeup()

    @app.get("/")
    async def stream():
        return stream_response(Stream(history, now=trio.current_time()), bell)

    async with serve(app, drain_timeout=0.1) as served:
        peer = await connect(served)
        asked = await peer.ask()
        await peer.until(lambda: peer.told[asked].status)
        for number in range(3):
            history.append(Event(f"n{number}"), now=trio.current_time())
            bell.notify()
            expected = f"data: n{number}\n".encode()

            def is_told(expected=expected):
                return expected in peer.told[asked].body

            assert await peer.until(is_told)
