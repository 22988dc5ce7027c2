"""The contract's model: mailboxes, versions, epochs and badges."""

from __future__ import annotations

import pytest
import trio

from support.service import body, post

# 1. A mailbox holds items in a bounded ring.


async def test_full_mailbox_evicts_the_oldest_item(autojump_clock, make_world):
    """Then the number is a lower bound, until nothing is unread."""
    world = make_world(mailbox_items="2")
    await world.notify()
    await world.notify()
    third = await world.notify()
    read = await world.do(read_all=True, as_of=3)

    assert {"unread": 2, "unseen": 2, "more": True} == third["badge"]
    assert third["v"] == 3
    assert read["badge"]["more"] is False


async def test_mailbox_is_bounded_in_bytes(autojump_clock, make_world):
    """A few large items fill a mailbox as many small ones do."""
    world = make_world(mailbox_bytes="8192")
    for _ in range(3):
        result = await world.notify(body="x" * 4_000)

    assert {"unread": 1, "unseen": 1, "more": True} == result["badge"]


async def test_mailboxes_are_independent(autojump_clock, world):
    """An item of one user is not visible to another."""
    await world.notify("alice", key="k", source="s")
    before = await world.badge("bob")
    await world.notify("alice", key="k", source="s")
    items = body(await world.user("bob").request("GET", "/v1/items"))["items"]

    assert before == await world.badge("bob")
    assert [] == items


# 2. Every visible change makes exactly one version.


async def _replace(world):
    await world.notify(category="a", key="k")


async def _read_many(world):
    await world.do(read_all=True, as_of=99)


async def _archive(world):
    items = body(await world.user().request("GET", "/v1/items"))["items"]
    await world.do(archive=[item["id"] for item in items])


async def _see(world):
    await world.do(seen_upto=99)


async def _retract_many(world):
    await world.producer.request("DELETE", "/v1/items?source=s")


async def _expire_two(world):
    await trio.sleep(101)


async def _set_gauge(world):
    await _gauge(world, {"count": 8, "source_version": 2})


async def _drop_gauge(world):
    await world.producer.request("DELETE", "/v1/users/alice/gauges/cart")


async def _gauge(world, content):
    put = world.producer.with_headers({"Content-Type": "application/json"})
    target = "/v1/users/alice/gauges/cart"
    text = str(content).replace("'", '"').encode()
    return body(await put.request("PUT", target, body=text))


async def _fill(world):
    await world.notify(category="a", key="k", source="s", ttl=100)
    await world.notify(category="b", source="s", ttl=100)
    await world.notify(category="b")
    await _gauge(world, {"count": 7, "source_version": 1})


CHANGES = {
    "replaced": _replace,
    "read": _read_many,
    "seen": _see,
    "archived": _archive,
    "retracted": _retract_many,
    "expired": _expire_two,
    "gauge-set": _set_gauge,
    "gauge-removed": _drop_gauge,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_visible_change_makes_exactly_one_version(autojump_clock, world, change):
    """A change is one version, however many items it has."""
    await _fill(world)
    await change(world)

    assert (await world.badge())["v"] == 5


async def test_eviction_is_a_part_of_the_change_that_caused_it(
    autojump_clock, make_world
):
    """A notification for a full mailbox is one version, with its evictions."""
    world = make_world(mailbox_items="1")
    await world.notify()

    assert (await world.notify())["v"] == 2


async def _read_again(world):
    await world.do(read=["not-there"])


async def _retract_nothing(world):
    await world.producer.request("DELETE", "/v1/items?source=other")


async def _same_gauge(world):
    await _gauge(world, {"count": 7, "source_version": 2})


async def _stale_gauge(world):
    await _gauge(world, {"count": 9, "source_version": 1})


async def _drop_nothing(world):
    await world.producer.request("DELETE", "/v1/users/alice/gauges/other")


async def _disconnect(world):
    await post(world.producer, "/v1/users/alice/disconnect", {})


async def _undo(world):
    (item, *_) = body(await world.user().request("GET", "/v1/items"))["items"]
    ids = [item["id"]]
    ops = {"op_id": "x", "ops": [{"archive": ids}, {"unarchive": ids}]}
    body(await post(world.user(), "/v1/ops", ops))


NO_CHANGES = {
    "unknown-id": _read_again,
    "nothing-retracted": _retract_nothing,
    "same-gauge": _same_gauge,
    "stale-gauge": _stale_gauge,
    "no-gauge": _drop_nothing,
    "disconnect": _disconnect,
    "undone-at-once": _undo,
}


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
async def test_operation_without_effect_makes_no_version(autojump_clock, world, change):
    """An operation without effect makes no version."""
    await _fill(world)
    before = await world.badge()
    await change(world)

    assert before == await world.badge()


# 3. An epoch names an unbroken line of versions.


async def test_epoch_stays_while_versions_increase(autojump_clock, world):
    """No operation in a running service changes the epoch, except deletion."""
    epochs = set()
    for change in CHANGES.values():
        await _fill(world)
        await change(world)
        epochs.add((await world.badge())["epoch"])

    assert len(epochs) == 1


async def test_restarted_memory_engine_begins_another_epoch(autojump_clock, make_world):
    """The memory is lost, so continuity cannot be proven."""
    before = await make_world().notify()
    after = await make_world().notify()

    assert before["v"] == after["v"] == 1
    assert before["epoch"] != after["epoch"]


# 4. The badge is a fold over the items.


async def test_badge_is_what_the_items_and_gauges_add_up_to(autojump_clock, world):
    """Counting the list gives the badge, after any operations."""
    for change in CHANGES.values():
        await _fill(world)
        await change(world)
        listed = await world.user().request("GET", "/v1/items?state=unread&limit=100")
        page = body(listed)
        gauge = page["badge"]["by"].get("cart", {"unread": 0})["unread"]

        assert page["next"] is None
        assert page["badge"]["unread"] == len(page["items"]) + gauge
        assert page["badge"]["unseen"] == sum(not i["seen"] for i in page["items"])


# 5. Whole numbers, and the epoch and version at which they are true.


ANSWERS = {
    "badge": ("GET", "/v1/badge", None),
    "badge-of-user": ("GET", "/v1/users/alice/badge", None),
    "items": ("GET", "/v1/items", None),
    "ops": ("POST", "/v1/ops", b'{"op_id":"a","ops":[{"seen_upto":1}]}'),
    "explain": ("GET", "/v1/users/alice/explain", None),
    "gauge": (
        "PUT",
        "/v1/users/alice/gauges/c",
        b'{"count":1,"source_version":1}',
    ),
    "drop-gauge": ("DELETE", "/v1/users/alice/gauges/c", None),
    "forget": ("DELETE", "/v1/users/alice", None),
}


@pytest.mark.parametrize(("method", "target", "content"), ANSWERS.values(), ids=ANSWERS)
async def test_badge_has_its_epoch_and_version(
    autojump_clock, world, method, target, content
):
    """Every response with a badge has the version at which it is true."""
    await world.notify()
    is_users = target in ("/v1/badge", "/v1/items", "/v1/ops")
    client = world.user() if is_users else world.producer
    document = body(await client.request(method, target, body=content or b""))
    badge = document.get("badge", document)
    now = await world.badge()

    assert now == badge
    assert {"epoch", "v", "unread", "unseen", "more", "by"} == badge.keys()
