"""Streams as ASGI applications, on trio and asyncio, in virtual time."""

from __future__ import annotations

import anyio

from roundel import Event, History, Stream
from roundel_adapters.asgi import StreamResponse
from roundel_adapters.wakeup import Wakeup
from support.asgi_peer import Page, Peer, all_tasks_wait, approx, on_both_loops

HOUR = 3_600.0


@on_both_loops
async def test_response_starts_with_headers_and_snapshot():
    """The headers of an event stream are followed by the snapshot at once."""
    page = Page()
    async with page.served() as peer:
        head = peer.sent[0]

        assert ("http.response.start", 200) == (head["type"], head["status"])
        assert dict(head["headers"]) == {
            b"content-type": b"text/event-stream; charset=utf-8",
            b"cache-control": b"no-store, no-transform",
            b"x-accel-buffering": b"no",
        }
        assert ["start"] == peer.received
        assert approx(0.0) == anyio.current_time()


@on_both_loops
async def test_headers_are_followed_by_a_heartbeat_without_events():
    """A current stream sends a heartbeat first, since servers delay the headers."""
    page = Page(last_event_id="e.0")
    async with page.served() as peer:
        assert [b":\n"] == peer.chunks
        assert approx([0.0]) == peer.times


@on_both_loops
async def test_additional_headers():
    """*headers* are sent after those of the stream."""
    page = Page()
    origin = ("Access-Control-Allow-Origin", "https://a.example")
    async with page.served(headers=[origin]) as peer:
        headers = peer.sent[0]["headers"]

    assert (b"access-control-allow-origin", b"https://a.example") == headers[-1]
    assert 4 == len(headers)


@on_both_loops
async def test_own_header_replaces_that_of_the_stream():
    """A header of the application is sent once, with its own value and status."""
    page = Page()
    async with page.served(
        headers=[("Cache-Control", "private")], status_code=201
    ) as peer:
        headers = peer.sent[0]["headers"]

    assert [b"private"] == [v for k, v in headers if k == b"cache-control"]
    assert 201 == peer.sent[0]["status"]


@on_both_loops
async def test_http_1_0_closes_the_connection():
    """A response of HTTP/1.0 has `Connection: close`."""
    page = Page()
    page.stream.close()
    peer = Peer(StreamResponse(page.stream, page.wakeup), http_version="1.0")
    await peer.run()

    assert (b"connection", b"close") in peer.sent[0]["headers"]


@on_both_loops
async def test_events_are_sent_when_appended():
    """`notify()` sends an appended event at once."""
    page = Page()
    async with page.served() as peer:
        for text in ("one", "two"):
            await anyio.sleep(1)
            page.publish(text)
            await all_tasks_wait()

    assert ["start", "one", "two"] == peer.received
    assert [0.0, 1.0, 2.0] == approx(peer.times)


@on_both_loops
async def test_events_during_a_send_are_one_chunk():
    """Events that were appended during a send are one chunk."""
    page = Page()
    async with page.served() as peer:
        peer.may_send = anyio.Event()
        page.publish("0")
        await all_tasks_wait()
        for number in range(1, 30):
            page.publish(str(number))
        await all_tasks_wait()
        assert ["start"] == peer.received
        peer.may_send.set()
        await all_tasks_wait()

    assert ["start", *map(str, range(30))] == peer.received
    assert 3 == len(peer.chunks)


class CountingStream:
    """A stream that counts the calls of `data_to_send()`."""

    def __init__(self, stream):
        self.stream = stream
        self.calls = 0

    @property
    def is_open(self):
        return self.stream.is_open

    @property
    def deadline(self):
        return self.stream.deadline

    def data_to_send(self, now):
        self.calls += 1
        return self.stream.data_to_send(now)

    def close(self):
        self.stream.close()


@on_both_loops
async def test_idle_stream_is_called_twice_per_heartbeat():
    """An idle stream is called twice per heartbeat."""
    page = Page()
    counting = CountingStream(page.stream)
    async with page.served(counting) as peer:
        await anyio.sleep(HOUR - 1)

    assert [15.0 * beat for beat in range(240)] == approx(peer.times)
    # One call returns the heartbeat, the next one nothing.
    assert 480 == counting.calls


@on_both_loops
async def test_notify_without_an_event_costs_one_call():
    """A `notify()` without an event costs one call."""
    page = Page()
    counting = CountingStream(page.stream)
    async with page.served(counting) as peer:
        before = counting.calls
        page.wakeup.notify()
        await all_tasks_wait()

        assert before + 1 == counting.calls
        assert ["start"] == peer.received


@on_both_loops
async def test_head_does_not_start_the_stream():
    """HEAD gets the headers and enters no lifespan."""
    page = Page()
    lifespan = page.lifespan()
    peer = Peer(
        StreamResponse(page.stream, page.wakeup, lifespan=lifespan), method="HEAD"
    )
    await peer.run()

    end = {"type": "http.response.body", "body": b"", "more_body": False}
    assert 200 == peer.sent[0]["status"]
    assert [end] == peer.sent[1:]
    assert (0, True) == (page.entered, page.stream.is_open)


@on_both_loops
async def test_streams_share_a_wakeup():
    """One wakeup serves many streams, and forgets each that ends."""
    history, wakeup = History("e", snapshot=Event("start")), Wakeup()
    peers = [
        Peer(StreamResponse(Stream(history, now=0.0), wakeup), method="GET")
        for _ in range(20)
    ]
    async with anyio.create_task_group() as tasks:
        for number, peer in enumerate(peers):
            tasks.start_soon(peer.run)
            await all_tasks_wait()
            history.append(Event(str(number)), now=0.0)
            wakeup.notify()
        await all_tasks_wait()
        for peer in peers:
            peer.disconnect.set()
            await peer.ended.wait()
            wakeup.notify()

    assert not wakeup.wakers
    for number, peer in enumerate(peers):
        assert list(map(str, range(number, 20))) == peer.received[-(20 - number) :]
