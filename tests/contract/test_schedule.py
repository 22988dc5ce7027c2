"""`at` of `POST /v1/notify`: an item waits, and appears when its time comes."""

from __future__ import annotations

import json

import pytest
import trio

from support.service import START, body, data, events_so_far, post

NOTE = {"to": {"user": "alice"}, "title": "Hello"}
DAY = 86_400


async def items(world, query="state=all"):
    return body(await world.user().request("GET", f"/v1/items?{query}"))["items"]


async def test_scheduled_item_appears_as_new_at_its_time(autojump_clock, world):
    """Until then it is in no list and in no count; then it is unseen and unread."""
    await world.notify(title="first")
    result = await world.notify(title="later", at=START + 60)
    before = await world.badge(), await items(world)
    await trio.sleep(59.0)
    assert before == (await world.badge(), await items(world))
    await trio.sleep(1.5)
    later, _ = await items(world)

    assert (1, 1) == (result["v"], result["badge"]["unread"])
    assert (result["item"], 2, START + 60) == (
        later["id"], later["seq"], later["created_at"]
    )  # fmt: skip
    assert {"seen": False, "read": False, "archived": False}.items() <= later.items()
    assert 2 == (await world.badge())["unread"]


@pytest.mark.parametrize("level", ["items", "badge"])
async def test_open_stream_has_the_item_at_its_time(autojump_clock, world, level):
    """A stream gets nothing when an item is scheduled, and the item when it is due."""
    async with world.user().stream(f"/v1/stream?level={level}") as stream:
        await events_so_far(stream)
        item = (await world.notify(at=START + 5))["item"]
        assert [] == await events_so_far(stream)
        with trio.fail_after(6.0):
            event = await stream.next_event()

    assert trio.current_time() == pytest.approx(5.0, abs=0.2)
    if level == "badge":
        assert 1 == data(event)["unread"]
    else:
        assert [item] == [op["add"]["id"] for op in data(event)["ops"]]


async def test_ttl_counts_from_the_appearance(autojump_clock, world):
    """An item with a `ttl` of 10 that appears after 100 seconds expires after 110."""
    await world.notify(at=START + 100, ttl=10)
    await trio.sleep(105.0)
    (item,) = await items(world)
    await trio.sleep(6.0)

    assert START + 110 == item["expires_at"]
    assert [] == await items(world)


@pytest.mark.parametrize("at", [0, START - DAY, START, None])
async def test_time_of_the_past_is_now(autojump_clock, world, at):
    """An item with such a time appears at once, and was sent now."""
    result = await world.notify(at=at, ttl=60)
    (item,) = await items(world)

    assert 1 == result["badge"]["unread"]
    assert (START, START + 60) == (item["created_at"], item["expires_at"])


async def test_time_is_at_most_366_days_ahead(autojump_clock, world):
    """A later time is a bad field, alone and in a line of a batch."""
    farthest = {**NOTE, "at": START + 366 * DAY}
    too_far = {**NOTE, "at": START + 366 * DAY + 1}
    body(await post(world.producer, "/v1/notify", farthest))
    problem = body(await post(world.producer, "/v1/notify", too_far), 422)
    lines = "\n".join(map(json.dumps, [too_far, farthest])).encode()
    batch = await world.producer.request("POST", "/v1/batch", body=lines)
    first, second = map(json.loads, batch.body.splitlines())

    error = {"field": "at", "detail": "expected at most 366 days ahead"}
    assert ([error], [error]) == (problem["errors"], first["errors"])
    assert "alice" == second["results"][0]["user"]


BAD = {
    "negative": ({"at": -1}, "at"),
    "text": ({"at": "tomorrow"}, "at"),
    "bool": ({"at": True}, "at"),
    "quiet": ({"at": START + 60, "quiet": True, "key": "k"}, "body"),
}


@pytest.mark.parametrize(("fields", "field"), BAD.values(), ids=BAD)
async def test_bad_time_is_refused(autojump_clock, world, fields, field):
    """The error names the field; `quiet` changes an item now, so it has no `at`."""
    problem = body(await post(world.producer, "/v1/notify", {**NOTE, **fields}), 422)

    assert [field] == [error["field"] for error in problem["errors"]]
    if field == "body":
        assert "expected no at with quiet" in problem["detail"]


