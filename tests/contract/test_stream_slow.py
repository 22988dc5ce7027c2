"""Slow readers: a stream is a cursor, so they are told less often, never less."""

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


async def test_slow_badge_reader_is_told_the_latest(autojump_clock, world):
    """When it reads again it gets one badge: that of now."""
    valve = Valve(world)
    async with valve.world.user().stream(STREAM) as stream:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            await world.notify()
        valve.open()
        _, first, latest = await events_so_far(stream)

        assert (0, 5) == (data(first)["v"], data(latest)["v"])


async def test_slow_items_reader_is_told_the_changes_that_it_missed(
    autojump_clock, world
):
    """Within the ring nothing is skipped, however slowly it is taken."""
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


async def test_slow_items_reader_beyond_the_ring_is_told_a_snapshot(
    autojump_clock, make_world
):
    """What the ring let go is stood in for by the whole state, without a reset."""
    world = make_world(ring_changes="3")
    valve = Valve(world)
    async with valve.world.user().stream(f"{STREAM}?level=items") as stream:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            await world.notify()
        valve.open()
        _, _, snapshot = await events_so_far(stream)

        assert ("snapshot", 5) == (snapshot.type, data(snapshot)["v"])


async def test_change_after_such_a_snapshot_goes_on_from_it(autojump_clock, make_world):
    """Catching up leaves no hole behind."""
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
async def test_slow_reader_of_a_forgotten_user_is_told_to_forget(
    autojump_clock, world, level
):
    """Of the epochs that passed while it did not read, it is told the last."""
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
async def test_slow_reader_keeps_nobody_waiting(autojump_clock, world, level):
    """Other streams of the same user are told in time."""
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
async def test_reader_whose_one_write_takes_too_long_is_ended(
    autojump_clock, world, level, seconds, is_slow
):
    """It does better to come back than to be fed: bye, and nothing is lost."""
    valve = Valve(world)
    async with valve.world.user().stream(f"{STREAM}?level={level}") as stream:
        await trio.sleep(seconds)
        valve.open()
        _, state, last = await events_so_far(stream)
        bye = {"reason": "slow", "retry": stream.retry}

        assert ("bye" if is_slow else "ping") == last.type
        assert (bye if is_slow else {"v": 0}) == data(last)
        assert state.id == stream.last_event_id


async def test_what_a_slow_reader_missed_is_replayed_when_it_is_back(
    autojump_clock, world
):
    """Nothing is lost, since the cursor is the client's."""
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


async def test_writes_that_are_slow_one_by_one_are_no_slow_reader(
    autojump_clock, world
):
    """It is a single write that counts, not the sum of many."""
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
    """Let a reader take its first frame, then miss some changes in one write."""
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
    ("level", "ring", "conflated"),
    [("badge", "256", 4), ("items", "256", 0), ("items", "3", 4)],
    ids=["latest-badge", "exact-changes", "snapshot"],
)
async def test_versions_not_told_one_by_one_are_counted(
    autojump_clock, make_world, level, ring, conflated
):
    """Of six, the first was being written, and the last is told: four are not."""
    world = make_world(ring_changes=ring)
    await slow_story(world, level, before=1, during=5)

    assert conflated == metric_value(world, "roundel_versions_coalesced_total")


async def test_first_write_that_is_slow_counts_like_any_other(autojump_clock, world):
    """What is published while the first state is written is conflated as well."""
    valve = Valve(world)
    async with valve.world.user().stream(STREAM) as stream:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            await world.notify()
        valve.open()
        await events_so_far(stream)

        assert 2 == metric_value(world, "roundel_versions_coalesced_total")


async def test_quick_reader_conflates_nothing(autojump_clock, world):
    """Who is told every frame of its filter has missed none of them."""
    async with world.user().stream(f"{STREAM}?categories=a") as stream:
        await first_events(stream)
        for category in "abab":
            await world.notify(category=category)
            await events_so_far(stream)

    assert 0 == metric_value(world, "roundel_versions_coalesced_total")


async def test_delivery_is_timed_from_the_change_that_is_told(autojump_clock, world):
    """A change elsewhere in the mailbox makes no late delivery look quick."""
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
async def test_state_that_a_stream_begins_with_is_no_delivery(
    autojump_clock, world, level
):
    """What was published long ago is not counted as told late."""
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
async def test_end_of_who_never_read_is_counted_as_what_it_was(
    autojump_clock, world, seconds, why
):
    """A connection that is cut in a write of 30 s was slow; before, it was gone."""
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            async with Valve(world).world.user().stream(STREAM):
                await trio.sleep(seconds)

        nursery.start_soon(read)

    assert 1 == metric_value(world, "roundel_streams_ended_total", reason=why)
