"""The Quart-Trio binding and its driver, without a socket."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import trio
from quart_trio import QuartTrio

from roundel import CloseMessage, Event, History, Stream
from roundel_adapters.drain import Drain
from roundel_adapters.driver import iter_chunks
from roundel_adapters.quart import stream_response
from roundel_adapters.testing import AsgiClient
from roundel_adapters.wakeup import Wakeup


class Page:
    """An app with one topic, and a count of its entered and exited lifespans."""

    def __init__(self, **options):
        self.history = History("e", snapshot=Event("start"))
        self.wakeup = Wakeup()
        self.entered = self.exited = 0
        self.streams = []
        app = QuartTrio(__name__)
        app.config["RESPONSE_TIMEOUT"] = 60

        @app.get("/")
        async def stream():
            stream = Stream(self.history, now=trio.current_time(), **options)
            self.streams.append(stream)
            return stream_response(stream, self.wakeup, lifespan=self.lifespan())

        self.client = AsgiClient(app)

    @contextmanager
    def lifespan(self):
        self.entered += 1
        yield
        self.exited += 1

    def publish(self, text):
        self.history.append(Event(text), now=trio.current_time())
        self.wakeup.notify()


async def test_events_are_sent_when_appended(autojump_clock):
    """The response has the snapshot, then each appended event."""
    page = Page()
    async with page.client.stream("/") as stream:
        first = await stream.next_event()
        page.publish("news")
        second = await stream.next_event()

        assert ("start", "news") == (first.data, second.data)
        assert second.id == "e.1"
        assert stream.headers["content-type"].startswith("text/event-stream")


async def test_events_appended_together_arrive_in_order(autojump_clock):
    """Events that were appended together arrive in order."""
    page = Page()
    async with page.client.stream("/") as stream:
        await stream.next_event()
        for number in range(30):
            page.publish(str(number))
        received = [(await stream.next_event()).data for _ in range(30)]

        assert [str(number) for number in range(30)] == received


async def test_response_timeout_does_not_end_a_stream(autojump_clock):
    """Quart's response timeout does not end a stream."""
    page = Page()
    async with page.client.stream("/") as stream:
        await stream.next_event()
        await trio.sleep(3_600)
        page.publish("late")

        assert (await stream.next_event()).data == "late"


async def test_disconnect(
    autojump_clock,
):
    """A disconnect closes the stream and exits its lifespan once."""
    page = Page()
    async with page.client.stream("/") as stream:
        await stream.next_event()
        assert (page.entered, page.exited) == (1, 0)

    assert (page.entered, page.exited) == (1, 1)
    assert not page.streams[0].is_open


async def test_close_with_a_message(autojump_clock):
    """`close()` and `notify()` send the close message and end the response."""
    page = Page()
    async with page.client.stream("/") as stream:
        await stream.next_event()
        page.streams[0].close(CloseMessage(Event("over", "bye"), retry=5))
        page.wakeup.notify()
        bye = await stream.next_event()

        assert ("bye", 5) == (bye.type, stream.retry)
        assert await stream.next_event() is None
        assert page.exited == 1


async def test_drain_as_lifespan(autojump_clock):
    """A drain ends the streams whose lifespan tracks them."""
    page, drain = Page(), Drain()
    page.lifespan = lambda: drain.track(page.streams[-1], page.wakeup)
    async with page.client.stream("/") as stream:
        await stream.next_event()
        drain.begin()
        bye = await stream.next_event()

        assert "bye" == bye.type
        assert await stream.next_event() is None


async def test_head_does_not_start_the_stream(autojump_clock):
    """HEAD gets the headers and enters no lifespan."""
    page = Page()
    response = await page.client.request("HEAD", "/")

    assert (200, b"") == (response.status, response.body)
    assert "content-length" not in response.headers
    assert page.entered == 0


async def test_driver_wakes_at_the_deadline(autojump_clock):
    """Without a `notify()` the driver calls the stream at its deadline."""
    stream = Stream(History("e", snapshot=Event("x")), now=0, heartbeat=15, max_age=40)
    times = [trio.current_time() async for _ in iter_chunks(stream, Wakeup())]

    assert [0, 15, 30] == pytest.approx(times)
    assert trio.current_time() == pytest.approx(40)
