"""Open streams and long polls get what topics hold, without a call of their user."""

from __future__ import annotations

import trio

from support.service import (
    START,
    body,
    current_cursor,
    data,
    events_so_far,
    post,
    resume,
)


async def publish(world, *, to=None, title="Hello", **fields):
    request = {"to": to or {"all": True}, "title": title, **fields}
    response = body(await post(world.producer, "/v1/notify", request))
    return response["results"][0]["item"]


async def follow(world, **request):
    body(await post(world.producer, "/v1/topics/team-7/followers", request))


TEAM = {"topic": "team-7"}


async def test_broadcast_reaches_every_open_stream(autojump_clock, world):
    """Streams of both levels get it soon after the publish was answered."""
    async with (
        world.user("alice").stream("/v1/stream") as badge,
        world.user("bob").stream("/v1/stream?level=items") as items,
    ):
        for stream in (badge, items):
            await events_so_far(stream)
        item = await publish(world, title="Hello")
        [counted], [change] = [await events_so_far(each) for each in (badge, items)]

    assert ("badge", 1) == (counted.type, data(counted)["unread"])
    added = data(change)["ops"][0]["add"]
    assert (item, "Hello", "all") == (added["id"], added["title"], added["topic"])
    assert 1 == data(change)["badge"]["unread"]


async def test_edit_and_retraction_reach_open_streams(autojump_clock, world):
    """An edit is an `update`, and a retraction a `remove`, of every follower."""
    item = await publish(world, source="s")
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        request = {"to": {"all": True}, "source": "s", "set": {"title": "new"}}
        await post(world.producer, "/v1/update", request)
        [update] = await events_so_far(stream)
        await world.producer.request("DELETE", "/v1/topics/all")
        [removal] = await events_so_far(stream)

    assert "new" == data(update)["ops"][0]["update"]["title"]
    assert [{"remove": [item], "reason": "retracted"}] == data(removal)["ops"]
    assert 0 == data(removal)["badge"]["unread"]


async def test_follower_with_an_open_stream(autojump_clock, world):
    """Who follows decides: a new follower's stream gets the items, a leaver's not."""
    await publish(world, to=TEAM, title="before")
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        await publish(world, to=TEAM, title="foreign")
        assert [] == await events_so_far(stream)
        await follow(world, add=["alice"], since="start")
        joined = await events_so_far(stream)
        await publish(world, to=TEAM, title="after")
        [after] = await events_so_far(stream)
        await follow(world, remove=["alice"])
        [left] = await events_so_far(stream)
        await publish(world, to=TEAM, title="later")
        assert [] == await events_so_far(stream)

    titles = [data(each)["ops"][0]["add"]["title"] for each in (*joined, after)]
    assert ["before", "foreign", "after"] == titles
    assert ("left", 3) == (
        data(left)["ops"][0]["reason"], len(data(left)["ops"][0]["remove"])
    )  # fmt: skip


async def test_scheduled_broadcast_appears_on_open_streams(autojump_clock, world):
    """With `at` it is on no stream before its time, and on all then."""
    async with world.user().stream("/v1/stream") as stream:
        await events_so_far(stream)
        await publish(world, at=START + 30)
        await trio.sleep(20.0)
        assert "badge" not in [each.type for each in await events_so_far(stream)]
        await trio.sleep(20.0)
        received = await events_so_far(stream)

    badges = [data(each)["unread"] for each in received if each.type == "badge"]
    assert [1] == badges


async def test_broadcast_expires_on_open_streams(autojump_clock, world):
    """The copies of an item expire when their original does."""
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        item = await publish(world, ttl=10)
        await trio.sleep(15.0)
        _, removal = await events_so_far(stream)

    assert [{"remove": [item], "reason": "expired"}] == data(removal)["ops"]


async def test_long_poll_ends_with_a_broadcast(autojump_clock, world):
    """A held `GET /v1/badge` returns the badge with the broadcast."""
    first = await world.user().request("GET", "/v1/badge")
    headers = {"If-None-Match": first.headers["etag"]}
    answers = []

    async def poll() -> None:
        target = "/v1/badge?wait=60"
        response = await world.user().request("GET", target, headers=headers)
        answers.append((trio.current_time(), body(response)["unread"]))

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await trio.sleep(5.0)
        await publish(world)
    [(ended, unread)] = answers

    assert 1 == unread
    assert 5.0 <= ended - started < 6.0


async def test_client_that_was_away_gets_broadcasts_as_changes(autojump_clock, world):
    """Each broadcast that it missed is one change, in order, with its own version."""
    cursor = await current_cursor(world)
    for title in ("one", "two"):
        await publish(world, title=title)
    outcome, changes = await resume(world, "items", cursor)

    assert "replayed" == outcome
    assert [(1, "one"), (2, "two")] == [
        (data(each)["v"], data(each)["ops"][0]["add"]["title"]) for each in changes
    ]


async def test_client_that_was_away_never_sees_what_was_retracted(
    autojump_clock, world
):
    """A broadcast that was taken back meanwhile makes no event and no version."""
    cursor = await current_cursor(world)
    await publish(world)
    await world.producer.request("DELETE", "/v1/topics/all")
    outcome, changes = await resume(world, "items", cursor)

    assert ("current", []) == (outcome, changes)


async def test_personal_items_and_broadcasts_are_counted_together(
    autojump_clock, world
):
    """The badge is one number, true at one version."""
    async with world.user().stream("/v1/stream") as stream:
        await events_so_far(stream)
        await world.notify()
        await publish(world)
        await world.notify()
        received = await events_so_far(stream)

    newest = data(received[-1])
    assert (3, 3) == (newest["unread"], newest["v"])
    assert newest == await world.badge()


async def test_items_of_a_topic_come_in_their_order(autojump_clock, world):
    """A burst of broadcasts is pulled in the order of the topic, once each."""
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        for number in range(20):
            await publish(world, title=f"{number}")
        received = await events_so_far(stream)

    titles = [data(each)["ops"][0]["add"]["title"] for each in received]
    assert [f"{number}" for number in range(20)] == titles
