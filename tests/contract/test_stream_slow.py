"""Slow clients: a stream is a cursor, so they get fewer events and the same state."""

from __future__ import annotations

import pytest
import trio

from support.service import (
    Valve,
    data,
    events_so_far,
    first_events,
    metric_value,
    remaining_events,
)

LEVELS = pytest.mark.parametrize("level", ["badge", "items"])
STREAM = "/v1/stream"


async def test_slow_client_gets_the_latest_badge(autojump_clock, world):
    """A slow client at the level `badge` gets the latest badge alone."""
    valve = Valve(world)
    async with valve.world.user().stream(STREAM) as stream:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            await world.notify()
        valve.open()
        _, first, latest = await events_so_far(stream)

        assert (0, 5) == (data(first)["v"], data(latest)["v"])


async def test_slow_client_gets_each_change(autojump_clock, world):
    """A slow client at the level `items` gets each change within the change log."""
    valve = Valve(world)
    async with valve.world.user().stream(f"{STREAM}?level=items") as stream:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            await world.notify()
        valve.open()
        _, _, *changes = await events_so_far(stream)

        assert [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)] == [
            (data(change)["from"], data(change)["v"]) for change in changes
        ]


async def test_slow_client_behind_the_change_log(autojump_clock, make_world):
    """A slow client behind the change log gets a snapshot, without a `reset`."""
    world = make_world(ring_changes="3")
    valve = Valve(world)
    async with valve.world.user().stream(f"{STREAM}?level=items") as stream:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            await world.notify()
        valve.open()
        _, _, snapshot = await events_so_far(stream)

        assert ("snapshot", 5) == (snapshot.type, data(snapshot)["v"])


async def test_change_after_such_a_snapshot(autojump_clock, make_world):
    """The change after such a snapshot has its version as `from`."""
    world = make_world(ring_changes="3")
    valve = Valve(world)
    async with valve.world.user().stream(f"{STREAM}?level=items") as stream:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            await world.notify()
        valve.open()
        await events_so_far(stream)
        await world.notify()
        (change,) = await events_so_far(stream)

        assert (5, 6) == (data(change)["from"], data(change)["v"])


@LEVELS
async def test_slow_client_gets_one_reset(autojump_clock, world, level):
    """A slow client gets one `reset` for several epochs."""
    await world.notify()
    valve = Valve(world)
    async with valve.world.user().stream(f"{STREAM}?level={level}") as stream:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            await world.producer.request("DELETE", "/v1/users/alice")
            await world.notify()
        valve.open()
        _, _, reset, *state = await events_so_far(stream)

        assert "reset" == reset.type
        assert 1 == len({data(event)["epoch"] for event in state})
        assert await world.badge() == data(state[-1]).get("badge", data(state[-1]))


@LEVELS
async def test_slow_client_does_not_delay_others(autojump_clock, world, level):
    """A slow client does not delay other streams of the user."""
    valve = Valve(world)
    target = f"{STREAM}?level={level}"
    async with (
        world.user().stream(target) as quick,
        valve.world.user().stream(target),
    ):
        await first_events(quick)
        await world.notify()
        events = await events_so_far(quick)
        valve.open()

        assert 1 == len(events)


# Too slow.


@LEVELS
@pytest.mark.parametrize(("seconds", "is_slow"), [(29.9, False), (30, True)])
async def test_slow_write_ends_the_stream(
    autojump_clock, world, level, seconds, is_slow
):
    """A write that takes 30 s ends the stream with `bye`."""
    valve = Valve(world)
    async with valve.world.user().stream(f"{STREAM}?level={level}") as stream:
        await trio.sleep(seconds)
        valve.open()
        _, state, last = await events_so_far(stream)
        bye = {"reason": "slow", "retry": stream.retry}
        ping = {"epoch": data(state)["epoch"], "v": 0}

        assert ("bye" if is_slow else "ping") == last.type
        assert (bye if is_slow else ping) == data(last)
        assert state.id == stream.last_event_id


async def test_missing_changes_are_replayed(autojump_clock, world):
    """The missing changes are replayed after the reconnection."""
    valve = Valve(world)
    target = f"{STREAM}?level=items"
    async with valve.world.user().stream(target) as stream:
        await trio.sleep(30)
        await world.notify()
        valve.open()
        await remaining_events(stream)
        headers = {"Last-Event-ID": stream.last_event_id}
    async with world.user().stream(target, headers=headers) as stream:
        hello, change = await first_events(stream)

        assert "replayed" == hello["resume"]
        assert (0, 1) == (data(change)["from"], data(change)["v"])


