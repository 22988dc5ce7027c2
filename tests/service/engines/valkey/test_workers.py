"""Two worker processes at one store serve the same users."""

from __future__ import annotations

import json

import pytest
import trio

from support import valkey_server
from support.process import (
    SECRETS,
    SLACK,
    ServiceProcess,
    get,
    read_until,
    run_service,
    streams_of,
)

BODY = json.dumps({"to": {"user": "alice"}, "title": "x"}).encode()
NOTIFY = (
    "POST /v1/notify HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    f"Authorization: Bearer {SECRETS['ROUNDEL_PRODUCER_KEYS']}\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
).encode() + BODY


@pytest.mark.slow
@pytest.mark.parametrize("kind", valkey_server.mainly("valkey"))
async def test_streams_of_two_workers_agree(tmp_path, kind):
    """Each of 20 streams, spread over two processes, gets every badge."""
    with valkey_server.server(kind) as store:
        arguments = ("--workers", "2", "--engine", store.url)
        async with run_service(tmp_path, *arguments) as served:
            host = served.ops.rpartition(":")[0]
            streams = [(await served.stream())[0] for _ in range(20)]
            counts = await streams_of([f"{host}:9180", f"{host}:9181"])
            replies = [
                await read_until(await served.send(NOTIFY), b"}]}") for _ in range(3)
            ]
            events = [await read_until(stream, b'"unread":3') for stream in streams]
            status = await served.end()

    assert all(reply.startswith(b"HTTP/1.1 200") for reply in replies)
    assert 20 == sum(counts)
    assert all(counts)
    assert 20 == len(events)
    assert 0 == status


async def is_admitted(served: ServiceProcess) -> bool:
    """Open a stream; return whether it starts, or is closed to retry later."""
    stream, wire = await served.send(get("/v1/stream", "alice")), b""
    with trio.fail_after(SLACK):
        while b"event: badge" not in wire and b"event: bye" not in wire:
            wire += await stream.receive_some()
    assert wire.startswith(b"HTTP/1.1 200")
    return b"event: badge" in wire


@pytest.mark.slow
@pytest.mark.parametrize("kind", valkey_server.mainly("redis"))
async def test_stream_limit_across_workers(tmp_path, kind):
    """Of 20 concurrent streams at two processes only 5 are admitted."""
    limit = {"ROUNDEL_MAX_STREAMS_PER_USER": "5"}
    admitted: list[bool] = []

    async def open_stream() -> None:
        admitted.append(await is_admitted(served))

    with valkey_server.server(kind) as store:
        arguments = ("--workers", "2", "--engine", store.url)
        async with run_service(tmp_path, *arguments, **limit) as served:
            host = served.ops.rpartition(":")[0]
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(open_stream)
            for _ in range(20):
                await open_stream()
            counts = await streams_of([f"{host}:9180", f"{host}:9181"])
            status = await served.end()
        reports = store.execute("KEYS", "roundel:*:a:*")

    assert (40, 5) == (len(admitted), sum(admitted))
    assert 5 == sum(counts)
    # A clean shutdown deletes the presence reports.
    assert (0, []) == (status, reports)
