"""`snooze` and `unsnooze` of `POST /v1/ops`: items that the user puts off."""

from __future__ import annotations

import pytest
import trio

from support.service import START, body, data, events_so_far, post

DAY = 86_400


async def ops(world, *operations, expected=200, op_id=None):
    request = {"ops": list(operations)} | ({"op_id": op_id} if op_id else {})
    return body(await post(world.user(), "/v1/ops", request), expected)


async def items(world, state="all"):
    target = f"/v1/items?state={state}"
    return body(await world.user().request("GET", target))["items"]


def snooze(*ids, until):
    return {"snooze": ids, "until": until}


async def test_snoozed_item_is_nowhere_until_its_time(autojump_clock, world):
    """It leaves list and badge, and appears as new: unseen, unread, on top."""
    first = (await world.notify(title="first"))["item"]
    await world.notify(title="second")
    state = await ops(world, {"read": [first]}, snooze(first, until=START + 60))
    assert ["second"] == [item["title"] for item in await items(world)]
    await trio.sleep(59.0)
    assert state["v"] == (await world.badge())["v"]
    await trio.sleep(1.5)
    top, _ = await items(world)

    assert (1, 2) == (state["badge"]["unread"], (await world.badge())["unread"])
    assert (first, 4, START) == (top["id"], top["seq"], top["created_at"])
    assert {"seen": False, "read": False, "archived": False}.items() <= top.items()


async def test_snoozed_state_has_the_time(autojump_clock, world):
    """`state=snoozed` lists what waits with `until`; no other item has it."""
    ids = [(await world.notify())["item"] for _ in range(3)]
    await ops(world, snooze(ids[0], until=START + 90), snooze(ids[2], until=START + 60))
    snoozed, (held,) = await items(world, "snoozed"), await items(world)

    assert [(ids[2], START + 60), (ids[0], START + 90)] == [
        (item["id"], item["until"]) for item in snoozed
    ]
    assert ids[1] == held["id"]
    assert "until" not in held
    await ops(world, snooze(ids[2], until=START + 200))
    assert START + 200 == (await items(world, "snoozed"))[0]["until"]


async def test_stream_says_that_it_was_snoozed_and_that_it_is_back(
    autojump_clock, world
):
    """The reason is `snoozed`; at its time the stream gets an `add`."""
    item = (await world.notify())["item"]
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        await ops(world, snooze(item, until=START + 5))
        (change,) = await events_so_far(stream)
        assert [{"remove": [item], "reason": "snoozed"}] == data(change)["ops"]
        assert 0 == data(change)["badge"]["unread"]
        with trio.fail_after(6.0):
            change = await stream.next_event()

    assert [item] == [op["add"]["id"] for op in data(change)["ops"]]
    assert 1 == data(change)["badge"]["unread"]


async def test_unsnoozed_item_appears_at_once(autojump_clock, world):
    """Each is a version; the stream names the operation that woke it."""
    ids = [(await world.notify())["item"] for _ in range(2)]
    await ops(world, snooze(*ids, until=START + 60))
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        state = await ops(world, {"unsnooze": [*ids, "unknown"]}, op_id="wake")
        changes = [data(event) for event in await events_so_far(stream)]

    assert (5, 2) == (state["v"], state["badge"]["unread"])
    assert [(4, "wake"), (5, "wake")] == [(c["v"], c["op_id"]) for c in changes]
    assert ids == [change["ops"][0]["add"]["id"] for change in changes]
    assert [] == await items(world, "snoozed")


async def test_new_item_of_the_same_key_wakes_it(autojump_clock, world):
    """What is new of a thread replaces the item that sleeps."""
    item = (await world.notify(key="thread", title="old"))["item"]
    await ops(world, snooze(item, until=START + 60))
    await world.notify(key="thread", title="new")
    await trio.sleep(61.0)

    assert ["new"] == [item["title"] for item in await items(world)]
    assert [] == await items(world, "snoozed")


