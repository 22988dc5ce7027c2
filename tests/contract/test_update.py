"""`POST /v1/update`, and notifications that change or replace items."""

from __future__ import annotations

import pytest
import trio

from support.service import body, data, events_so_far, post


async def update(world, expected=200, *, to="alice", **request):
    request["to"] = {"user": to} if isinstance(to, str) else {"users": to}
    return body(await post(world.producer, "/v1/update", request), expected)


async def items(world, user="alice"):
    return body(await world.user(user).request("GET", "/v1/items?state=all"))["items"]


async def test_item_changes_in_place(autojump_clock, world):
    """An updated item keeps its id, `seq` and flags, and fields that are not named."""
    given = {"body": "b", "url": "/u", "icon": "/i", "data": [1], "source": "s"}
    first = (await world.notify(**given))["item"]
    await world.notify()
    await world.do(read=[first])
    before = (await items(world))[-1]
    await trio.sleep(5.0)
    answer = await update(world, source="s", set={"title": "new", "body": None})
    after = (await items(world))[-1]

    [result] = answer["results"]
    assert ("alice", [first], 4, 1) == (
        result["user"], result["updated"], result["v"], result["badge"]["unread"]
    )  # fmt: skip
    changed = {"title": "new", "body": None, "updated_at": after["updated_at"]}
    assert before | changed == after
    assert 5.0 <= after["updated_at"] - before["created_at"] < 10.0


async def test_update_on_a_stream(autojump_clock, world):
    """A stream gets the whole item, and a replay has the newest text of each step."""
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        cursor = stream.last_event_id
        item = (await world.notify(title="first"))["item"]
        await update(world, id=item, set={"title": "second"})
        _, change = await events_so_far(stream)
    async with world.user().stream(
        "/v1/stream?level=items", headers={"Last-Event-ID": cursor}
    ) as stream:
        _, *replayed = await events_so_far(stream)

    assert [item] == [op["update"]["id"] for op in data(change)["ops"]]
    assert "second" == data(change)["ops"][0]["update"]["title"]
    steps = [data(event)["ops"][0] for event in replayed]
    assert ["add", "update"] == [next(iter(step)) for step in steps]
    assert {"second"} == {next(iter(step.values()))["title"] for step in steps}


SELECTIONS = {
    "source": ({"source": "s"}, [0, 1]),
    "key": ({"key": "k", "category": "a"}, [1]),
    "no match": ({"source": "none"}, []),
    "key of another category": ({"key": "k", "category": "b"}, []),
}


@pytest.mark.parametrize(("which", "expected"), SELECTIONS.values(), ids=SELECTIONS)
async def test_selection(autojump_clock, world, which, expected):
    """Items are selected as by a retraction; no item is no error and no change."""
    ids = [
        (await world.notify(category="a", source="s"))["item"],
        (await world.notify(category="a", source="s", key="k"))["item"],
        (await world.notify(category="b", source="other"))["item"],
    ]
    [result] = (await update(world, **which, set={"title": "new"}))["results"]

    assert [ids[at] for at in expected] == result["updated"]
    assert 3 + bool(expected) == result["v"]


async def test_same_content_is_no_change(autojump_clock, world):
    """An update that changes nothing makes no version; JSON types are told apart."""
    item = (await world.notify(title="t", data={"n": 1}))["item"]
    for same in ({"title": "t"}, {"data": {"n": 1}}, {"ttl": None}):
        [result] = (await update(world, id=item, set=same))["results"]
        assert ([], 1) == (result["updated"], result["v"])
    [result] = (await update(world, id=item, set={"data": {"n": True}}))["results"]

    assert ([item], 2) == (result["updated"], result["v"])


@pytest.mark.parametrize("never", [None, 0])
async def test_expiry_is_set_and_taken_back(autojump_clock, world, never):
    """`ttl` counts from the update, and null and 0 are never."""
    item = (await world.notify(ttl=60))["item"]
    await trio.sleep(50.0)
    await update(world, id=item, set={"ttl": 60})
    await trio.sleep(50.0)
    assert 1 == (await world.badge())["unread"]
    await update(world, id=item, set={"ttl": never})
    await trio.sleep(500.0)
    assert 1 == (await world.badge())["unread"]
    await update(world, id=item, set={"ttl": 1})
    await trio.sleep(1.5)

    assert 0 == (await world.badge())["unread"]


