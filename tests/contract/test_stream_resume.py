"""Resume: a pure function of the cursor, the epoch, the version and the ring."""

from __future__ import annotations

import pytest

from roundel import Cursor, Position
from support.service import (
    body,
    current_cursor,
    data,
    events_so_far,
    metric_value,
    post,
    resume,
)

LEVELS = pytest.mark.parametrize("level", ["badge", "items"])
PROOFS = pytest.mark.parametrize("by_ticket", [False, True], ids=["token", "ticket"])


async def told(world, level: str, cursor: str, *, by_ticket: bool, query: str = ""):
    """Return the hello and the state frames of a stream that presents *cursor*."""
    target, client = f"/v1/stream?level={level}{query}", world.user()
    if by_ticket:
        asked = await post(world.producer, "/v1/tickets", {"user": "alice"})
        target = f"{body(asked)['url']}&level={level}{query}"
        client = world.anonymous
    headers = {"Last-Event-ID": cursor} if cursor else {}
    async with client.stream(target, headers=headers) as stream:
        hello, *state = await events_so_far(stream)
        return data(hello), state


def at(cursor: str, v: int) -> str:
    """Return the cursor of another version of the same epoch."""
    epoch = Cursor.parse(cursor).positions[""].epoch
    return str(Cursor({"": Position(epoch, v)}))


# The four outcomes.


@LEVELS
@PROOFS
async def test_no_cursor_is_answered_with_a_snapshot(
    autojump_clock, world, level, by_ticket
):
    """Who was never here is told the state, and that it is one."""
    await world.notify()
    hello, (state,) = await told(world, level, "", by_ticket=by_ticket)

    assert ("snapshot", 1) == (hello["resume"], hello["v"])
    assert ("badge" if level == "badge" else "snapshot") == state.type


@LEVELS
@PROOFS
async def test_cursor_of_the_newest_version_is_current(
    autojump_clock, world, level, by_ticket
):
    """Who has everything is told so, and is told nothing again."""
    await world.notify()
    cursor = await current_cursor(world)
    hello, state = await told(world, level, cursor, by_ticket=by_ticket)

    assert ("current", 1) == (hello["resume"], hello["v"])
    assert [] == state


@LEVELS
@PROOFS
async def test_cursor_behind_is_replayed(autojump_clock, world, level, by_ticket):
    """Within the ring a late reader is told just what it missed."""
    await world.notify()
    cursor = await current_cursor(world)
    await world.notify()
    hello, (state,) = await told(world, level, cursor, by_ticket=by_ticket)

    assert ("replayed", 2) == (hello["resume"], hello["v"])
    assert ("badge" if level == "badge" else "change") == state.type
    assert 2 == data(state)["v"]


@LEVELS
@PROOFS
async def test_cursor_of_another_epoch_is_reset(
    autojump_clock, world, level, by_ticket
):
    """A line that was broken is told to be one, and then the state."""
    await world.notify()
    hello, (state,) = await told(world, level, "another.1", by_ticket=by_ticket)

    assert ("reset", 1) == (hello["resume"], hello["v"])
    assert ("badge" if level == "badge" else "snapshot") == state.type


# Each of its cases.


@LEVELS
async def test_current_needs_no_ring(autojump_clock, world, level):
    """An empty mailbox with an empty ring still knows that nothing changed."""
    assert ("current", []) == await resume(world, level, await current_cursor(world))


@LEVELS
async def test_current_is_current_after_the_ring_was_outrun(
    autojump_clock, make_world, level
):
    """However much the ring has let go, who has everything has everything."""
    world = make_world(ring_changes="1")
    for _ in range(4):
        await world.notify()

    assert ("current", []) == await resume(world, level, await current_cursor(world))


@pytest.mark.parametrize("missed", [1, 2, 7])
async def test_badge_level_is_replayed_one_badge(autojump_clock, make_world, missed):
    """A late badge is one frame late, however many changes it missed."""
    world = make_world(ring_changes="3")
    start = await current_cursor(world)
    for _ in range(missed):
        await world.notify()
    outcome, (badge,) = await resume(world, "badge", start)

    assert ("replayed", "badge") == (outcome, badge.type)
    assert missed == data(badge)["unread"]


@pytest.mark.parametrize("kept", [False, True], ids=["no-stream", "another-stream"])
async def test_items_level_is_replayed_exactly_what_it_missed(
    autojump_clock, world, kept
):
    """Within the ring the missing changes come, each once and in order."""
    await world.notify()
    start = await current_cursor(world)
    target = "/v1/stream?level=items"
    async with world.user("alice" if kept else "bob").stream(target) as other:
        await events_so_far(other)
        for _ in range(3):
            await world.notify()
        outcome, changes = await resume(world, "items", start)

    assert "replayed" == outcome
    assert [(1, 2), (2, 3), (3, 4)] == [
        (data(change)["from"], data(change)["v"]) for change in changes
    ]