async def test_several_slow_writes(autojump_clock, world):
    """Several slow writes of less than 30 s do not end the stream."""
    valve = Valve(world)
    async with valve.world.user().stream(STREAM) as stream:
        for _ in range(5):
            await trio.sleep(20)
            valve.open()
            await trio.testing.wait_all_tasks_blocked()
            valve.close()
            await world.notify()
        valve.open()
        types = [event.type for event in await events_so_far(stream)]

        assert "bye" not in types


# The numbers.


async def slow_story(world, level: str, *, before: int, during: int) -> None:
    """Read the first event, then publish changes during one write."""
    valve = Valve(world)
    valve.open()
    target = f"{STREAM}?level={level}&categories=a"
    async with valve.world.user().stream(target) as stream:
        await trio.testing.wait_all_tasks_blocked()
        valve.close()
        for _ in range(before + during):
            await world.notify(category="a")
            await world.notify(category="b")
            await trio.testing.wait_all_tasks_blocked()
        valve.open()
        await events_so_far(stream)


@pytest.mark.parametrize(
    ("level", "change_log", "coalesced"),
    [("badge", "256", 4), ("items", "256", 0), ("items", "3", 4)],
    ids=["latest-badge", "exact-changes", "snapshot"],
)
async def test_coalesced_versions_are_counted(
    autojump_clock, make_world, level, change_log, coalesced
):
    """The metrics count versions that a later state replaced: four of six here."""
    world = make_world(ring_changes=change_log)
    await slow_story(world, level, before=1, during=5)

    assert coalesced == metric_value(world, "roundel_versions_coalesced_total")


async def test_coalesced_versions_of_the_first_write(autojump_clock, world):
    """Versions that are published during the first write are counted too."""
    valve = Valve(world)
    async with valve.world.user().stream(STREAM) as stream:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            await world.notify()
        valve.open()
        await events_so_far(stream)

        assert 2 == metric_value(world, "roundel_versions_coalesced_total")


async def test_fast_client_has_no_coalesced_versions(autojump_clock, world):
    """A client that gets each event has no coalesced version."""
    async with world.user().stream(f"{STREAM}?categories=a") as stream:
        await first_events(stream)
        for category in "abab":
            await world.notify(category=category)
            await events_so_far(stream)

    assert 0 == metric_value(world, "roundel_versions_coalesced_total")


async def test_delivery_time_starts_at_the_change(autojump_clock, world):
    """The delivery time starts at the delivered change, not at a later silent one."""
    valve = Valve(world)
    valve.open()
    async with valve.world.user().stream(f"{STREAM}?categories=a") as stream:
        await trio.testing.wait_all_tasks_blocked()
        valve.close()
        await world.notify(category="a")
        await trio.testing.wait_all_tasks_blocked()
        await world.notify(category="a")
        await trio.sleep(9)
        await world.notify(category="b")
        await trio.sleep(1)
        valve.open()
        await events_so_far(stream)

    assert 2 == metric_value(world, "roundel_delivery_seconds_count")
    assert 10 == metric_value(world, "roundel_delivery_seconds_sum")


@LEVELS
async def test_first_state_is_no_delivery(autojump_clock, world, level):
    """The first state of a stream is not a delivery."""
    await world.notify()
    await trio.sleep(100)
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        await first_events(stream)
        await world.notify()
        await events_so_far(stream)

    assert 1 == metric_value(world, "roundel_delivery_seconds_count")
    assert 0 == metric_value(world, "roundel_delivery_seconds_sum")


@pytest.mark.parametrize(
    ("seconds", "why"), [(29, "gone"), (30, "slow")], ids=["gone", "slow"]
)
async def test_end_during_a_write(autojump_clock, world, seconds, why):
    """A disconnect during a write is `slow` after 30 s, and `gone` before."""
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            async with Valve(world).world.user().stream(STREAM):
                await trio.sleep(seconds)

        nursery.start_soon(read)

    assert 1 == metric_value(world, "roundel_streams_ended_total", reason=why)
