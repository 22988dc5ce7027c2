"""What a replay says of items that were pulled from a topic and are gone by then."""

from __future__ import annotations

import json

import pytest
import trio

from support.service import START, body, current_cursor, data, post, resume

TEAM = {"topic": "team-7"}
FOLLOWERS = "/v1/topics/team-7/followers"


async def publish(world, **fields) -> str:
    response = body(await post(world.producer, "/v1/notify", {"to": TEAM, **fields}))
    return response["results"][0]["item"]


async def retract(world, item: str) -> None:
    target = f"/v1/items?topic=team-7&id={item}"
    body(await world.producer.request("DELETE", target))


async def expire(world, item: str) -> None:
    await trio.sleep(60)


async def replace(world, item: str) -> None:
    await publish(world, title="newer", key="k", category="c")


async def leave(world, item: str) -> None:
    body(await post(world.producer, FOLLOWERS, {"remove": ["alice"]}))


async def remove(world, item: str) -> None:
    await world.do(remove=[item])


async def snooze(world, item: str) -> None:
    until = START + trio.current_time() + 3_600
    await world.do(snooze=[item], until=until)


ENDINGS = {
    "retracted": retract,
    "expired": expire,
    "replaced": replace,
    "left": leave,
    "removed": remove,
    "snoozed": snooze,
}


@pytest.mark.parametrize("reason", ENDINGS)
async def test_replay_of_an_item_that_is_gone(autojump_clock, world, reason):
    """It has no `add` and no text, only the `remove` with the reason.

    Two clients of one user: the second one is away while the first one gets the item.
    """
    body(await post(world.producer, FOLLOWERS, {"add": ["alice"]}))
    before = await current_cursor(world)
    item = await publish(world, title="secret", key="k", category="c", ttl=30)
    await world.badge()
    await ENDINGS[reason](world, item)
    await world.badge()
    outcome, events = await resume(world, "items", before)
    ops = [op for event in events for op in data(event)["ops"]]

    assert "replayed" == outcome
    assert {"remove": [item], "reason": reason} in ops
    assert item not in [op["add"]["id"] for op in ops if "add" in op]
    assert "secret" not in json.dumps([event.data for event in events])


async def test_replay_of_an_item_that_was_edited(autojump_clock, world):
    """The `add` has the text that the item of the topic has now."""
    body(await post(world.producer, FOLLOWERS, {"add": ["alice"]}))
    before = await current_cursor(world)
    item = await publish(world, title="secret")
    await world.badge()
    changed = {"to": TEAM, "id": item, "set": {"title": "public"}}
    body(await post(world.producer, "/v1/update", changed))
    outcome, events = await resume(world, "items", before)
    ops = [op for event in events for op in data(event)["ops"]]

    assert "replayed" == outcome
    assert ["public", "public"] == [
        (op.get("add") or op["update"])["title"] for op in ops
    ]
    assert "secret" not in json.dumps([event.data for event in events])


async def test_replay_of_a_snoozed_item_that_is_back(autojump_clock, world):
    """The text comes once, with the `add` at which the item appeared again."""
    body(await post(world.producer, FOLLOWERS, {"add": ["alice"]}))
    before = await current_cursor(world)
    item = await publish(world, title="standup")
    await world.badge()
    await world.do(snooze=[item], until=START + trio.current_time() + 60)
    await trio.sleep(90)
    await world.badge()
    outcome, events = await resume(world, "items", before)
    ops = [op for event in events for op in data(event)["ops"]]

    assert "replayed" == outcome
    assert [{"remove": [item], "reason": "snoozed"}] == ops[:-1]
    assert (item, "team-7") == (ops[-1]["add"]["id"], ops[-1]["add"]["topic"])