async def test_replayed_changes_are_those_that_a_running_stream_was_told(
    autojump_clock, world
):
    """Replay and live delivery are the same frames, byte for byte."""
    start = await current_cursor(world)
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        item = (await world.notify(key="k"))["item"]
        await world.do(read=[item])
        await world.notify(key="k")
        live = await events_so_far(stream)
    _, replayed = await resume(world, "items", start)

    assert live == replayed


@pytest.mark.parametrize(
    ("missed", "expected"), [(3, "replayed"), (4, "snapshot"), (9, "snapshot")]
)
async def test_ring_reaches_back_as_far_as_it_is_long(
    autojump_clock, make_world, missed, expected
):
    """Evicted from the ring, the changes are stood in for by the whole state."""
    world = make_world(ring_changes="3")
    await world.notify()
    start = await current_cursor(world)
    for _ in range(missed):
        await world.notify()
    outcome, state = await resume(world, "items", start)

    assert expected == outcome
    assert (3 if expected == "replayed" else 1) == len(state)
    assert missed + 1 == data(state[-1])["v"]


@LEVELS
@pytest.mark.parametrize(
    "presented",
    [
        "nonsense",
        "a.b.c.d",
        "é",
        "日本",
        "\x7f",
        "a b",
        "\x80\xff",
        "x" * 128,
        "x" * 129,
        "x" * 7_000,
        "~",
        ".",
        "~~~~",
        "{epoch}",
        "{epoch}.",
        "{epoch}.01",
        "{epoch}.-1",
        "{epoch}.1~",
        "{epoch}.1~{epoch}.1",
        "{epoch}.1,{epoch}.1",
        '"{epoch}.1"',
        "{epoch}.________",
        "{epoch}.2",
        "{epoch}._______",
        "another.1",
        "0.0",
    ],
)
async def test_cursor_that_proves_nothing_is_reset(
    autojump_clock, world, level, presented
):
    """Whatever a client sends has an outcome; what proves nothing proves nothing."""
    epoch = (await world.notify())["epoch"]
    presented = presented.format(epoch=epoch).encode().decode("latin-1")
    outcome, (state,) = await resume(world, level, presented)

    assert "reset" == outcome
    assert 1 == data(state)["v"]


@LEVELS
async def test_cursor_of_another_user_is_worth_nothing(autojump_clock, world, level):
    """Another user's position is not taken for one's own, even at equal versions."""
    await world.notify("alice")
    await world.notify("bob")
    outcome, (state,) = await resume(world, level, await current_cursor(world, "bob"))

    assert ("reset", 1) == (outcome, data(state)["v"])


@LEVELS
async def test_cursor_of_another_user_is_worth_nothing_at_the_start(
    autojump_clock, world, level
):
    """Not even version 0 of an empty mailbox is another's version 0."""
    outcome, _ = await resume(world, level, await current_cursor(world, "bob"))

    assert "reset" == outcome


@LEVELS
async def test_cursor_of_before_a_deletion_is_reset(autojump_clock, world, level):
    """A forgotten user's cursor is of a line that is over."""
    await world.notify()
    before = await current_cursor(world)
    await world.producer.request("DELETE", "/v1/users/alice")
    await world.notify()

    assert "reset" == (await resume(world, level, before))[0]


@LEVELS
async def test_cursor_of_before_a_restart_is_reset(autojump_clock, make_world, level):
    """A memory engine that began anew is another line at the same version."""
    before, after = make_world(), make_world()
    await before.notify()
    await after.notify()

    assert "reset" == (await resume(after, level, await current_cursor(before)))[0]


async def test_hello_of_each_outcome_tells_where_the_stream_begins(
    autojump_clock, world
):
    """The version of hello is the one that its first frames lead to."""
    for _ in range(3):
        await world.notify()
    newest = await current_cursor(world)
    hellos = [
        (await told(world, level, cursor, by_ticket=False))[0]
        for level in ("badge", "items")
        for cursor in ("", newest, at(newest, 1), at(newest, 9))
    ]

    assert [3] * 8 == [hello["v"] for hello in hellos]


async def test_connection_cut_behind_hello_has_not_moved_the_cursor(
    autojump_clock, world
):
    """Dying between hello and the state leaves the client where it was."""
    start = await current_cursor(world)
    await world.notify()
    headers = {"Last-Event-ID": start}
    target = "/v1/stream?level=items"
    async with world.user().stream(target, headers=headers) as stream:
        hello = await stream.next_event()

        assert "" == hello.id


@LEVELS
async def test_every_outcome_is_counted_as_what_hello_said(
    autojump_clock, world, level
):
    """A scripted story: two first connects, one of each other outcome."""
    await world.notify()
    newest = await current_cursor(world)
    for cursor in ("", "", newest, at(newest, 0), "nonsense"):
        await told(world, level, cursor, by_ticket=False)

    assert {"current": 1, "replayed": 1, "snapshot": 2, "reset": 1} == {
        outcome: metric_value(world, "roundel_streams_opened_total", resume=outcome)
        for outcome in ("current", "replayed", "snapshot", "reset")
    }
