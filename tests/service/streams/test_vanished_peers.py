"""Peers that vanish without a word: their packets are dropped."""

from __future__ import annotations

import sys

import pytest
import trio

from roundel_service import app as service
from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Notify
from support.network import connect_from, made_network
from support.service import settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="network namespaces of Linux"),
]

WRITE_TIMEOUT = 1.5
PING = 1.0
SLACK = 3.0
"""Seconds for a slow machine; without the option the kernel needs 15 minutes."""


def opening(authenticator, user: str) -> bytes:
    """Return a request of a stream."""
    token = authenticator.sign(user, ttl=3_600)
    head = "GET /v1/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
    return f"{head}{token}\r\n\r\n".encode()


async def open_streams(sockets, request: bytes) -> None:
    for sock in sockets:
        sock.sendall(request)
        while b"\nid: " not in await trio.to_thread.run_sync(sock.recv, 1 << 16):
            pass


@pytest.mark.parametrize("is_busy", [False, True], ids=["quiet", "busy"])
async def test_vanished_peers_leave_their_places(is_busy):
    """After the write timeout and a ping, the user's next tab has a stream.

    Events go into the kernel's buffer all the time, and none is acknowledged.
    """
    chosen = settings(
        ops_bind="",
        bind="0.0.0.0:0",
        write_timeout=WRITE_TIMEOUT,
        ping=PING,
        max_streams_per_user=4,
    )
    built = service.build(chosen)
    stop = trio.Event()

    async def run(*, task_status) -> None:
        await service.run(built, chosen, shutdown=stop.wait, task_status=task_status)

    with made_network() as network:
        space, _ = network.add()
        async with trio.open_nursery() as nursery:
            urls = await nursery.start(run)
            address = network.address, int(str(urls).rpartition(":")[2])
            request = opening(built.authenticator, "alice")
            vanished = connect_from(space, address, 4)
            await open_streams(vanished, request)
            assert 4 == built.hub.streams
            network.partition(space)
            with trio.fail_after(PING + WRITE_TIMEOUT + SLACK):
                count = 0
                while built.hub.streams:
                    await trio.sleep(0.1)
                    count += 1
                    if is_busy:
                        await notify(built, f"{count}")
            network.heal(space)
            for sock in vanished:
                sock.close()
            stop.set()


async def notify(built, title: str) -> None:
    item = Notify(id=title, category="default", content=encode_content(title))
    await built.hub.apply("alice", item)
