"""`GET /v1/users/{user}/streams`: is a page of the user open?"""

from __future__ import annotations

import trio

from support.service import body, events_so_far


async def streams(world, user="alice"):
    return body(await world.producer.request("GET", f"/v1/users/{user}/streams"))


async def test_open_streams_are_counted(autojump_clock, world):
    """Those of another user are not."""
    assert {"user": "alice", "streams": 0} == await streams(world)
    async with world.user().stream("/v1/stream") as first:
        await events_so_far(first)
        async with world.user().stream("/v1/stream?level=items") as second:
            await events_so_far(second)
            assert {"user": "alice", "streams": 2} == await streams(world)
            assert {"user": "bob", "streams": 0} == await streams(world, "bob")
    await trio.testing.wait_all_tasks_blocked()

    assert {"user": "alice", "streams": 0} == await streams(world)


async def test_long_poll_counts_as_a_stream(autojump_clock, world, nursery):
    """A page that polls is open too."""
    badge = await world.user().request("GET", "/v1/badge")
    headers = {"If-None-Match": badge.headers["etag"]}

    async def poll():
        await world.user().request("GET", "/v1/badge?wait=9", headers=headers)

    nursery.start_soon(poll)
    await trio.testing.wait_all_tasks_blocked()
    assert 1 == (await streams(world))["streams"]
    await trio.sleep(10.0)

    assert 0 == (await streams(world))["streams"]


async def test_user_may_not_ask(autojump_clock, world):
    """The call is a producer's."""
    response = await world.user().request("GET", "/v1/users/alice/streams")

    assert 403 == response.status
