"""Streams over real sockets, with real clients."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from functools import partial
from math import inf

import attrs
import httpx2
import pytest
import trio
from trio.testing import MockClock

from roundel import Parser
from roundel_adapters.client import StreamEnded, connect
from roundel_service import app as service
from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Disconnect, Notify
from support.service import Client, data, settings, wall_clock

pytestmark = pytest.mark.slow

ITEMS = "/v1/stream?level=items"


@pytest.fixture
def patient_clock() -> MockClock:
    """A clock that skips waits, but leaves the kernel time for sockets."""
    return MockClock(autojump_threshold=0.005)


@attrs.frozen
class Served:
    """A listening service, and its shutdown."""

    service: service.Service
    url: str
    stop: trio.Event
    gone: trio.Event

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def notify(self, title: str = "Hello", *, body: str | None = None) -> None:
        item = Notify(
            id=title, category="default", content=encode_content(title, body=body)
        )
        await self.service.hub.apply("alice", item)

    def token(self, ttl: float = 86_400) -> dict[str, str]:
        token = self.service.authenticator.sign("alice", ttl=ttl)
        return {"Authorization": f"Bearer {token}"}

    async def ticket(self) -> str:
        now = wall_clock()
        issue = self.service.authenticator.tickets.issue
        ticket = await issue("alice", expires_at=now + 3_600, issued_at=now)
        return f"{ITEMS}&ticket={ticket}"


@asynccontextmanager
async def serving(*, bind: str = "127.0.0.1:0", **changes: str):
    chosen = settings(bind=bind, ops_bind="", **changes)
    built = service.build(chosen, clock=wall_clock)
    stop, gone = trio.Event(), trio.Event()

    async def run(*, task_status) -> None:
        await service.run(built, chosen, shutdown=stop.wait, task_status=task_status)
        gone.set()

    async with trio.open_nursery() as nursery:
        url = str(await nursery.start(run))
        yield Served(built, url, stop, gone)
        stop.set()


@pytest.mark.parametrize(
    ("http2", "expected"), [("on", b"\x00\x00"), ("off", b"HTTP/1.1 505")]
)
async def test_http_2_can_be_switched_off(http2, expected):
    """With `on`, the preface of HTTP/2 is answered with its frames, otherwise 505."""
    async with serving(http2=http2) as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        async with stream:
            received = await stream.receive_some()

        assert received.startswith(expected)


@attrs.define
class Raw:
    """A raw client that reads one response on its own connection."""

    stream: trio.SocketStream
    received: bytes = b""

    @classmethod
    async def get(
        cls, port: int, target: str, headers: dict[str, str], *, method: str = "GET"
    ) -> Raw:
        raw = cls(await trio.open_tcp_stream("127.0.0.1", port))
        fields = {"Host": "roundel.test", **headers}
        lines = [
            f"{method} {target} HTTP/1.1",
            *(f"{n}: {v}" for n, v in fields.items()),
        ]
        await raw.stream.send_all("\r\n".join([*lines, "", ""]).encode())
        return raw

    async def read_until(self, mark: bytes) -> bytes:
        while mark not in self.received:
            chunk = await self.stream.receive_some()
            assert chunk, self.received
            self.received += chunk
        return self.received

    async def read_to_the_end(self) -> bytes:
        while chunk := await self.stream.receive_some():
            self.received += chunk
        await self.stream.aclose()
        return self.received

    def cut(self) -> None:
        """Reset the connection."""
        # A time to linger of 0 makes the end a reset.
        self.stream.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        self.stream.socket.close()


def events_of(response: bytes) -> list:
    """Return the complete events of a chunked response."""
    _, _, rest = response.partition(b"\r\n\r\n")
    stream = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        stream, rest = stream + rest[:length], rest[length + 2 :]
    return Parser().receive_data(stream)


@asynccontextmanager
async def cutting(port: int, cuts: list[int]):
    """Forward connections, and cut each one after the next number of bytes."""
    left = iter(cuts)

    async def forward(near: trio.SocketStream) -> None:
        bytes_left = next(left, 1 << 60)
        async with (
            near,
            await trio.open_tcp_stream("127.0.0.1", port) as far,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(copy, near, far, 1 << 60, nursery.cancel_scope)
            nursery.start_soon(copy, far, near, bytes_left, nursery.cancel_scope)

    async def copy(source, sink, bytes_left: int, scope: trio.CancelScope) -> None:
        try:
            while bytes_left and (
                chunk := await source.receive_some(min(bytes_left, 65_536))
            ):
                await sink.send_all(chunk)
                bytes_left -= len(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, forward, [listener]))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def follow(url: str, headers, *, until) -> tuple[Client, list[str]]:
    """Read like an EventSource until the client has the expected state."""
    client, outcomes = Client(), []
    with trio.CancelScope() as scope:
        async with httpx2.AsyncClient() as http:
            async for event in connect(http, url, headers=headers):
                if event.type == "hello":
                    outcomes.append(data(event)["resume"])
                client.receive(event)
                if until(client):
                    scope.cancel()
    return client, outcomes


# Cut anywhere.


@pytest.mark.parametrize(
    "cuts",
    [range(0, 1_600, 200), range(430, 470, 4), [700] * 12],
    ids=["anywhere", "around-hello", "again-and-again"],
)
async def test_stream_that_is_cut_anywhere_resumes(patient_clock, cuts):
    """A connection that is cut at any byte loses and repeats no event."""
    async with serving() as served:
        for number in range(3):
            await served.notify(f"early-{number}")
        async with cutting(served.port, list(cuts)) as port, trio.open_nursery() as n:
            n.start_soon(_notify_now_and_then, served, 12)
            url = f"http://127.0.0.1:{port}{ITEMS}"
            client, outcomes = await follow(
                url, served.token, until=lambda c: c.v == 15
            )

    assert (15, 15) == (client.badge["unread"], client.unread)
    assert "reset" not in outcomes


async def _notify_now_and_then(served: Served, times: int) -> None:
    for number in range(times):
        await trio.sleep(2)
        await served.notify(f"late-{number}")


async def test_ticket_resumes_until_it_expires(
    patient_clock,
):
    """The URL with the ticket resumes by Last-Event-ID until the ticket expires."""
    async with (
        serving() as served,
        cutting(served.port, [900] * 30) as port,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_notify_now_and_then, served, 20)
        url = f"http://127.0.0.1:{port}{await served.ticket()}"
        client, outcomes = await follow(url, dict, until=lambda c: c.v == 20)

    assert (20, 20) == (client.badge["unread"], client.unread)
    assert len(outcomes) > 3
    assert ["snapshot"] == outcomes[:1]
    assert {"replayed", "current"} >= set(outcomes[1:])


async def test_connection_reset(patient_clock):
    """A connection reset ends its stream and no other."""
    async with serving() as served:
        peers = [await Raw.get(served.port, ITEMS, served.token()) for _ in range(5)]
        for peer in peers:
            await peer.read_until(b"event: snapshot\n")
        before = served.service.hub.streams
        for peer in peers[1:]:
            peer.cut()
        await trio.sleep(0.2)
        await served.notify()
        await peers[0].read_until(b"event: change\n")

        assert (5, 1) == (before, served.service.hub.streams)
        peers[0].cut()


# Ends.


@pytest.mark.parametrize("target", ["/v1/stream", ITEMS])
async def test_drain_sends_bye(patient_clock, target):
    """A drain sends a complete `bye` before it closes a connection."""
    async with serving() as served:
        peers = [await Raw.get(served.port, target, served.token()) for _ in range(8)]
        for peer in peers:
            await peer.read_until(b"id: ")
        served.stop.set()
        ends = [events_of(await peer.read_to_the_end())[-1] for peer in peers]
        await served.gone.wait()

    assert ["drain"] * 8 == [data(end)["reason"] for end in ends]


async def test_client_survives_a_restart(patient_clock):
    """A client reconnects to the next process, gets `reset` and the whole state."""
    found = []

    async def read(url: str, headers) -> None:
        found.append(await follow(url, headers, until=lambda c: "newer" in c.items))

    async with trio.open_nursery() as nursery:
        async with serving() as old:
            await old.notify("old")
            nursery.start_soon(read, old.url + ITEMS, old.token)
            await trio.sleep(1)
            old.stop.set()
            await old.gone.wait()
        async with serving(bind=f"127.0.0.1:{old.port}") as new:
            await new.notify("new")
            await trio.sleep(10)
            await new.notify("newer")
            await trio.sleep(1)
    ((client, outcomes),) = found

    assert ["snapshot", "reset"] == outcomes
    assert ["new", "newer"] == sorted(client.items)


async def test_shed_client_reconnects(patient_clock):
    """A shed client reconnects after `retry` and is accepted when there is room."""
    async with serving(max_streams="1") as served:
        await served.notify()
        first = await Raw.get(served.port, ITEMS, served.token())
        await first.read_until(b"event: snapshot\n")
        second = await Raw.get(served.port, ITEMS, served.token())
        *_, bye = events_of(await second.read_until(b"\r\n0\r\n\r\n"))
        second.cut()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_leave_after, first, 5)
            client, outcomes = await follow(
                served.url + ITEMS, served.token, until=lambda c: c.v == 1
            )

    assert second.received.startswith(b"HTTP/1.1 200 ")
    assert "shed" == data(bye)["reason"]
    assert len(outcomes) > 1
    assert 1 == client.unread


async def _leave_after(peer: Raw, seconds: float) -> None:
    await trio.sleep(seconds)
    peer.cut()


async def test_revoked_client_stops(patient_clock):
    """A revoked client reconnects once, gets 204 and stops."""
    types = []

    async def read(url: str, headers) -> None:
        async with httpx2.AsyncClient() as http:
            async for event in connect(http, url, headers=lambda: headers):
                types.append(event.type)

    async def revoke(served: Served) -> None:
        await trio.sleep(1)
        await served.service.hub.apply("alice", Disconnect(revoke=True))

    async with serving() as served, trio.open_nursery() as nursery:
        nursery.start_soon(revoke, served)
        with pytest.raises(StreamEnded, match="204"):
            await read(served.url + ITEMS, served.token())

    assert ["hello", "snapshot", "bye"] == types


async def test_204_has_no_body_and_keeps_the_connection(patient_clock):
    """A 204 has no body and keeps the connection open."""
    async with serving() as served:
        headers = served.token()
        await trio.sleep(1)
        await served.service.hub.apply("alice", Disconnect(revoke=True))
        peer = await Raw.get(served.port, ITEMS, {**headers, "Connection": "close"})
        answer = await peer.read_to_the_end()

    assert answer.startswith(b"HTTP/1.1 204 ")
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-type" not in answer.lower()


async def test_head_on_the_wire(patient_clock):
    """A HEAD request returns a head, and the connection stays usable."""
    async with serving() as served:
        headers = {**served.token(), "Connection": "close"}
        peer = await Raw.get(served.port, ITEMS, headers, method="HEAD")
        answer = await peer.read_to_the_end()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"text/event-stream; charset=utf-8" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_two_accept_fields(patient_clock):
    """Two Accept fields are one list."""
    async with serving() as served:
        accept = "application/json\r\nAccept: text/event-stream"
        headers = {**served.token(), "Accept": accept}
        peer = await Raw.get(served.port, ITEMS, headers)
        answer = await peer.read_until(b"\r\n\r\n")
        peer.cut()

    assert answer.startswith(b"HTTP/1.1 200 ")


# Slow clients


async def test_client_that_does_not_read_is_cut(patient_clock):
    """A client that does not read is cut after 30 s, and its cursor loses nothing."""
    async with serving(ring_changes="10000", mailbox_items="10") as served:
        # The read takes a while, during which no other client may be cut.
        threshold, patient_clock.autojump_threshold = (
            patient_clock.autojump_threshold,
            inf,
        )
        peer = await Raw.get(served.port, ITEMS, served.token())
        await peer.read_until(b"event: snapshot\n")
        for number in range(2_000):
            await served.notify(f"{number}", body="x" * 6_000)
        streams = []
        # The system may take some bytes meanwhile, from which the 30 s count anew.
        for seconds in (28, 4, 31):
            await trio.testing.wait_all_tasks_blocked()
            patient_clock.jump(seconds)
            await trio.testing.wait_all_tasks_blocked()
            streams.append(served.service.hub.streams)
        assert (1, 0) == (streams[0], streams[-1])
        received = events_of(_whole_chunks(await _rest(peer)))
        client = Client().receive(*received)
        headers = {**served.token(), "Last-Event-ID": client.cursor}
        again = await Raw.get(served.port, ITEMS, headers)
        await again.read_until(b'"from":1999,')
        hello, *_ = events_of(_whole_chunks(again.received))
        again.cut()
        patient_clock.autojump_threshold = threshold

    assert 0 < client.v < 2_000
    assert "replayed" == data(hello)["resume"]


async def _rest(peer: Raw) -> bytes:
    try:
        return await peer.read_to_the_end()
    except trio.BrokenResourceError:
        return peer.received


def _whole_chunks(response: bytes) -> bytes:
    """Return a response without its incomplete last chunk."""
    head, _, rest = response.partition(b"\r\n\r\n")
    whole = head + b"\r\n\r\n"
    while rest:
        size, separator, tail = rest.partition(b"\r\n")
        length = int(size, 16) if separator else 0
        if not separator or len(tail) < length + 2:
            break
        whole += size + b"\r\n" + tail[: length + 2]
        rest = tail[length + 2 :]
    return whole
