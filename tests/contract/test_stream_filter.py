"""Streams with a filter by categories."""

from __future__ import annotations

import json

import pytest

from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Notify
from support.service import (
    body,
    current_cursor,
    data,
    events_so_far,
    first_events,
    resume,
)

LEVELS = pytest.mark.parametrize("level", ["badge", "items"])
ONLY_A = "/v1/stream?level=items&categories=a"


def versions(events) -> list[tuple[int, int]]:
    """Return the `from` and `v` of each change."""
    return [(data(event)["from"], data(event)["v"]) for event in events]


async def set_gauge(world, category: str, count: int, source_version: int) -> None:
    content = json.dumps({"count": count, "source_version": source_version}).encode()
    target = f"/v1/users/alice/gauges/{category}"
    body(await world.producer.request("PUT", target, body=content))


# Contents of the events


async def test_filtered_badge(autojump_clock, world):
    """A filtered badge counts its categories only."""
    for category in ("a", "a", "b", "c"):
        await world.notify(category=category)
    async with world.user().stream("/v1/stream?categories=a,c") as stream:
        badge = data((await first_events(stream))[1])

        assert (3, 3) == (badge["unread"], badge["unseen"])
        assert {
            "a": {"unread": 2, "unseen": 2},
            "c": {"unread": 1, "unseen": 1},
        } == badge["by"]


async def test_filtered_snapshot(autojump_clock, world):
    """A filtered snapshot has the items and the badge of its categories only."""
    wanted = await world.notify(category="a")
    await world.notify(category="b")
    async with world.user().stream(ONLY_A) as stream:
        snapshot = data((await first_events(stream))[1])

        assert [wanted["item"]] == [item["id"] for item in snapshot["items"]]
        assert 1 == snapshot["badge"]["unread"]
        assert (2, 2) == (snapshot["v"], snapshot["badge"]["v"])


async def test_filtered_snapshot_has_a_full_page(autojump_clock, world):
    """A filtered snapshot has up to 50 items of its categories."""
    for number in range(52):
        await world.notify(category="a", title=str(number))
        await world.notify(category="b")
    async with world.user().stream(ONLY_A) as stream:
        snapshot = data((await first_events(stream))[1])
        target = f"/v1/items?category=a&before={snapshot['next']}"
        rest = body(await world.user().request("GET", target))

        assert [str(number) for number in range(51, 1, -1)] == [
            item["title"] for item in snapshot["items"]
        ]
        assert ["1", "0"] == [item["title"] for item in rest["items"]]


async def test_filtered_change(autojump_clock, world):
    """A filtered change has the ids of its categories only."""
    wanted = await world.notify(category="a")
    await world.notify(category="b")
    async with world.user().stream(ONLY_A) as stream:
        await first_events(stream)
        await world.do(read_all=True, as_of=2)
        change = data(await stream.next_event())

        assert [wanted["item"]] == change["ops"][0]["set"]
        assert 0 == change["badge"]["unread"]


async def test_unknown_category(autojump_clock, world):
    """A category without items is valid."""
    await world.notify(category="b")
    async with world.user().stream(ONLY_A) as stream:
        _, snapshot = await first_events(stream)
        await world.notify(category="a")
        (change,) = await events_so_far(stream)

        assert [] == data(snapshot)["items"]
        assert (1, 2) == (data(change)["from"], data(change)["v"])


# What is left out.


@LEVELS
@pytest.mark.parametrize("operation", ["notify", "read", "gauge", "expire"])
async def test_versions_of_other_categories_are_silent(
    autojump_clock, world, level, operation
):
    """A filtered stream sends nothing for a version of another category."""
    other = await world.notify(category="b")
    await world.notify(category="b", ttl=5)
    async with world.user().stream(f"/v1/stream?level={level}&categories=a") as stream:
        await first_events(stream)
        match operation:
            case "notify":
                await world.notify(category="b")
            case "read":
                await world.do(read=[other["item"]])
            case "gauge":
                await set_gauge(world, "b", 7, 1)
            case "expire":
                ping = await stream.next_event()
                assert "ping" == ping.type

        assert [] == await events_so_far(stream)


