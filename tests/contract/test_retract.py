"""`DELETE /v1/items`: retract items by source or by key."""

from __future__ import annotations

import pytest

from support.service import body


async def _retract(world, query):
    return body(await world.producer.request("DELETE", f"/v1/items?{query}"))


def counts(removed, users):
    return {"removed": removed, "users": users, "topics": 0, "waiting": 0}


async def test_source_is_retracted_from_every_mailbox(autojump_clock, world):
    """Only the items of the source are removed, and counted."""
    for user in ("alice", "alice", "bob"):
        await world.notify(user, source="issue:42")
    await world.notify("alice", source="issue:43")
    await world.notify("carol")
    answer = await _retract(world, "source=issue:42")

    assert counts(3, 2) == answer
    assert (1, 0, 1) == (
        (await world.badge("alice"))["unread"],
        (await world.badge("bob"))["unread"],
        (await world.badge("carol"))["unread"],
    )


async def test_key_is_retracted_within_its_category(autojump_clock, world):
    """The same key in another category stays."""
    await world.notify("alice", category="a", key="k")
    await world.notify("alice", category="b", key="k")
    await world.notify("bob", category="a", key="k")
    answer = await _retract(world, "key=k&category=a")

    assert counts(2, 2) == answer
    assert {"b": {"unread": 1, "unseen": 1}} == (await world.badge())["by"]


@pytest.mark.parametrize("query", ["source=s", "key=k&category=a"])
async def test_user_restricts_it_to_one_mailbox(autojump_clock, world, query):
    """With `user`, other mailboxes are unchanged."""
    for user in ("alice", "bob"):
        await world.notify(user, source="s", category="a", key="k")
    answer = await _retract(world, f"{query}&user=bob")

    assert counts(1, 1) == answer
    assert (1, 0) == (
        (await world.badge("alice"))["unread"],
        (await world.badge("bob"))["unread"],
    )


async def test_one_item_is_retracted_by_its_id(autojump_clock, world):
    """The id of an item is valid in the mailbox of one user."""
    item, other = [(await world.notify())["item"] for _ in range(2)]
    bobs = (await world.notify("bob"))["item"]

    assert counts(0, 0) == await _retract(world, f"id={bobs}&user=alice")
    assert counts(1, 1) == await _retract(world, f"id={item}&user=alice")
    assert counts(0, 0) == await _retract(world, f"id={item}&user=alice")
    assert counts(1, 1) == await _retract(world, f"id={other}&user=alice")
    assert (0, 1) == (
        (await world.badge("alice"))["unread"],
        (await world.badge("bob"))["unread"],
    )


async def test_nothing_to_retract_is_no_error(autojump_clock, world):
    """A second retraction removes nothing."""
    await world.notify(source="s")
    await _retract(world, "source=s")

    assert counts(0, 0) == await _retract(world, "source=s")
    assert counts(0, 0) == await _retract(world, "source=s&user=nobody")


async def test_read_and_archived_items_are_retracted_too(autojump_clock, world):
    """The flags of an item do not matter."""
    read, archived = await world.notify(source="s"), await world.notify(source="s")
    await world.do(read=[read["item"]])
    await world.do(archive=[archived["item"]])

    assert counts(2, 1) == await _retract(world, "source=s")


async def test_source_is_taken_literally(autojump_clock, world):
    """A query is decoded once; a source is not a pattern."""
    await world.notify(source="a%&=*+ é")
    await world.notify(source="aX")

    assert 0 == (await _retract(world, "source=a*"))["removed"]
    assert 1 == (await _retract(world, "source=a%25%26%3D*%2B%20%C3%A9"))["removed"]


BAD = {
    "nothing": ("", ["query"]),
    "user-only": ("user=alice", ["query"]),
    "key-only": ("key=k", ["query"]),
    "category-only": ("category=a", ["query"]),
    "both": ("source=s&key=k&category=a", ["query"]),
    "source-and-key": ("source=s&key=k", ["query"]),
    "source-empty": ("source=", ["source"]),
    "key-empty": ("key=&category=a", ["key"]),
    "category": ("key=k&category=A", ["category"]),
    "user": ("source=s&user=%20a", ["user"]),
    "user-empty": ("source=s&user=", ["user"]),
    "unknown": ("source=s&users=a", ["users"]),
    "id-of-all": ("id=x", ["query"]),
    "user-and-topic": ("source=s&user=a&topic=t", ["query"]),
    "topic": ("source=s&topic=%23t", ["topic"]),
    "id-and-source": ("id=x&source=s&user=a", ["query"]),
    "id-and-key": ("id=x&key=k&category=a&user=a", ["query"]),
    "id-empty": ("id=&user=a", ["id"]),
    "id-long": (f"id={'x' * 65}&user=a", ["id"]),
    "twice": ("source=s&source=t", ["source"]),
}


@pytest.mark.parametrize(("query", "fields"), BAD.values(), ids=BAD)
async def test_bad_query_retracts_nothing(autojump_clock, world, query, fields):
    """An ambiguous query is rejected, by its field."""
    await world.notify(source="s", category="a", key="k")
    answer = await world.producer.request("DELETE", f"/v1/items?{query}")

    assert fields == [error["field"] for error in body(answer, 422)["errors"]]
    assert (await world.badge())["unread"] == 1