async def test_line_of_a_batch_is_scheduled(autojump_clock, world):
    """Each line has a time of its own."""
    lines = [{**NOTE, "title": str(n), "at": START + 10 * n} for n in range(3)]
    content = "\n".join(map(json.dumps, lines)).encode()
    await world.producer.request("POST", "/v1/batch", body=content)
    shown = []
    for _ in range(3):
        shown.append([item["title"] for item in await items(world)])
        await trio.sleep(10.5)

    assert [["0"], ["1", "0"], ["2", "1", "0"]] == shown


async def test_repeated_call_schedules_once(autojump_clock, world):
    """The same `Idempotency-Key` has one item, also after its time has come."""
    answers = []
    for _ in range(3):
        response = await post(
            world.producer,
            "/v1/notify",
            {**NOTE, "at": START + 60},
            **{"Idempotency-Key": "k"},
        )
        answers.append(body(response))
        await trio.sleep(50.0)

    assert [answers[0]] * 3 == answers
    assert 1 == len(await items(world))


async def test_key_replaces_a_scheduled_item(autojump_clock, world):
    """A newer item of the same key takes the place of one that waits."""
    await world.notify(key="k", title="old", at=START + 60)
    await world.notify(key="k", title="new", at=START + 90)
    await world.notify(key="other", title="now")
    await trio.sleep(61.0)
    assert ["now"] == [item["title"] for item in await items(world)]
    await trio.sleep(30.0)

    assert ["new", "now"] == [item["title"] for item in await items(world)]


async def test_full_mailbox_refuses_what_would_wait(autojump_clock, make_world):
    """Beyond the limit a recipient has a problem; what appears now is accepted."""
    world = make_world(mailbox_waiting="2")
    for _ in range(2):
        await world.notify(at=START + 60)
    note = {**NOTE, "at": START + 60}
    alone = body(await post(world.producer, "/v1/notify", note), 422)
    both = {**note, "to": {"users": ["alice", "bob"]}}
    alice, bob = body(await post(world.producer, "/v1/notify", both))["results"]

    assert "urn:roundel:problem:too-many-waiting" == alone["type"]
    assert "expected at most 2 items that wait" in alone["detail"]
    assert alone == alice["problem"]
    assert "problem" not in bob
    assert 1 == (await world.notify())["v"]
    await trio.sleep(61.0)
    await world.notify(at=START + 120)
    assert 3 == (await world.badge())["unread"]


async def test_hundred_items_may_wait_by_default(autojump_clock, world):
    """The hundredth is accepted, and one more is not."""
    for _ in range(100):
        await world.notify(at=START + 60)
    answer = await post(world.producer, "/v1/notify", {**NOTE, "at": START + 60})

    assert 422 == answer.status


async def test_full_topic_refuses_what_would_wait(autojump_clock, make_world):
    """A topic has the same limit as the mailbox of a user."""
    world = make_world(mailbox_waiting="1")
    note = {"to": {"topic": "team"}, "title": "t", "at": START + 60}
    body(await post(world.producer, "/v1/notify", note))
    problem = body(await post(world.producer, "/v1/notify", note), 422)

    assert "urn:roundel:problem:too-many-waiting" == problem["type"]


async def test_scheduled_broadcast_appears_at_its_time(autojump_clock, world):
    """An open page has it in moments, and a user who comes later too."""
    note = {"to": {"all": True}, "title": "t", "at": START + 10}
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        await post(world.producer, "/v1/notify", note)
        assert [] == await events_so_far(stream)
        with trio.fail_after(12.0):
            change = data(await stream.next_event())
    (late,) = body(await world.user("bob").request("GET", "/v1/items"))["items"]

    assert trio.current_time() == pytest.approx(10.0, abs=2.0)
    assert ["all"] == [op["add"]["topic"] for op in change["ops"]]
    assert ("t", START + 10) == (late["title"], late["created_at"])


async def test_waiting_items_have_a_limit_of_bytes(autojump_clock, make_world):
    """An update that makes them too large is refused, and changes nothing."""
    world = make_world(mailbox_bytes="9000")
    for _ in range(2):
        item = (await world.notify(body="b" * 4_000, at=START + 60))["item"]
    full = {**NOTE, "body": "b" * 4_000, "at": START + 60}
    refused = await post(world.producer, "/v1/notify", full)
    update = {"to": NOTE["to"], "id": item, "set": {"body": "b" * 5_000}}
    problem = body(await post(world.producer, "/v1/update", update), 422)
    await trio.sleep(61.0)

    assert 422 == refused.status
    assert "urn:roundel:problem:too-many-waiting" == problem["type"]
    assert [4_000] * 2 == [len(each["body"]) for each in await items(world)]