@LEVELS
async def test_gauge_of_the_category(autojump_clock, world, level):
    """A gauge is delivered to streams of its category only."""
    async with world.user().stream(f"/v1/stream?level={level}&categories=a") as stream:
        await first_events(stream)
        await set_gauge(world, "a", 7, 1)
        await set_gauge(world, "b", 9, 1)
        (event,) = await events_so_far(stream)
        received = data(event)
        badge = received if level == "badge" else received["badge"]

        assert (1, 7, {"a"}) == (badge["v"], badge["unread"], set(badge["by"]))


@LEVELS
async def test_eviction_in_another_category(autojump_clock, make_world, level):
    """An eviction in another category sets `more` of each badge above 0."""
    world = make_world(mailbox_items="2")
    await world.notify(category="b")
    await world.notify(category="a")
    async with world.user().stream(f"/v1/stream?level={level}&categories=a") as stream:
        await first_events(stream)
        await world.notify(category="b")
        (event,) = await events_so_far(stream)
        received = data(event)
        badge = received if level == "badge" else received["badge"]

        assert (1, True) == (badge["unread"], badge["more"])


# `from`: the version that this stream sent before


async def test_from_is_the_last_sent_version(autojump_clock, world):
    """`from` is the version that this stream sent before: there is no gap."""
    async with world.user().stream(ONLY_A) as stream:
        await first_events(stream)
        for category in "abba":
            await world.notify(category=category)
            changes = await events_so_far(stream)

        assert [(1, 4)] == versions(changes)


async def test_from_of_a_later_stream_is_its_snapshot(autojump_clock, world):
    """Two streams of one filter may have a different `from` for the same version."""
    async with world.user().stream(ONLY_A) as early:
        await first_events(early)
        await world.notify(category="a")
        await events_so_far(early)
        await world.notify(category="b")
        async with world.user().stream(ONLY_A) as late:
            _, snapshot = await first_events(late)
            await world.notify(category="a")
            received = [await events_so_far(stream) for stream in (early, late)]

            assert 2 == data(snapshot)["v"]
            assert [[(1, 3)], [(2, 3)]] == [versions(events) for events in received]


async def burst(world, categories: str) -> None:
    """Publish a version of each category while the streams are not read."""
    for number, category in enumerate(categories):
        item = Notify(
            id=f"item-{number}", category=category, content=encode_content("Hello")
        )
        await world.service.hub.apply("alice", item)


@pytest.mark.parametrize(
    "categories",
    [
        "ab",
        "abab",
        "abba",
        "aabba",
        "bab",
    ],
)
async def test_from_has_no_gap_after_pending_versions(
    autojump_clock, world, categories
):
    """`from` has no gap when several versions are pending."""
    async with world.user().stream(ONLY_A) as stream:
        await first_events(stream)
        await burst(world, categories)
        changes = versions(await events_so_far(stream))
        await world.notify(category="a")
        changes += versions(await events_so_far(stream))

        received = [
            v for v, category in enumerate(categories + "a", 1) if category == "a"
        ]
        assert list(zip([0, *received], received, strict=False)) == changes


@pytest.mark.parametrize("kept", [False, True], ids=["no-stream", "another-stream"])
async def test_from_has_no_gap_after_a_replay(autojump_clock, world, kept):
    """`from` has no gap after a replay with silent versions."""
    start = await current_cursor(world)
    async with world.user("alice" if kept else "bob").stream(ONLY_A) as other:
        await events_so_far(other)
        for category in "bab":
            await world.notify(category=category)
        headers = {"Last-Event-ID": start}
        async with world.user().stream(ONLY_A, headers=headers) as stream:
            _, *replayed = await events_so_far(stream)
            await world.notify(category="a")
            live = await events_so_far(stream)

    assert [(0, 2), (2, 4)] == versions(replayed + live)


