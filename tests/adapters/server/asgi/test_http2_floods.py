"""Floods of HTTP/2 frames: they delay no other task, and end with ENHANCE_YOUR_CALM."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from h2.errors import ErrorCodes
from hypercorn.events import RawData

from roundel_adapters.server.context import HTTP2_WORK
from support.http2_cases import CASE_APP, HANG, HANG_POST, MANY_FIELDS, POST
from support.http2_wire import (
    END_HEADERS,
    END_STREAM,
    GET,
    PADDED,
    block,
    continuation,
    data,
    frame,
    head,
    integer,
    large_head,
    ping,
    priority,
    reset,
    settings,
    window_update,
    wire_server,
)

FRAMES = 3_000
"""Frames of a flood, above the allowance of 1,000."""


def repeated(received):
    return received * FRAMES


def on_streams(make, *, count=FRAMES, first=b""):
    """Repeat what *make* returns for a stream on as many streams."""
    return first + b"".join(make(2 * number + 1) for number in range(count))


def window_churn():
    """Open and close the windows of 50 streams whose responses wait for them."""
    heads = on_streams(partial(head, fields=GET), count=50, first=settings((4, 0)))
    return heads + (settings((4, 1)) + settings((4, 0))) * FRAMES


FLOODS = {
    "SETTINGS": repeated(settings()),
    "SETTINGS with entries": repeated(settings(*[(n, 1) for n in range(9, 41)])),
    "SETTINGS that change windows": window_churn(),
    "SETTINGS that change the table": (settings((1, 0)) + settings((1, 4_096)))
    * FRAMES,
    "ACK of SETTINGS": repeated(settings(flags=1)),
    "PING": repeated(ping()),
    "ACK of PING": repeated(ping(flags=1)),
    "PRIORITY": on_streams(priority),
    "PRIORITY of one stream": repeated(priority(1)),
    "PRIORITY on itself": on_streams(lambda s: head(s, HANG) + priority(s, s)),
    "PRIORITY of 4 bytes": on_streams(
        lambda s: head(s, HANG) + priority(s, payload=bytes(4))
    ),
    "WINDOW_UPDATE": repeated(window_update(0, 1)),
    "WINDOW_UPDATE of a stream": head(1, HANG) + repeated(window_update(1, 1)),
    "WINDOW_UPDATE of 0": on_streams(lambda s: head(s, HANG) + window_update(s, 0)),
    "WINDOW_UPDATE above 2 GiB": on_streams(
        lambda s: head(s, HANG) + window_update(s, (1 << 31) - 1)
    ),
    "empty DATA": head(1, HANG_POST, end=False) + repeated(data(1)),
    "DATA of padding": head(1, HANG_POST, end=False)
    + repeated(data(1, b"\0", flags=PADDED)),
    "CONTINUATION": head(1, flags=0) + repeated(continuation(1, flags=0)),
    "CONTINUATION of a byte": head(1, b"\0\x7f\xff\xff\x03", flags=0)
    + repeated(continuation(1, b"x", flags=0)),
    "rapid reset": on_streams(lambda s: head(s, HANG) + reset(s)),
    "rapid reset of uploads": on_streams(lambda s: head(s, POST, end=False) + reset(s)),
    "reset by DATA": on_streams(lambda s: head(s, HANG) + data(s, b"x")),
    "reset by HEADERS": on_streams(lambda s: head(s, HANG) + head(s)),
    "reset by the length": on_streams(
        lambda s: (
            head(s, [*HANG_POST, ("content-length", "1")], end=False) + data(s, b"12")
        )
    ),
    "malformed requests": on_streams(partial(head, fields=GET[:2])),
    "empty heads": on_streams(partial(head, fields=b"")),
    "refused requests": on_streams(partial(head, fields=HANG)),
    "large heads": on_streams(lambda s: large_head(s, MANY_FIELDS), count=1_100),
    "resets of a closed stream": head(1, HANG) + repeated(reset(1)),
    "DATA of a reset stream": head(1, HANG) + reset(1) + repeated(data(1, b"x")),
    "HEADERS of a reset stream": head(1, HANG) + reset(1) + repeated(head(1)),
    "unknown types": repeated(frame(99)),
    "PRIORITY_UPDATE": repeated(frame(16, payload=bytes(7))),
    "GOAWAY": head(1, HANG) + repeated(frame(7, payload=bytes(8))),
    "fields of one byte": head(1, flags=0)
    + b"".join(continuation(1, b"\x82" * 16_384, flags=0) for _ in range(15)),
    "updates of the table": frame(1, END_STREAM, 1, b"\x20" * 16_384)
    + b"".join(continuation(1, b"\x20" * 16_384, flags=0) for _ in range(15)),
}

HARMLESS = {
    "small literals": frame(1, END_STREAM, 1, b"\1\0" * 8_192)
    + continuation(1, b"\1\0" * 8_192),
    "indexed large field": head(
        1,
        block(GET) + b"\x40\1x" + integer(4_000, 7) + b"y" * 4_000 + b"\xbe" * 12_000,
        flags=END_HEADERS,
    ),
    "Huffman codes": head(
        1, block(GET) + b"\0\1x" + integer(16_125, 7, 0x80) + bytes(16_125)
    ),
}
"""A few large frames, which end no connection, but take long to decode."""


class Bystander:
    """A task that counts the work of the server between two of its turns."""

    def __init__(self, budget):
        self.most = self.turns = 0
        self._budget, self._work = budget, 0
        self._charge = budget.charge

    def charge(self, units):
        self._work += units
        self._charge(units)

    async def run(self):
        while True:
            await trio.lowlevel.checkpoint()
            self.most = max(self.most, self._work)
            self._work = 0
            self.turns += 1


async def flood_beside(server, received):
    """Pass *received* in reads of 64 KiB; return the bystander."""
    bystander = Bystander(server.context.http2_budget)
    server.context.http2_budget.charge = bystander.charge
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bystander.run)
        for start in range(0, len(received), 1 << 16):
            if server.is_closed:
                break
            await server.connection.handle(RawData(received[start : start + (1 << 16)]))
        nursery.cancel_scope.cancel()
    return bystander


MOST = 2 * (HTTP2_WORK + 25)
"""Most work between two turns of a task: two budgets, and a step that begins in each.

