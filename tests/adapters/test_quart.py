"""The Quart-Trio binding and its driver, without a socket."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import trio
from quart_trio import QuartTrio

from roundel import CloseMessage, Event, History, Stream
from roundel_adapters.driver import iter_chunks
from roundel_adapters.quart import stream_response
from roundel_adapters.testing import AsgiClient
from roundel_adapters.wakeup import Wakeup


class Page:
    """An app with one stream, and what a test wants to know of it."""

    def __init__(self, **options):
        self.history = History("e", snapshot=Event("start"))
        self.bell = Wakeup()
        self.entered = self.left = 0
        self.streams = []
        app = QuartTrio(__name__)
        app.config["RESPONSE_TIMEOUT"] = 60

        @app.get("/")
        async def stream():
            made = Stream(self.history, now=trio.current_time(), **options)
            self.streams.append(made)
            return stream_response(made, self.bell, lifespan=self.counted())

        self.client = AsgiClient(app)

    @contextmanager
    def counted(self):
        self.entered += 1
        yield
        self.left += 1

    def tell(self, text):
        self.history.append(Event(text), now=trio.current_time())
        self.bell.notify()


async def test_events_arrive_as_they_are_appended(autojump_clock):
    """The response begins with the state and goes on with the news."""
    page = Page()
    async with page.client.stream("/") as stream:
        first = await stream.next_event()
        page.tell("news")
        second = await stream.next_event()

        assert ("start", "news") == (first.data, second.data)
        assert second.id == "e.1"
        assert stream.headers["content-type"].startswith("text/event-stream")


async def test_what_gathers_while_nobody_listens_is_told_in_order(autojump_clock):
    """Many appends between two wake-ups lose nothing."""
    page = Page()
    async with page.client.stream("/") as stream:
        await stream.next_event()
        for number in range(30):
            page.tell(str(number))
        told = [(await stream.next_event()).data for _ in range(30)]

        assert [str(number) for number in range(30)] == told


async def test_quiet_stream_outlives_the_frameworks_response_timeout(autojump_clock):
    """A stream is not ended by a limit that is meant for pages."""
    page = Page()
    async with page.client.stream("/") as stream:
        await stream.next_event()
        await trio.sleep(3_600)
        page.tell("late")

        assert (await stream.next_event()).data == "late"


async def test_disconnect_ends_the_stream_and_gives_back_what_it_claimed(
    autojump_clock,
):
    """However the body ends, what it entered is left, once."""
    page = Page()
    async with page.client.stream("/") as stream:
        await stream.next_event()
        assert (page.entered, page.left) == (1, 0)

    assert (page.entered, page.left) == (1, 1)
    assert not page.streams[0].is_open


async def test_closed_stream_says_its_last_words_and_the_response_ends(autojump_clock):
    """Close and ring: the peer is told, and the response is over."""
    page = Page()
    async with page.client.stream("/") as stream:
        await stream.next_event()
        page.streams[0].close(CloseMessage(Event("over", "bye"), retry=5))
        page.bell.notify()
        bye = await stream.next_event()

        assert ("bye", 5) == (bye.type, stream.retry)
        assert await stream.next_event() is None
        assert page.left == 1


async def test_head_claims_nothing(autojump_clock):
    """HEAD tells the head without opening a stream."""
    page = Page()
    answer = await page.client.request("HEAD", "/")

    assert (200, b"") == (answer.status, answer.body)
    assert "content-length" not in answer.headers
    assert page.entered == 0


async def test_driver_sleeps_until_the_deadline_and_no_longer(autojump_clock):
    """Without a ring the driver comes back when the stream has something due."""
    stream = Stream(History("e", snapshot=Event("x")), now=0, heartbeat=15, max_age=40)
    times = [trio.current_time() async for _ in iter_chunks(stream, Wakeup())]

    assert [0, 15, 30] == pytest.approx(times)
    assert trio.current_time() == pytest.approx(40)


async def test_bell_wakes_all_who_wait_and_nobody_later(autojump_clock):
    """A ring is for those who wait at that moment."""
    bell = Wakeup()
    woken = []

    async def wait(name):
        await bell.wait()
        woken.append(name)

    bell.notify()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "a")
        nursery.start_soon(wait, "b")
        await trio.testing.wait_all_tasks_blocked()
        assert woken == []
        bell.notify()

    assert sorted(woken) == ["a", "b"]