async def test_recipients_are_served_one_by_one(autojump_clock, world):
    """A name that does not fit is a problem of that recipient alone."""
    await world.notify("alice", source="s")
    results = (await update(world, to=["alice", " x"], source="s", set={"title": "n"}))[
        "results"
    ]

    assert 1 == len(results[0]["updated"])
    assert 422 == results[1]["problem"]["status"]
    await update(world, 422, to=" x", source="s", set={"title": "n"})


async def test_item_stays_within_its_size(autojump_clock, world):
    """An update that makes an item too large is 413, and changes nothing."""
    item = (await world.notify(body="b" * 5_000))["item"]
    problem = await update(world, 413, id=item, set={"url": "u" * 5_000})
    assert "expected at most 8192" in problem["detail"]
    await update(world, id=item, set={"url": "u" * 5_000, "body": None})

    assert 2 == (await world.badge())["v"]


BAD = {
    "nothing to set": ({"id": "i", "set": {}}, "set"),
    "no set": ({"id": "i"}, "set"),
    "no selection": ({"set": {"title": "t"}}, "body"),
    "two selections": ({"id": "i", "source": "s", "set": {"title": "t"}}, "body"),
    "key alone": ({"key": "k", "set": {"title": "t"}}, "body"),
    "null": ({"id": None, "set": {"title": "t"}}, "id"),
    "empty title": ({"id": "i", "set": {"title": ""}}, "set.title"),
    "null title": ({"id": "i", "set": {"title": None}}, "set.title"),
    "category": ({"id": "i", "set": {"category": "c"}}, "set"),
    "ttl": ({"id": "i", "set": {"ttl": -1}}, "set.ttl"),
    "deep": ({"id": "i", "set": {"data": [[]]}}, "set.data"),
}


@pytest.mark.parametrize(("request_", "field"), BAD.values(), ids=BAD)
async def test_bad_update_changes_nothing(autojump_clock, world, request_, field):
    """An error names the field."""
    if field == "set.data":
        for _ in range(40):
            request_["set"]["data"] = [request_["set"]["data"]]
    problem = await update(world, 422, **request_)

    assert [field] == [error["field"] for error in problem["errors"]]


async def test_quiet_notification_changes_the_item_of_its_key(autojump_clock, world):
    """A quiet notification keeps the item of its key where it is, read or not."""
    first = await world.notify(key="k", title="1 reply", source="s")
    await world.notify()
    await world.do(read=[first["item"]])
    again = await world.notify(key="k", title="2 replies", quiet=True)
    new = await world.notify(key="other", title="new", quiet=True)
    newest, _, oldest = await items(world)

    assert (first["item"], 4) == (again["item"], again["v"])
    assert (first["item"], "2 replies", 1, True, None) == (
        oldest["id"], oldest["title"], oldest["seq"], oldest["read"], oldest["source"]
    )  # fmt: skip
    assert (new["item"], False) == (newest["id"], newest["read"])


async def test_notification_replaces_an_item_by_id(autojump_clock, world):
    """An item that is replaced goes in the same change, as by a key."""
    first = (await world.notify())["item"]
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        new = await world.notify(replaces=first)
        (change,) = await events_so_far(stream)
    unknown = await world.notify(replaces="unknown")

    remove, add = data(change)["ops"]
    assert {"remove": [first], "reason": "replaced"} == remove
    assert new["item"] == add["add"]["id"]
    assert 2 == unknown["badge"]["unread"]


async def test_quiet_needs_a_key(autojump_clock, world):
    """Without a key there is no item to change."""
    request = {"to": {"user": "alice"}, "title": "t", "quiet": True}
    problem = body(await post(world.producer, "/v1/notify", request), 422)

    assert "expected key with quiet" in problem["detail"]
