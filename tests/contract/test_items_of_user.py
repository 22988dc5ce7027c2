"""`GET /v1/users/{user}/items`: the list of a user for support and export."""

from __future__ import annotations

import pytest
import trio

from support.service import START, body, post

ITEMS = "/v1/users/alice/items"


async def listed(world, query=""):
    return body(await world.producer.request("GET", f"{ITEMS}?{query}"))


@pytest.mark.parametrize(
    "query",
    ["", "state=unread", "state=archived", "state=all&limit=2", "state=snoozed"],
)
async def test_producer_sees_what_the_user_sees(autojump_clock, world, query):
    """Each state and page is the same as the user's own."""
    ids = [(await world.notify(category="a"))["item"] for _ in range(5)]
    await world.do(archive=ids[:2])
    await world.do(read=ids[2:3])
    await world.do(snooze=ids[3:4], until=START + 60)
    own = await world.user().request("GET", f"/v1/items?{query}")

    assert body(own) == await listed(world, query)
    assert body(own)["items"]


async def test_scheduled_items_have_their_time(autojump_clock, world):
    """Latest first; what appears leaves the state."""
    ids = [(await world.notify(at=START + 60 * n))["item"] for n in (2, 1, 3)]
    await world.notify()
    before = (await listed(world, "state=scheduled"))["items"]
    await trio.sleep(61.0)
    after = (await listed(world, "state=scheduled"))["items"]

    assert [(ids[2], 180), (ids[1], 60), (ids[0], 120)] == [
        (item["id"], item["until"] - START) for item in before
    ]
    assert [0] * 3 == [item["seq"] for item in before]
    assert [ids[2], ids[0]] == [item["id"] for item in after]


@pytest.mark.parametrize("state", ["scheduled", "snoozed"])
async def test_pages_of_what_waits_are_complete(autojump_clock, world, state):
    """`next` leads to the following page; a category selects."""
    ids = []
    for number in range(7):
        at = {"at": START + 60} if state == "scheduled" else {}
        category = "b" if number == 3 else "a"
        ids.append((await world.notify(category=category, **at))["item"])
    if state == "snoozed":
        await world.do(snooze=ids[4:], until=START + 60)
        await world.do(snooze=ids[:4], until=START + 60)
    found, query = [], f"state={state}&limit=2&category=a"
    page = await listed(world, query)
    while True:
        assert len(page["items"]) == 2
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        page = await listed(world, f"{query}&before={page['next']}")

    assert [item for item in reversed(ids) if item != ids[3]] == found
    (other,) = (await listed(world, f"state={state}&category=b"))["items"]
    assert ids[3] == other["id"]


async def test_page_after_an_appearance_leaves_nothing_out(autojump_clock, world):
    """An item that appears between two pages makes no other one vanish."""
    ids = [(await world.notify(at=START + 60 + n))["item"] for n in range(4)]
    first = await listed(world, "state=scheduled&limit=2")
    await trio.sleep(60.5)
    second = await listed(world, f"state=scheduled&limit=2&before={first['next']}")

    shown = [item["id"] for item in first["items"] + second["items"]]
    assert {*ids[1:]} <= {*shown}


@pytest.mark.parametrize("query", ["state=other", "before=-1", "limit=101", "x=1"])
async def test_bad_query_is_refused(autojump_clock, world, query):
    """The same parameters as the user's own call."""
    response = await world.producer.request("GET", f"{ITEMS}?{query}")

    assert 422 == response.status


async def test_roles_are_kept_apart(autojump_clock, world):
    """A user has the own list only, and no name that a topic has is a user's."""
    own = await world.user().request("GET", ITEMS)
    topic = await world.producer.request("GET", "/v1/users/%23all/items")
    await post(world.producer, "/v1/notify", {"to": {"all": True}, "title": "t"})

    assert (403, 422) == (own.status, topic.status)
    assert 1 == len((await listed(world))["items"])
