"""Resume: the outcome depends on cursor, epoch, version and change log alone."""

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


async def received(world, level: str, cursor: str, *, by_ticket: bool, query: str = ""):
    """Return the data of hello and the events after it, for a stream with *cursor*."""
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
async def test_no_cursor(autojump_clock, world, level, by_ticket):
    """A client without a cursor gets a snapshot."""
    await world.notify()
    hello, (state,) = await received(world, level, "", by_ticket=by_ticket)

    assert ("snapshot", 1) == (hello["resume"], hello["v"])
    assert ("badge" if level == "badge" else "snapshot") == state.type


@LEVELS
@PROOFS
async def test_current(autojump_clock, world, level, by_ticket):
    """A cursor at the newest version is `current`, and no state follows."""
    await world.notify()
    cursor = await current_cursor(world)
    hello, state = await received(world, level, cursor, by_ticket=by_ticket)

    assert ("current", 1) == (hello["resume"], hello["v"])
    assert [] == state


@LEVELS
@PROOFS
async def test_replayed(autojump_clock, world, level, by_ticket):
    """A cursor within the change log is `replayed`: the missing changes follow."""
    await world.notify()
    cursor = await current_cursor(world)
    await world.notify()
    hello, (state,) = await received(world, level, cursor, by_ticket=by_ticket)

    assert ("replayed", 2) == (hello["resume"], hello["v"])
    assert ("badge" if level == "badge" else "change") == state.type
    assert 2 == data(state)["v"]


@LEVELS
@PROOFS
async def test_reset(autojump_clock, world, level, by_ticket):
    """A cursor of another epoch is `reset`, and the state follows."""
    await world.notify()
    hello, (state,) = await received(world, level, "another.1", by_ticket=by_ticket)

    assert ("reset", 1) == (hello["resume"], hello["v"])
    assert ("badge" if level == "badge" else "snapshot") == state.type


# Each of its cases.


@LEVELS
async def test_current_without_changes(autojump_clock, world, level):
    """A cursor of an empty mailbox is `current`."""
    assert ("current", []) == await resume(world, level, await current_cursor(world))


@LEVELS
async def test_current_after_evictions_from_the_log(autojump_clock, make_world, level):
    """A cursor at the newest version is `current`, however long the history was."""
    world = make_world(ring_changes="1")
    for _ in range(4):
        await world.notify()

    assert ("current", []) == await resume(world, level, await current_cursor(world))


@pytest.mark.parametrize("missed", [1, 2, 7])
async def test_badge_level_replays_one_badge(autojump_clock, make_world, missed):
    """The level `badge` replays one badge, however many versions are missing."""
    world = make_world(ring_changes="3")
    start = await current_cursor(world)
    for _ in range(missed):
        await world.notify()
    outcome, (badge,) = await resume(world, "badge", start)

    assert ("replayed", "badge") == (outcome, badge.type)
    assert missed == data(badge)["unread"]


@pytest.mark.parametrize("kept", [False, True], ids=["no-stream", "another-stream"])
async def test_items_level_replays_the_missing_changes(autojump_clock, world, kept):
    """The level `items` replays each missing change once, in order."""
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


async def test_replayed_changes_equal_delivered_ones(autojump_clock, world):
    """A replayed change equals the delivered one, byte for byte."""
    start = await current_cursor(world)
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        item = (await world.notify(key="k"))["item"]
        await world.do(read=[item])
        await world.notify(key="other")
        live = await events_so_far(stream)
    _, replayed = await resume(world, "items", start)

    assert live == replayed


