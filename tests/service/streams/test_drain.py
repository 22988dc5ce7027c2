"""Graceful shutdown of `roundel serve`."""

from __future__ import annotations

import re
import signal
import socket
import struct
from contextlib import suppress

import h2.config
import h2.connection
import httpx2
import pytest
import trio

from support.process import (
    LONG,
    SLACK,
    bye,
    events,
    get,
    read_until,
    run_service,
    token,
)
from support.service import KEY

pytestmark = pytest.mark.slow

SHORT = 1.0
PERIOD = 1.0
"""Interval between the actions of a slow peer, in seconds."""
BODY = b'{"to": {"user": "bob"}, "title": "Hello"}'


def upload(length: int = len(BODY)) -> bytes:
    """Return the head of a request without its body."""
    return (
        f"POST /v1/notify HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


async def test_running_requests_finish_and_readyz_is_503(tmp_path):
    """During a drain `/readyz` is 503, and running requests are answered."""
    async with run_service(tmp_path, ROUNDEL_DRAIN_TIMEOUT=f"{LONG}") as served:
        running = await served.send(upload() + BODY[:5])
        stream, opening = await served.stream()
        served.process.send_signal(signal.SIGTERM)
        wire = opening + await read_until(stream)
        async with httpx2.AsyncClient() as operator:
            ready = await operator.get(f"{served.ops}/readyz")
            alive = await operator.get(f"{served.ops}/livez")
        await served.wait_closed()
        await running.send_all(BODY[5:])
        answer = await read_until(running)
        with trio.fail_after(SLACK):
            status = await served.process.wait()

    assert ["hello", "badge", "bye"] == [event.type for event in events(wire)]
    assert "drain" == bye(wire)["reason"]
    assert (503, 200) == (ready.status_code, alive.status_code)
    assert {"draining": "the service is shutting down"} == ready.json()["reasons"]
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"unread":1' in answer
    assert 0 == status


async def test_stream_request_during_a_drain(tmp_path):
    """A stream request during a drain gets `bye` or no response, never a cut one."""
    async with run_service(tmp_path, ROUNDEL_DRAIN_TIMEOUT=f"{LONG}") as served:
        running = await served.send(upload() + BODY[:5])
        stream, _ = await served.stream()
        served.process.send_signal(signal.SIGTERM)
        await read_until(stream)
        await running.send_all(BODY[5:] + get("/v1/stream", "alice"))
        wire = await read_until(running)

        answer, _, asked = wire.partition(b"HTTP/1.1 200 ")[2].partition(b"HTTP/1.1 ")
        assert b'"unread":1' in answer
        assert [event.type for event in events(asked)] in ([], ["hello", "bye"])


async def test_last_response_has_connection_close(tmp_path):
    """The last response on a connection has `Connection: close`."""
    async with run_service(tmp_path, ROUNDEL_DRAIN_TIMEOUT=f"{LONG}") as served:
        running = await served.send(upload() + BODY[:5])
        idle = await served.send(b"")
        stream, _ = await served.stream()
        served.process.send_signal(signal.SIGTERM)
        await read_until(stream)
        # Those that idle are closed when no further request is taken.
        await read_until(idle)
        await running.send_all(BODY[5:])
        answer = await read_until(running)
        with trio.fail_after(SLACK):
            await served.process.wait()

    # RFC 9112 9.6: a server that will close should say so in its last answer.
    assert b"\r\nconnection: close\r\n" in answer.lower()


async def test_reconnections_are_spread(tmp_path):
    """The reconnection times of N streams are spread over N/500 seconds."""
    room = {"ROUNDEL_MAX_STREAMS_PER_USER": "200"}
    async with run_service(tmp_path, **room) as served:
        streams = [await served.stream() for _ in range(200)]
        served.process.send_signal(signal.SIGTERM)
        received = [bye(opening + await read_until(s)) for s, opening in streams]

    retries = [end["retry"] for end in received]
    assert {"drain"} == {end["reason"] for end in received}
    assert 5_000 <= min(retries) <= max(retries) <= 5_000 + 1_000 * 200 / 500
    assert len(set(retries)) > 50


async def test_long_poll_is_answered_at_once(tmp_path):
    """A long poll is answered when the drain starts."""
    async with run_service(tmp_path, ROUNDEL_DRAIN_TIMEOUT=f"{LONG}") as served:
        badge = await read_until(
            await served.send(get("/v1/badge", "alice")), b'"by":{}}'
        )
        polling = await served.send(get("/v1/badge?wait=60", "alice"))
        waiting = await served.send(
            get("/v1/badge?wait=60", "alice").replace(
                b"host: x", b"host: x\r\nif-none-match: " + _etag(badge)
            )
        )
        await served.stream()
        status = await served.end()
        answers = [await read_until(each) for each in (polling, waiting)]

    assert 0 == status
    assert [b"HTTP/1.1 200", b"HTTP/1.1 304"] == [each[:12] for each in answers]


def _etag(answer: bytes) -> bytes:
    return re.search(rb"\r\netag: (.+)\r\n", answer, re.IGNORECASE)[1]


async def test_second_signal_ends_the_process(tmp_path):
    """A second signal ends the process at once."""
    async with run_service(tmp_path, ROUNDEL_DRAIN_TIMEOUT=f"{LONG}") as served:
        await served.send(upload())
        stream, _ = await served.stream()
        served.process.send_signal(signal.SIGTERM)
        await read_until(stream)

        assert -signal.SIGTERM == await served.end()


async def never_read(served, *, task_status=trio.TASK_STATUS_IGNORED):
    """Request more data than all buffers hold, and read nothing."""
    stream, _ = await served.stream("bob", "items", buffer=4_096)
    item = {"to": {"user": "bob"}, "title": "Hello", "body": "x" * 8_000}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(headers=headers) as producer:
        for _ in range(60):
            url = f"http://127.0.0.1:{served.port}/v1/notify"
            assert (await producer.post(url, json=item)).status_code == 200
    task_status.started()
    return stream


async def read_a_byte_a_second(served, *, task_status):
    """Read a few bytes at a time."""
    stream = await never_read(served)
    task_status.started()
    while True:
        await trio.sleep(PERIOD)
        await stream.receive_some(1)


async def write_a_byte_a_second(served, *, task_status):
    """Send a body slowly, without an end."""
    stream = await served.send(upload(1_000) + b"{")
    task_status.started()
    while True:
        await trio.sleep(PERIOD)
        await stream.send_all(b" ")


async def reset(served, *, task_status):
    """Reset the connection of a running stream."""
    stream, _ = await served.stream()
    linger = struct.pack("ii", 1, 0)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.socket.close()
    task_status.started()


async def send_ahead(served, *, task_status):
    """Pipeline more requests than are buffered, behind one without an end."""
    stream = await served.send(get("/v1/stream", "alice"))
    task_status.started()
    while True:
        await stream.send_all(get("/livez", "alice") * 1_000)


async def leave_an_upload(served, *, task_status):
    """Send a part of a body and stop."""
    await served.send(upload() + BODY[:5])
    task_status.started()


async def only_connect(served, *, task_status):
    """Send nothing."""
    await served.send(b"")
    task_status.started()


async def open_and_reset(served, *, task_status):
    """Open and reset a thousand HTTP/2 streams."""
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    peer.initiate_connection()
    stream = await served.send(peer.data_to_send())
    head = [(":method", "GET"), (":scheme", "http"), (":authority", "x")]
    head += [(":path", "/v1/stream"), ("authorization", f"Bearer {token('alice')}")]
    for _ in range(1_000):
        number = peer.get_next_available_stream_id()
        peer.send_headers(number, head, end_stream=True)
        peer.reset_stream(number)
        await stream.send_all(peer.data_to_send())
    task_status.started()


PEERS = [
    *(never_read, read_a_byte_a_second, write_a_byte_a_second, reset, send_ahead),
    *(leave_an_upload, only_connect, open_and_reset),
]


async def run_peer(peer, served, *, task_status):
    """Run *peer* until the server closes its connection."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await peer(served, task_status=task_status)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.__name__)
async def test_no_peer_delays_the_end(tmp_path, peer):
    """No client can delay the end of the process beyond the drain timeout."""
    patience = {"ROUNDEL_WRITE_TIMEOUT": f"{LONG}", "ROUNDEL_DRAIN_TIMEOUT": f"{SHORT}"}
    async with (
        run_service(tmp_path, **patience) as served,
        trio.open_nursery() as nursery,
    ):
        stream, opening = await served.stream()
        await nursery.start(run_peer, peer, served)
        status = await served.end(SHORT + SLACK)
        wire = opening + await read_until(stream)
        nursery.cancel_scope.cancel()

        assert 0 == status
        assert "drain" == bye(wire)["reason"]
        assert [] == [line for line in served.lines() if line["level"] == "error"]


async def test_max_age_ends_a_stream_with_bye(tmp_path):
    """A stream that reaches its maximum age gets `bye` with a reconnection time."""
    async with run_service(tmp_path, ROUNDEL_MAX_AGE="1") as served:
        stream, opening = await served.stream()
        end = bye(opening + await read_until(stream))

        assert "max_age" == end["reason"]
        assert 1_000 <= end["retry"] <= 1_002
        assert 0 == await served.end()
