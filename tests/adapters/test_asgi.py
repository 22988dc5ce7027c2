"""Streams as ASGI applications: one code on both loops, in virtual time."""

from __future__ import annotations

import anyio

from roundel import Event, History, Stream
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.wakeup import Wakeup
from support.asgi_peer import Page, Peer, about, all_wait, on_both

HOUR = 3_600.0


@on_both
async def test_response_begins_with_the_head_and_the_state():
    """The head is that of an event stream, and the first frames follow at once."""
    page = Page()
    async with page.answered() as peer:
        head = peer.sent[0]

        assert ("http.response.start", 200) == (head["type"], head["status"])
        assert dict(head["headers"]) == {
            b"content-type": b"text/event-stream; charset=utf-8",
            b"cache-control": b"no-store, no-transform",
            b"x-accel-buffering": b"no",
        }
        assert ["start"] == peer.told
        assert about(0.0) == anyio.current_time()


@on_both
async def test_head_is_followed_by_something_even_without_news():
    """A server keeps the head back until there is some body (ASGI, response start)."""
    page = Page(last_event_id="e.0")
    async with page.answered() as peer:
        assert [b":\n"] == peer.pieces
        assert about([0.0]) == peer.times


@on_both
async def test_own_headers_go_with_the_streams():
    """A cookie or a permission for another origin has its place."""
    page = Page()
    origin = ("Access-Control-Allow-Origin", "https://a.example")
    async with page.answered(headers=[origin]) as peer:
        headers = peer.sent[0]["headers"]

    assert (b"access-control-allow-origin", b"https://a.example") == headers[-1]
    assert 4 == len(headers)


@on_both
async def test_head_for_http_1_0_announces_the_connections_end():
    """There is no other end for a body whose length nobody knows."""
    page = Page()
    page.stream.close()
    peer = Peer(StreamResponse(page.stream, page.bell), http_version="1.0")
    await peer.run()

    assert (b"connection", b"close") in peer.sent[0]["headers"]


@on_both
async def test_news_arrive_as_they_are_told():
    """A ring is enough; nobody polls."""
    page = Page()
    async with page.answered() as peer:
        for text in ("one", "two"):
            await anyio.sleep(1)
            page.tell(text)
            await all_wait()

    assert ["start", "one", "two"] == peer.told
    assert [0.0, 1.0, 2.0] == about(peer.times)


@on_both
async def test_what_gathers_while_the_server_is_busy_goes_in_one_piece():
    """A slow peer costs one send for all that it missed, and no queue."""
    page = Page()
    async with page.answered() as peer:
        peer.free = anyio.Event()
        page.tell("0")
        await all_wait()
        for number in range(1, 30):
            page.tell(str(number))
        await all_wait()
        assert ["start"] == peer.told
        peer.free.set()
        await all_wait()

    assert ["start", *map(str, range(30))] == peer.told
    assert 3 == len(peer.pieces)


class Counting:
    """A stream that counts how often it is asked."""

    def __init__(self, stream):
        self.stream = stream
        self.asked = 0

    @property
    def is_open(self):
        return self.stream.is_open

    @property
    def deadline(self):
        return self.stream.deadline

    def data_to_send(self, now):
        self.asked += 1
        return self.stream.data_to_send(now)

    def close(self):
        self.stream.close()


@on_both
async def test_quiet_stream_is_asked_twice_a_heartbeat():
    """It sleeps until its deadline, and is not busy in between."""
    page = Page()
    talker = Counting(page.stream)
    async with page.answered(talker) as peer:
        await anyio.sleep(HOUR - 1)

    assert [15.0 * beat for beat in range(240)] == about(peer.times)
    # Once when it has something to say, and once more to hear that this is all.
    assert 480 == talker.asked


@on_both
async def test_ring_that_means_nothing_costs_one_question():
    """A bell may be rung for others."""
    page = Page()
    talker = Counting(page.stream)
    async with page.answered(talker) as peer:
        before = talker.asked
        page.bell.notify()
        await all_wait()

        assert before + 1 == talker.asked
        assert ["start"] == peer.told


@on_both
async def test_head_is_answered_without_the_stream():
    """HEAD tells the head, claims nothing and begins nothing."""
    page = Page()
    within = page.counted()
    peer = Peer(StreamResponse(page.stream, page.bell, lifespan=within), method="HEAD")
    await peer.run()

    end = {"type": "http.response.body", "body": b"", "more_body": False}
    assert 200 == peer.sent[0]["status"]
    assert [end] == peer.sent[1:]
    assert (0, True) == (page.entered, page.stream.is_open)


@on_both
async def test_many_readers_share_a_bell_and_leave_it_one_by_one():
    """A ring is for all who are there."""
    history, bell = History("e", snapshot=Event("start")), Wakeup()
    peers = [
        Peer(StreamResponse(Stream(history, now=0.0), bell), method="GET")
        for _ in range(20)
    ]
    async with anyio.create_task_group() as tasks:
        for number, peer in enumerate(peers):
            tasks.start_soon(peer.run)
            await all_wait()
            history.append(Event(str(number)), now=0.0)
            bell.notify()
        await all_wait()
        for peer in peers:
            peer.gone.set()
            await peer.ended.wait()
            bell.notify()

    assert not bell._wakers
    for number, peer in enumerate(peers):
        assert list(map(str, range(number, 20))) == peer.told[-(20 - number) :]
