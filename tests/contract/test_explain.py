"""`GET /v1/users/{user}/explain`: why a badge is what it is."""

from __future__ import annotations

import pytest
import trio

from support.service import START, body


async def _explain(world, user="alice"):
    return body(await world.producer.request("GET", f"/v1/users/{user}/explain"))


async def test_every_item_is_counted_or_it_is_said_why_not(autojump_clock, world):
    """What counts and what does not are all there is, newest first."""
    read, archived = await world.notify(), await world.notify()
    first, second = await world.notify(), await world.notify()
    await world.do(read=[read["item"]])
    await world.do(archive=[archived["item"]])
    why = await _explain(world)

    assert [second["item"], first["item"]] == [item["id"] for item in why["counted"]]
    assert [(archived["item"], "archived"), (read["item"], "read")] == [
        (item["id"], item["reason"]) for item in why["not_counted"]
    ]


async def test_badge_is_what_the_parts_add_up_to(autojump_clock, world):
    """Counted items and gauges make the number that is explained."""
    await world.notify(category="dm")
    await world.notify(category="dm")
    await world.producer.request(
        "PUT",
        "/v1/users/alice/gauges/cart",
        body=b'{"count":7,"source_version":91}',
    )
    why = await _explain(world)

    assert [{"category": "cart", "count": 7, "source_version": 91}] == why["gauges"]
    assert await world.badge() == why["badge"]
    assert why["badge"]["unread"] == len(why["counted"]) + 7


async def test_last_operations_are_told_with_version_who_and_when(
    autojump_clock, world
):
    """Each change says what did it, newest first; the clock's are changes too."""
    await world.notify(ttl=60)
    await trio.sleep(10)
    await world.do(seen_upto=1)
    await trio.sleep(60)
    why = await _explain(world)

    expiry, *others = why["operations"]
    assert (3, "time", "expire") == (expiry["v"], expiry["by"], expiry["operation"])
    # It is found out when somebody looks, and the audit does so all the time.
    assert START + 60 <= expiry["at"] <= START + 70
    assert [
        (2, "user", "ops", START + 10),
        (1, "producer", "notify", START),
    ] == [(op["v"], op["by"], op["operation"], op["at"]) for op in others]


async def test_operations_tell_what_became_of_each_item(autojump_clock, world):
    """An item that is gone is found in the operation that took it."""
    item = (await world.notify(source="s", key="k"))["item"]
    again = (await world.notify(source="s", key="k"))["item"]
    await world.producer.request("DELETE", "/v1/items?source=s")
    retract, replace, add = (await _explain(world))["operations"]

    assert [{"add": item}] == add["steps"]
    assert [{"remove": [item], "reason": "replaced"}, {"add": again}] == replace[
        "steps"
    ]
    assert [{"remove": [again], "reason": "retracted"}] == retract["steps"]


async def test_operations_are_bounded(autojump_clock, world):
    """The latest fifty are told."""
    for _ in range(60):
        await world.notify(key="k")
    operations = (await _explain(world))["operations"]

    assert list(range(60, 10, -1)) == [operation["v"] for operation in operations]


async def test_explanation_tells_no_text(autojump_clock, world):
    """Who supports users sees why, and not what they were told."""
    told = {"title": "SECRET", "body": "SECRET", "url": "/SECRET", "data": "SECRET"}
    await world.notify(**told)
    answer = await world.producer.request("GET", "/v1/users/alice/explain")

    assert b"SECRET" not in answer.body


async def test_nothing_is_explained_of_an_empty_mailbox(autojump_clock, world):
    """A user that nothing happened to has an explanation all the same."""
    why = await _explain(world)

    assert [[], [], [], []] == [
        why[name] for name in ("counted", "not_counted", "gauges", "operations")
    ]
    assert why["badge"]["unread"] == 0


@pytest.mark.parametrize("user", ["a%20b", "u" * 129, "%0A"])
async def test_bad_user_name_is_422(autojump_clock, world, user):
    """A name that no user can have is refused by its field."""
    answer = await world.producer.request("GET", f"/v1/users/{user}/explain")

    assert ["user"] == [error["field"] for error in body(answer, 422)["errors"]]
