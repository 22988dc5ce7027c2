"""`GET /v1/users/{user}/explain`: the parts of a badge and the latest operations."""

from __future__ import annotations

import pytest
import trio

from support.service import START, body


async def _explain(world, user="alice"):
    return body(await world.producer.request("GET", f"/v1/users/{user}/explain"))


async def test_every_item_is_counted_or_has_a_reason(autojump_clock, world):
    """Counted and other items are all items, newest first."""
    read, archived = await world.notify(), await world.notify()
    first, second = await world.notify(), await world.notify()
    await world.do(read=[read["item"]])
    await world.do(archive=[archived["item"]])
    found = await _explain(world)

    assert [second["item"], first["item"]] == [item["id"] for item in found["counted"]]
    assert [(archived["item"], "archived"), (read["item"], "read")] == [
        (item["id"], item["reason"]) for item in found["not_counted"]
    ]


async def test_badge_is_what_the_parts_add_up_to(autojump_clock, world):
    """Counted items and gauges add up to the badge."""
    await world.notify(category="dm")
    await world.notify(category="dm")
    await world.producer.request(
        "PUT",
        "/v1/users/alice/gauges/cart",
        body=b'{"count":7,"source_version":91}',
    )
    found = await _explain(world)

    assert [{"category": "cart", "count": 7, "source_version": 91}] == found["gauges"]
    assert await world.badge() == found["badge"]
    assert found["badge"]["unread"] == len(found["counted"]) + 7


async def test_operations_have_version_author_and_time(autojump_clock, world):
    """Each change names its operation, newest first; expiry is a change too."""
    await world.notify(ttl=60)
    await trio.sleep(10)
    await world.do(seen_upto=1)
    await trio.sleep(60)
    found = await _explain(world)

    expiry, *others = found["operations"]
    assert (3, "time", "expire") == (expiry["v"], expiry["by"], expiry["operation"])
    # The expiry is applied when the mailbox is read; the audit reads it constantly.
    assert START + 60 <= expiry["at"] <= START + 70
    assert [
        (2, "user", "ops", START + 10),
        (1, "producer", "notify", START),
    ] == [(op["v"], op["by"], op["operation"], op["at"]) for op in others]


async def test_operations_name_removed_items(autojump_clock, world):
    """A removed item is named by the operation that removed it."""
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
    """The latest 50 operations are listed."""
    for _ in range(60):
        await world.notify(key="k")
    operations = (await _explain(world))["operations"]

    assert list(range(60, 10, -1)) == [operation["v"] for operation in operations]


async def test_explanation_has_no_text(autojump_clock, world):
    """The explanation contains no text of an item."""
    secret = {"title": "SECRET", "body": "SECRET", "url": "/SECRET", "data": "SECRET"}
    await world.notify(**secret)
    answer = await world.producer.request("GET", "/v1/users/alice/explain")

    assert b"SECRET" not in answer.body


async def test_empty_mailbox_has_an_explanation(autojump_clock, world):
    """A user without items has an explanation too."""
    found = await _explain(world)

    assert [[], [], [], []] == [
        found[name] for name in ("counted", "not_counted", "gauges", "operations")
    ]
    assert found["badge"]["unread"] == 0


@pytest.mark.parametrize("user", ["%20a", "u" * 256, "%0A"])
async def test_bad_user_name_is_422(autojump_clock, world, user):
    """An invalid user name is rejected, by its field."""
    answer = await world.producer.request("GET", f"/v1/users/{user}/explain")

    assert ["user"] == [error["field"] for error in body(answer, 422)["errors"]]
