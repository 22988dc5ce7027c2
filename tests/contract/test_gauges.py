"""Gauges: categories whose count another database owns."""

from __future__ import annotations

import json

import pytest

from support.service import body

CART = "/v1/users/alice/gauges/cart"


async def _set(world, count, source_version, target=CART):
    document = {"count": count, "source_version": source_version}
    answer = await world.producer.request(
        "PUT", target, body=json.dumps(document).encode()
    )
    return body(answer)


async def test_gauge_counts_into_unread_and_has_no_items(autojump_clock, world):
    """The count is in the sum and under its category."""
    await world.notify(category="dm")
    answer = await _set(world, 7, 91)
    badge = await world.badge()
    items = body(await world.user().request("GET", "/v1/items"))["items"]

    assert (True, 91) == (answer["applied"], answer["source_version"])
    assert (8, 1) == (badge["unread"], badge["unseen"])
    assert {"unread": 7, "unseen": 0} == badge["by"]["cart"]
    assert ["dm"] == [item["category"] for item in items]


async def test_gauge_adds_to_the_items_of_its_category(autojump_clock, world):
    """A category may have items and a gauge."""
    await world.notify(category="cart")
    await _set(world, 2, 1)

    assert {"cart": {"unread": 3, "unseen": 1}} == (await world.badge())["by"]


async def test_newer_source_version_sets_another_count(autojump_clock, world):
    """A write has the whole count: counts are never added."""
    await _set(world, 7, 91)
    await _set(world, 3, 92)

    assert (await world.badge())["unread"] == 3


@pytest.mark.parametrize("stale", [92, 91, 0], ids=["same", "older", "zero"])
async def test_source_version_that_is_not_newer_is_ignored(
    autojump_clock, world, stale
):
    """Reordered writes end with the newest; `applied` is false for an ignored one."""
    await _set(world, 7, 92)
    answer = await _set(world, 3, stale)

    assert (False, 92) == (answer["applied"], answer["source_version"])
    assert (await world.badge())["unread"] == 7


async def test_gauge_of_zero_is_not_in_the_badge(autojump_clock, world):
    """A category without unread items is left out."""
    await _set(world, 7, 1)
    await _set(world, 0, 2)
    badge = await world.badge()

    assert (0, {}) == (badge["unread"], badge["by"])


async def test_delete_removes_the_gauge(autojump_clock, world):
    """A removed gauge counts nothing, and can be set again."""
    await _set(world, 7, 91)
    answer = body(await world.producer.request("DELETE", CART))
    again = await _set(world, 1, 1)

    assert (2, 0) == (answer["v"], answer["badge"]["unread"])
    assert again["applied"]
    assert (await world.badge())["unread"] == 1


async def test_delete_of_no_gauge_changes_nothing(autojump_clock, world):
    """Removing a gauge twice is no error."""
    answer = body(await world.producer.request("DELETE", CART))

    assert (0, 0) == (answer["v"], answer["badge"]["unread"])


async def test_reading_all_leaves_the_gauge(autojump_clock, world):
    """Only the producer changes a gauge."""
    await world.notify()
    await _set(world, 7, 1)

    assert (await world.do(read_all=True, as_of=99))["badge"]["unread"] == 7


async def test_gauge_belongs_to_one_user(autojump_clock, world):
    """Gauges of the same category of two users are independent."""
    await _set(world, 7, 91)
    answer = await _set(world, 3, 1, "/v1/users/bob/gauges/cart")

    assert answer["applied"]
    assert (7, 3) == (
        (await world.badge("alice"))["unread"],
        (await world.badge("bob"))["unread"],
    )


BAD = {
    "empty": (b"{}", ["count", "source_version"]),
    "no-version": (b'{"count":1}', ["source_version"]),
    "negative": (b'{"count":-1,"source_version":1}', ["count"]),
    "fraction": (b'{"count":1.5,"source_version":1}', ["count"]),
    "text": (b'{"count":"1","source_version":1}', ["count"]),
    "bool": (b'{"count":true,"source_version":1}', ["count"]),
    "unsafe": (b'{"count":9007199254740992,"source_version":1}', ["count"]),
    "version": (b'{"count":1,"source_version":-1}', ["source_version"]),
    "unknown": (b'{"count":1,"source_version":1,"delta":1}', ["delta"]),
}


@pytest.mark.parametrize(("content", "fields"), BAD.values(), ids=BAD)
async def test_bad_gauge_names_each_field(autojump_clock, world, content, fields):
    """A count is an integer that every client can represent."""
    answer = await world.producer.request("PUT", CART, body=content)

    assert fields == [error["field"] for error in body(answer, 422)["errors"]]
    assert (await world.badge())["v"] == 0


PATHS = {
    "category": ("/v1/users/alice/gauges/Cart", ["category"]),
    "category-long": (f"/v1/users/alice/gauges/{'c' * 65}", ["category"]),
    "user": ("/v1/users/%20b/gauges/cart", ["user"]),
    "both": ("/v1/users/%20b/gauges/%C3%A9", ["user", "category"]),
}


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(("target", "fields"), PATHS.values(), ids=PATHS)
async def test_bad_path_names_the_parameter(
    autojump_clock, world, method, target, fields
):
    """Path parameters are validated like fields."""
    content = b'{"count":1,"source_version":1}'
    answer = await world.producer.request(method, target, body=content)

    assert fields == [error["field"] for error in body(answer, 422)["errors"]]


async def test_gauge_too_many_is_422(autojump_clock, world):
    """Gauges and items share the limit of categories."""
    for number in range(64):
        await world.notify(category=f"c{number}")
    content = b'{"count":1,"source_version":1}'
    answer = await world.producer.request("PUT", CART, body=content)

    assert ["category"] == [error["field"] for error in body(answer, 422)["errors"]]
    assert (await _set(world, 1, 1, "/v1/users/alice/gauges/c0"))["applied"]
