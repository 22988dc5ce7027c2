"""Several processes on one store: whichever a client is at, it is told the same."""

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
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_tabs_at_different_workers_agree(tmp_path, kind):
    """Each of twenty tabs, spread over two processes, has every badge in its turn."""
    with valkey_server.server(kind) as store:
        arguments = ("--workers", "2", "--engine", store.url)
        async with run_service(tmp_path, *arguments) as served:
            host = served.ops.rpartition(":")[0]
            tabs = [(await served.stream())[0] for _ in range(20)]
            shares = await streams_of([f"{host}:9180", f"{host}:9181"])
            answers = [
                await read_until(await served.send(NOTIFY), b"}]}") for _ in range(3)
            ]
            told = [await read_until(tab, b'"unread":3') for tab in tabs]
            status = await served.end()

    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert 20 == sum(shares)
    assert all(shares)
    assert 20 == len(told)
    assert 0 == status


async def is_let_in(served: ServiceProcess) -> bool:
    """Open a stream of one user's; tell whether it begins, or is to come later."""
    stream, wire = await served.send(get("/v1/stream", "alice")), b""
    with trio.fail_after(SLACK):
        while b"event: badge" not in wire and b"event: bye" not in wire:
            wire += await stream.receive_some()
    assert wire.startswith(b"HTTP/1.1 200")
    return b"event: badge" in wire


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_cap_of_a_user_holds_over_workers(tmp_path, kind):
    """Of twenty tabs that come at once to two processes no more than five stay."""
    room = {"ROUNDEL_MAX_STREAMS_PER_USER": "5"}
    let_in: list[bool] = []

    async def come() -> None:
        let_in.append(await is_let_in(served))

    with valkey_server.server(kind) as store:
        arguments = ("--workers", "2", "--engine", store.url)
        async with run_service(tmp_path, *arguments, **room) as served:
            host = served.ops.rpartition(":")[0]
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(come)
            for _ in range(20):
                await come()
            shares = await streams_of([f"{host}:9180", f"{host}:9181"])
            status = await served.end()
        kept = store.ask("KEYS", "roundel:*:a:*")

    assert (40, 5) == (len(let_in), sum(let_in))
    assert 5 == sum(shares)
    # Those who end in peace leave no place taken.
    assert (0, []) == (status, kept)
