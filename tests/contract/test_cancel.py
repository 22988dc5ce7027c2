"""What waits is cancelled by `DELETE /v1/items`, and changed by `POST /v1/update`."""

from __future__ import annotations

import pytest
import trio

from support.service import START, body, post

TO_ALL = {"to": {"all": True}, "title": "t", "source": "s"}
TO_TOPIC = {"to": {"topic": "team"}, "title": "t", "source": "s"}


async def retract(world, query):
    return body(await world.producer.request("DELETE", f"/v1/items?{query}"))


async def publish(world, request):
    (result,) = body(await post(world.producer, "/v1/notify", request))["results"]
    return result["item"]


async def titles(world, user="alice"):
    response = await world.user(user).request("GET", "/v1/items?state=all")
    return [item["title"] for item in body(response)["items"]]


def counts(removed, users, topics, waiting):
    return {"removed": removed, "users": users, "topics": topics, "waiting": waiting}


@pytest.mark.parametrize("which", ["source=s", "key=k&category=c", "id"])
async def test_scheduled_item_is_cancelled(autojump_clock, world, which):
    """It never appears; an item of another mailbox stays."""
    note = {"source": "s", "key": "k", "category": "c", "at": START + 60}
    item = (await world.notify(**note))["item"]
    await world.notify("bob", **note)
    which = f"id={item}" if which == "id" else which

    assert counts(0, 1, 0, 1) == await retract(world, f"{which}&user=alice")
    assert counts(0, 0, 0, 0) == await retract(world, f"{which}&user=alice")
    await trio.sleep(61.0)
    assert ([], ["Hello"]) == (await titles(world), await titles(world, "bob"))


@pytest.mark.parametrize(
    ("seconds", "expected"), [(59.9, counts(0, 1, 0, 1)), (60.0, counts(1, 1, 0, 0))]
)
async def test_item_is_cancelled_or_removed(autojump_clock, world, seconds, expected):
    """A call at any time finds the item in one place, and it is gone afterwards."""
    await world.notify(source="s", at=START + 60)
    await trio.sleep(seconds)

    assert expected == await retract(world, "source=s")
    await trio.sleep(5.0)
    assert [] == await titles(world)


async def test_lists_and_what_waits_are_counted_apart(autojump_clock, world):
    """`removed` counts items of lists, `waiting` items to come."""
    for user in ("alice", "alice", "bob"):
        await world.notify(user, source="s")
    for user in ("bob", "carol"):
        await world.notify(user, source="s", at=START + 60)

    assert counts(3, 3, 0, 2) == await retract(world, "source=s")


async def test_topics_are_counted_apart(autojump_clock, world):
    """Without a mailbox the call reaches users and topics, in list and to come."""
    await world.notify(source="s")
    await publish(world, TO_ALL)
    await publish(world, TO_TOPIC)
    await publish(world, {**TO_TOPIC, "at": START + 60})
    assert ["t", "Hello"] == await titles(world)

    assert counts(3, 1, 2, 1) == await retract(world, "source=s")
    assert [] == await titles(world)


async def test_one_topic_is_retracted_from(autojump_clock, world):
    """With `topic` other mailboxes stay as they are; an `id` is valid within it."""
    item = await publish(world, TO_TOPIC)
    await publish(world, TO_TOPIC)
    await publish(world, TO_ALL)
    await world.notify(source="s")

    assert counts(1, 0, 1, 0) == await retract(world, f"id={item}&topic=team")
    assert counts(0, 0, 0, 0) == await retract(world, f"id={item}&topic=all")
    assert counts(1, 0, 1, 0) == await retract(world, "source=s&topic=team")
    assert {"t", "Hello"} == {*await titles(world)}


@pytest.mark.parametrize("which", [{"source": "s"}, {"key": "k", "category": "c"}])
async def test_scheduled_item_is_changed_before_it_is_due(autojump_clock, world, which):
    """It has the new text when it appears, and its `ttl` counts from then."""
    note = {"source": "s", "key": "k", "category": "c", "at": START + 60}
    item = (await world.notify(**note))["item"]
    request = {"to": {"user": "alice"}, **which, "set": {"title": "new", "ttl": 30}}
    (result,) = body(await post(world.producer, "/v1/update", request))["results"]
    await trio.sleep(61.0)
    (appeared,) = body(await world.user().request("GET", "/v1/items"))["items"]

    assert ([item], 0) == (result["updated"], result["v"])
    assert (item, "new", START + 90) == (
        appeared["id"], appeared["title"], appeared["expires_at"]
    )  # fmt: skip


async def test_update_names_items_of_the_list_and_those_that_wait(
    autojump_clock, world
):
    """One call changes both."""
    times = ({}, {"at": START + 60})
    ids = [(await world.notify(source="s", **at))["item"] for at in times]
    request = {"to": {"user": "alice"}, "source": "s", "set": {"title": "new"}}
    (result,) = body(await post(world.producer, "/v1/update", request))["results"]

    assert ids == result["updated"]


async def test_scheduled_broadcast_is_changed(autojump_clock, world):
    """A topic names what waits in it."""
    item = await publish(world, {**TO_ALL, "at": START + 60})
    request = {"to": {"all": True}, "id": item, "set": {"title": "new"}}
    (result,) = body(await post(world.producer, "/v1/update", request))["results"]
    await trio.sleep(61.0)

    assert [item] == result["updated"]
    assert ["new"] == await titles(world)