@pytest.mark.parametrize("kept", [False, True], ids=["no-stream", "another-stream"])
async def test_replay_has_no_text_of_an_item_that_is_gone(autojump_clock, world, kept):
    """A replayed `add` of an item that is gone is left out; its `remove` follows."""
    start = await current_cursor(world)
    target = "/v1/stream?level=items"
    async with world.user("alice" if kept else "bob").stream(target) as other:
        gone = (await world.notify(key="k", title="a text that was retracted"))["item"]
        await events_so_far(other)
        await world.do(read=[gone])
        await world.notify(key="k")
        held = (await world.notify())["item"]
        await world.do(read=[held])
        _, replayed = await resume(world, "items", start)

    steps = [data(change)["ops"] for change in replayed]
    assert [[], [{"set": [gone], "read": True, "seen": True}]] == steps[:2]
    assert {"remove": [gone], "reason": "replaced"} == steps[2][0]
    assert (held, False) == (steps[3][0]["add"]["id"], steps[3][0]["add"]["read"])
    assert [1, 0, 1, 2, 1] == [data(change)["badge"]["unread"] for change in replayed]
    assert "a text that was retracted" not in repr(replayed)


@pytest.mark.parametrize(
    ("missed", "expected"), [(3, "replayed"), (4, "snapshot"), (9, "snapshot")]
)
async def test_change_log_bounds_the_replay(
    autojump_clock, make_world, missed, expected
):
    """A cursor older than the change log gets a snapshot."""
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
async def test_invalid_cursor_is_reset(autojump_clock, world, level, presented):
    """An invalid cursor is `reset`."""
    epoch = (await world.notify())["epoch"]
    presented = presented.format(epoch=epoch).encode().decode("latin-1")
    outcome, (state,) = await resume(world, level, presented)

    assert "reset" == outcome
    assert 1 == data(state)["v"]


@LEVELS
async def test_cursor_of_another_user(autojump_clock, world, level):
    """A cursor of another user is `reset`, even at an equal version."""
    await world.notify("alice")
    await world.notify("bob")
    outcome, (state,) = await resume(world, level, await current_cursor(world, "bob"))

    assert ("reset", 1) == (outcome, data(state)["v"])


@LEVELS
async def test_cursor_of_another_users_empty_mailbox(autojump_clock, world, level):
    """A cursor of another user's empty mailbox is `reset`."""
    outcome, _ = await resume(world, level, await current_cursor(world, "bob"))

    assert "reset" == outcome


@LEVELS
async def test_cursor_from_before_a_deletion(autojump_clock, world, level):
    """A cursor from before the deletion of the user is `reset`."""
    await world.notify()
    before = await current_cursor(world)
    await world.producer.request("DELETE", "/v1/users/alice")
    await world.notify()

    assert "reset" == (await resume(world, level, before))[0]


@LEVELS
async def test_cursor_from_before_a_restart(autojump_clock, make_world, level):
    """A cursor from before a restart of the memory engine is `reset`."""
    before, after = make_world(), make_world()
    await before.notify()
    await after.notify()

    assert "reset" == (await resume(after, level, await current_cursor(before)))[0]


async def test_hello_has_the_version_of_the_state(autojump_clock, world):
    """`hello` has the version at which its first events end."""
    for _ in range(3):
        await world.notify()
    newest = await current_cursor(world)
    hellos = [
        (await received(world, level, cursor, by_ticket=False))[0]
        for level in ("badge", "items")
        for cursor in ("", newest, at(newest, 1), at(newest, 9))
    ]

    assert [3] * 8 == [hello["v"] for hello in hellos]


async def test_disconnect_after_hello(autojump_clock, world):
    """A connection that ends after `hello` does not move the cursor."""
    start = await current_cursor(world)
    await world.notify()
    headers = {"Last-Event-ID": start}
    target = "/v1/stream?level=items"
    async with world.user().stream(target, headers=headers) as stream:
        hello = await stream.next_event()

        assert "" == hello.id


@LEVELS
async def test_outcomes_are_counted(autojump_clock, world, level):
    """The metrics count each outcome as `hello` reports it."""
    await world.notify()
    newest = await current_cursor(world)
    for cursor in ("", "", newest, at(newest, 0), "nonsense"):
        await received(world, level, cursor, by_ticket=False)

    assert {"current": 1, "replayed": 1, "snapshot": 2, "reset": 1} == {
        outcome: metric_value(world, "roundel_streams_opened_total", resume=outcome)
        for outcome in ("current", "replayed", "snapshot", "reset")
    }