The order of tasks is random: the bystander may run first in a turn, and last in the
next one.
"""


@pytest.mark.parametrize("received", FLOODS.values(), ids=FLOODS)
async def test_flood_ends_the_connection(received):
    """A flood ends with ENHANCE_YOUR_CALM, and other tasks run between small steps."""
    async with wire_server(CASE_APP) as server:
        bystander = await flood_beside(server, received)

        assert server.is_closed
        assert [ErrorCodes.ENHANCE_YOUR_CALM] == [code for _, code in server.goaways()]
        assert bystander.most <= MOST
        assert bystander.turns >= 1_000 / MOST
        assert not server.connection._streams.exchanges


@pytest.mark.parametrize("received", HARMLESS.values(), ids=HARMLESS)
async def test_large_head_is_decoded_in_steps(received):
    """Other tasks run while a large head is decoded."""
    async with wire_server(CASE_APP) as server:
        bystander = await flood_beside(server, received)
        await server.receive(head(101))

        assert server.statuses() == {1: 431, 101: 200}
        assert bystander.most <= MOST


async def test_connections_share_one_budget():
    """20 connections work no longer in one turn than a single one."""
    async with wire_server(CASE_APP) as first, trio.open_nursery() as nursery:
        bystander = Bystander(first.context.http2_budget)
        first.context.http2_budget.charge = bystander.charge
        nursery.start_soon(bystander.run)
        async with trio.open_nursery() as floods:
            for _ in range(20):
                floods.start_soon(flood_of_pings, first.context)
        nursery.cancel_scope.cancel()

        assert bystander.most <= MOST


async def flood_of_pings(context):
    async with wire_server(CASE_APP, context=context) as server:
        await server.connection.handle(RawData(FLOODS["PING"]))


async def test_answers_to_data_are_no_flood(autojump_clock):
    """A client may answer each DATA frame with window updates and a PING."""
    async with wire_server(CASE_APP, max_overhead=10) as server:
        for number in range(500):
            stream = 2 * number + 1
            await server.receive(head(stream))
            await server.receive(
                window_update(0, 11), window_update(stream, 11), ping()
            )

        assert not server.is_closed
        assert len(server.statuses()) == 500


async def test_window_updates_of_one_byte_are_a_flood(autojump_clock):
    """They do not pay for themselves by the DATA frames that they allow."""
    async with wire_server(CASE_APP) as server:
        await server.receive(settings((4, 0)), head(1))
        for _ in range(1_100):
            await server.receive(window_update(1, 1))
            if server.is_closed:
                break

        assert server.goaways()[0][1] == ErrorCodes.ENHANCE_YOUR_CALM


async def test_allowance_returns_with_time(autojump_clock):
    """33 frames a second are no flood, for as long as the connection lasts."""
    async with wire_server(CASE_APP) as server:
        for _ in range(200):
            await server.receive(ping() * 33)
            await trio.sleep(1)

        assert not server.is_closed