# Resume, and what a client believes of it.


@LEVELS
async def test_replay_of_silent_versions(autojump_clock, world, level):
    """A replay of silent versions alone sends no event."""
    await world.notify(category="a")
    start = await current_cursor(world)
    await world.notify(category="b")
    headers = {"Last-Event-ID": start}
    target = f"/v1/stream?level={level}&categories=a"
    async with world.user().stream(target, headers=headers) as stream:
        hello, *state = await events_so_far(stream)

        assert "replayed" == data(hello)["resume"]
        if level == "badge":
            assert [2] == [data(event)["v"] for event in state]
        else:
            assert (1, []) == (data(hello)["v"], state)


async def test_current_takes_precedence_over_the_filter(autojump_clock, world):
    """A cursor at the newest version is current, also if that version is silent."""
    await world.notify(category="b")
    cursor = await current_cursor(world)

    assert ("current", []) == await resume(
        world, "items", cursor, query="&categories=a"
    )


@pytest.mark.parametrize("kept", [False, True], ids=["no-stream", "another-stream"])
@pytest.mark.parametrize("change_log", ["3", "256"], ids=["outrun", "whole"])
@pytest.mark.parametrize(
    ("categories", "received"), [("aabb", [(1, 2)]), ("abba", [(1, 4)]), ("abbb", [])]
)
async def test_filtered_replay(
    autojump_clock, make_world, change_log, kept, categories, received
):
    """A filtered replay sends exactly the changes that pass the filter."""
    world = make_world(ring_changes=change_log)
    async with world.user("alice" if kept else "bob").stream(ONLY_A) as other:
        await world.notify(category=categories[0])
        cursor = await current_cursor(world)
        for category in categories[1:]:
            await world.notify(category=category)
        await events_so_far(other)
        outcome, state = await resume(world, "items", cursor, query="&categories=a")

    assert ("replayed", received) == (outcome, versions(state))


async def test_first_version_of_another_category(autojump_clock, world):
    """The first version of another category is silent in a replay."""
    start = await current_cursor(world)
    await set_gauge(world, "b", 7, 1)

    assert ("replayed", []) == await resume(
        world, "items", start, query="&categories=a"
    )


@pytest.mark.parametrize(
    ("level", "categories"),
    [
        *(("badge", each) for each in ("b", "ab", "bab", "aab", "abb")),
        ("items", "b"),
        *(("items", each) for each in ("ab", "bab", "aab", "abb")),
    ],
)
async def test_ping_of_a_filtered_stream(autojump_clock, world, level, categories):
    """A `ping` never has a version that this stream did not send."""
    async with world.user().stream(f"/v1/stream?level={level}&categories=a") as stream:
        hello, state = await first_events(stream)
        await burst(world, categories)
        events = [state, *await events_so_far(stream)]
        ping = data(await stream.next_event())

        assert _version(data(events[-1])) == ping
    headers = {"Last-Event-ID": events[-1].id}
    target = f"/v1/stream?level={level}&categories=a"
    async with world.user().stream(target, headers=headers) as stream:
        hello, *events = await events_so_far(stream)
        ping = data(await stream.next_event())

        assert _version(data(events[-1] if events else hello)) == ping


def _version(state):
    return {"epoch": state["epoch"], "v": state["v"]}


@pytest.mark.parametrize("level", ["badge", "items"])
async def test_hello_of_a_filtered_replay(autojump_clock, world, level):
    """The replay after `hello` ends at the version of `hello`."""
    await world.notify(category="a")
    start = await current_cursor(world)
    for category in "ab":
        await world.notify(category=category)
    headers = {"Last-Event-ID": start}
    target = f"/v1/stream?level={level}&categories=a"
    async with world.user().stream(target, headers=headers) as stream:
        hello, state = await first_events(stream)

        assert hello["v"] == data(state)["v"]
