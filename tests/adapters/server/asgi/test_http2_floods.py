"""Floods of HTTP/2 frames: they delay no other task, and end with ENHANCE_YOUR_CALM."""

from __future__ import annotations

import pytest
import trio
from h2.errors import ErrorCodes
from hypercorn.events import RawData

from roundel_adapters.server.context import HTTP2_WORK
from support.http2_cases import CASE_APP
from support.http2_floods import FLOODS, HARMLESS
from support.http2_wire import head, ping, settings, window_update, wire_server


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


async def flood_for_ever(context):
    while True:
        await flood_of_pings(context)


async def test_floods_starve_no_other_connection(nursery):
    """Beside 20 floods that reconnect, a request is served within some turns."""
    async with wire_server(CASE_APP) as server:
        bystander = Bystander(server.context.http2_budget)
        nursery.start_soon(bystander.run)
        for _ in range(20):
            nursery.start_soon(flood_for_ever, server.context)
        for stream in range(1, 41, 2):
            began = bystander.turns
            await server.connection.handle(RawData(head(stream)))
            while stream not in server.statuses():
                await trio.lowlevel.checkpoint()

            assert bystander.turns - began <= 40
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("frames", [1, 2, 3])
async def test_connection_without_a_frame_left_takes_no_other_turn(frames):
    """Its next bytes are read at once, also if the last frame used up the budget.

    Behind a flood each turn of a connection that continues takes long.
    """
    async with wire_server(CASE_APP) as server:
        budget = server.context.http2_budget
        turn, charge, turns = budget.turn, budget.charge, []
        budget.turn = lambda *, continues: turns.append(continues) or turn()
        budget.charge = lambda units: charge(HTTP2_WORK)
        await server.connection.handle(RawData(ping() * frames + ping()[:9]))

    assert [False, True, True][:frames] == turns


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