async def test_snoozed_item_expires(autojump_clock, world):
    """An item whose `ttl` runs out while it sleeps does not come back."""
    item = (await world.notify(ttl=30))["item"]
    await ops(world, snooze(item, until=START + 60))
    await trio.sleep(31.0)
    assert [] == await items(world, "snoozed")
    await trio.sleep(30.0)

    assert [] == await items(world)


@pytest.mark.parametrize("op", ["remove", "retract"])
async def test_snoozed_item_is_removed(autojump_clock, world, op):
    """Neither its user nor its producer has to wake it first."""
    item = (await world.notify(source="s"))["item"]
    await ops(world, snooze(item, until=START + 60))
    if op == "remove":
        await ops(world, {"remove": [item]})
    else:
        response = await world.producer.request("DELETE", "/v1/items?source=s")
        assert 1 == body(response)["waiting"]
    await trio.sleep(61.0)

    assert [] == await items(world)


async def test_user_sees_no_scheduled_item(autojump_clock, world):
    """What a producer has scheduled is not snoozed: no operation reaches it."""
    item = (await world.notify(at=START + 60))["item"]
    for op in ({"remove": [item]}, {"unsnooze": [item]}, snooze(item, until=START + 5)):
        await ops(world, op)
    assert [] == await items(world, "snoozed")
    response = await world.user().request("GET", "/v1/items?state=scheduled")
    await trio.sleep(30.0)
    assert [] == await items(world)
    await trio.sleep(31.0)

    assert 422 == response.status
    assert [item] == [each["id"] for each in await items(world)]


BAD = {
    "past": (snooze("i", until=START), "ops[0].until"),
    "too far": (snooze("i", until=START + 366 * DAY + 1), "ops[0].until"),
    "no time": ({"snooze": ["i"]}, "ops[0]"),
    "time alone": ({"until": START + 60}, "ops[0]"),
    "time of another": ({"unsnooze": ["i"], "until": START + 60}, "ops[0]"),
    "negative": (snooze("i", until=-1), "ops[0].until"),
    "text": (snooze("i", until="tomorrow"), "ops[0].until"),
    "two verbs": (snooze("i", until=START + 60) | {"read": ["i"]}, "ops[0]"),
}


@pytest.mark.parametrize(("op", "field"), BAD.values(), ids=BAD)
async def test_bad_time_is_refused(autojump_clock, world, op, field):
    """The time is in the future, at most 366 days ahead."""
    problem = await ops(world, op, expected=422)

    assert [field] == [error["field"] for error in problem["errors"]]


async def test_farthest_time_is_366_days_ahead(autojump_clock, world):
    """Every bad time of a call is named."""
    item = (await world.notify())["item"]
    await ops(world, snooze(item, until=START + 366 * DAY))
    late = snooze(item, until=START - 1)
    problem = await ops(world, late, {"read": [item]}, late, expected=422)

    assert ["ops[0].until", "ops[2].until"] == [e["field"] for e in problem["errors"]]


async def test_repeated_call_has_its_first_response(autojump_clock, world):
    """Also when its time has come meanwhile, and the item is back."""
    item = (await world.notify())["item"]
    first = await ops(world, snooze(item, until=START + 5), op_id="o")
    await trio.sleep(10.0)
    again = await ops(world, snooze(item, until=START + 5), op_id="o")
    other = await ops(world, snooze(item, until=START + 6), op_id="o", expected=409)

    assert first == again
    assert "urn:roundel:problem:key-reused" == other["type"]
    assert [item] == [each["id"] for each in await items(world)]


async def test_full_mailbox_refuses_one_more(autojump_clock, make_world):
    """The call has no effect: all operations or none."""
    world = make_world(mailbox_waiting="2")
    await world.notify(at=START + 60)
    ids = [(await world.notify())["item"] for _ in range(2)]
    problem = await ops(
        world, {"read": ids}, snooze(*ids, until=START + 60), expected=422
    )
    assert "urn:roundel:problem:too-many-waiting" == problem["type"]
    assert 2 == (await world.badge())["unread"]
    await ops(world, snooze(ids[0], until=START + 60))

    assert 1 == (await world.badge())["unread"]
