"""`POST /v1/notify`, `/v1/batch` and `/v1/update` to a topic, or to all users."""

from __future__ import annotations

import json

import pytest
import trio

from support.service import START, body, post

DAY = 86_400


async def publish(world, expected=200, *, to=None, headers=(), **fields):
    request = {"to": to or {"topic": "team-7"}, "title": "Hello", **fields}
    response = await post(world.producer, "/v1/notify", request, **dict(headers))
    return body(response, expected)


async def to_all(world, **fields):
    return (await publish(world, to={"all": True}, **fields))["results"][0]


async def items(world, user="alice"):
    return body(await world.user(user).request("GET", "/v1/items?state=all"))["items"]


async def titles(world, user="alice"):
    return [item["title"] for item in await items(world, user)]


async def test_broadcast_is_one_write_and_reaches_users_when_they_look(
    autojump_clock, world
):
    """The answer names the topic, and has no badge; each user pulls the item later."""
    first = await to_all(world, title="one")
    second = await to_all(world, title="two")
    stored = await world.service.hub.engine.users(None, 10)

    assert {"topic", "item", "v", "epoch"} == first.keys()
    assert ("all", 1, 2) == (first["topic"], first["v"], second["v"])
    assert first["epoch"] == second["epoch"]
    assert ["#all"] == stored
    for user in ("alice", "bob"):
        assert ["two", "one"] == await titles(world, user)
        assert 2 == (await world.badge(user))["unread"]
    ids = [item["id"] for item in await items(world)]
    assert [second["item"], first["item"]] == ids


async def test_topic_all_and_all_are_the_same(autojump_clock, world):
    """`{"topic": "all"}` and `{"all": true}` name one topic."""
    await to_all(world)
    [result] = (await publish(world, to={"topic": "all"}))["results"]

    assert ("all", 2) == (result["topic"], result["v"])


async def test_topic_that_a_user_does_not_follow_stays_away(autojump_clock, world):
    """A topic reaches its followers only."""
    await publish(world)

    assert [] == await titles(world)


async def test_read_by_one_is_unread_by_the_others(autojump_clock, world):
    """Each user has flags of their own."""
    item = (await to_all(world))["item"]
    await world.do(read=[item])

    assert 0 == (await world.badge())["unread"]
    assert 1 == (await world.badge("bob"))["unread"]


RECIPIENTS = {
    "none": {},
    "user and topic": {"user": "alice", "topic": "t"},
    "topic and all": {"topic": "t", "all": True},
    "not all": {"all": False},
    "no name": {"topic": ""},
    "with #": {"topic": "#t"},
    "with space": {"topic": "a b"},
    "line end": {"topic": "t\n"},
    "65 characters": {"topic": "t" * 65},
}


@pytest.mark.parametrize("to", RECIPIENTS.values(), ids=RECIPIENTS)
async def test_exactly_one_recipient(autojump_clock, world, to):
    """`to` has exactly one of user, users, topic and all, and a valid topic."""
    request = {"to": to, "title": "Hello"}
    problem = body(await post(world.producer, "/v1/notify", request), 422)

    assert ["to"] == [error["field"][:2] for error in problem["errors"]]


async def test_names_of_topics(autojump_clock, world):
    """Topics have 1 to 64 characters of `A-Z a-z 0-9 . _ ~ @ : + -`."""
    for name in ("A", "t" * 64, "a.b_c~d@e:f+g-0"):
        [result] = (await publish(world, to={"topic": name}))["results"]

        assert name == result["topic"]


async def test_items_of_topics_expire(autojump_clock, make_world):
    """Without a `ttl` an item of a topic lives for `ROUNDEL_TOPIC_TTL`, 30 days."""
    for changes, seconds in (({}, 30 * DAY), ({"topic_ttl": "60"}, 60)):
        world = make_world(**changes)
        await to_all(world)
        await to_all(world, ttl=90 * DAY)
        longer, default = await items(world)

        assert seconds == default["expires_at"] - default["created_at"]
        assert 90 * DAY == longer["expires_at"] - longer["created_at"]
    await trio.sleep(60.0)

    assert 1 == (await world.badge())["unread"]


@pytest.mark.parametrize("ttl", [0, 0.5, 90 * DAY + 1, -1])
async def test_bounds_of_ttl(autojump_clock, world, ttl):
    """To a topic `ttl` is 1 second to 90 days; 0, which is never, is refused."""
    for to in ({"topic": "team-7"}, {"all": True}):
        await publish(world, 422, to=to, ttl=ttl)
        update = {"to": to, "source": "s", "set": {"ttl": ttl}}
        assert 422 == (await post(world.producer, "/v1/update", update)).status
    never = {"to": to, "source": "s", "set": {"ttl": None}}

    assert 422 == (await post(world.producer, "/v1/update", never)).status
    await publish(world, ttl=1)
    await publish(world, ttl=None)


async def test_key_replaces_within_the_topic_alone(autojump_clock, world):
    """A broadcast and a personal item of one key never replace each other."""
    await world.notify(title="mine", key="k")
    await to_all(world, title="one", key="k")
    assert ["one", "mine"] == await titles(world)
    await to_all(world, title="two", key="k")
    assert ["two", "mine"] == await titles(world)
    await world.notify(title="again", key="k")

    assert ["again", "two"] == await titles(world)


async def test_quiet_and_replaces_within_the_topic(autojump_clock, world):
    """`quiet` changes the copies in place, `replaces` replaces them."""
    first = (await to_all(world, title="one", key="k"))["item"]
    await world.do(read=[(await items(world))[0]["id"]])
    again = await to_all(world, title="quiet", key="k", quiet=True)
    [copy] = await items(world)

    assert first == again["item"]
    assert ("quiet", True, first) == (copy["title"], copy["read"], copy["id"])
    await to_all(world, title="new", replaces=first)
    [copy] = await items(world)
    assert ("new", False) == (copy["title"], copy["read"])


async def test_idempotency_key_of_a_topic(autojump_clock, world):
    """The same key with the same body has one effect, another body is 409."""
    key = {"Idempotency-Key": "release-7"}
    first = await publish(world, headers=key)
    again = await publish(world, headers=key)
    await publish(world, 409, headers=key, title="other")

    assert first == again
    assert 2 == (await publish(world))["results"][0]["v"]


async def test_update_of_a_topic(autojump_clock, world):
    """An edit of a topic's item is an edit for all who have it, at the same place."""
    item = (await to_all(world, source="s", title="old"))["item"]
    await world.do(read=[(await items(world))[0]["id"]])
    request = {"to": {"all": True}, "source": "s", "set": {"title": "new"}}
    answer = body(await post(world.producer, "/v1/update", request))

    [result] = answer["results"]
    assert {"topic", "updated", "v", "epoch"} == result.keys()
    assert ("all", [item], 2) == (result["topic"], result["updated"], result["v"])
    [copy] = await items(world)
    assert (item, "new", True) == (copy["id"], copy["title"], copy["read"])
    assert ["new"] == await titles(world, "bob")


async def test_topic_holds_a_hundred_items(autojump_clock, make_world):
    """`ROUNDEL_TOPIC_ITEMS` bounds a topic; who missed some is told by `more`."""
    world = make_world(topic_items="3")
    for number in range(5):
        await to_all(world, title=f"{number}")

    assert ["4", "3", "2"] == await titles(world)
    assert (await world.badge())["more"]


async def test_rate_of_topics(autojump_clock, world):
    """A key publishes to topics in bursts of 40, then 10 a second, else 429."""
    for _ in range(40):
        await publish(world)
    request = {"to": {"all": True}, "title": "Hello"}
    response = await post(world.producer, "/v1/notify", request)
    update = {"to": {"all": True}, "source": "s", "set": {"title": "x"}}

    assert (429, "1") == (response.status, response.headers["retry-after"])
    assert 429 == (await post(world.producer, "/v1/update", update)).status
    await world.notify()  # Users have another rate.
    await trio.sleep(0.1)
    await publish(world)
    await publish(world, 429)


async def test_rate_of_topics_is_a_setting_and_of_each_key(autojump_clock, make_world):
    """`ROUNDEL_TOPIC_RATE`; each producer key has its own."""
    other = "another-producer-key-for-tests"
    keys = f"a-producer-key-for-tests,{other}"
    world = make_world(topic_rate="1", producer_keys=keys)
    for _ in range(4):
        await publish(world)
    await publish(world, 429)
    second = world.anonymous.with_headers({"Authorization": f"Bearer {other}"})
    request = {"to": {"topic": "t"}, "title": "Hello"}

    assert 200 == (await post(second, "/v1/notify", request)).status


async def test_batch_waits_for_the_rate_of_topics(autojump_clock, world):
    """Lines of a batch name topics and users; above the rate a batch waits."""
    to_topic = {"to": {"topic": "team-7"}, "title": "Hello"}
    lines = [{**to_topic, "title": f"{n}"} for n in range(50)]
    lines.insert(1, {"to": {"user": "alice"}, "title": "mine"})
    lines.append({"to": {"topic": "#"}, "title": "bad"})
    started = trio.current_time()
    content = "\n".join(map(json.dumps, lines)).encode()
    response = await world.producer.request("POST", "/v1/batch", body=content)
    answers = [json.loads(line) for line in response.body.splitlines()]
    waited = trio.current_time() - started

    assert 0.9 < waited < 1.2
    assert ["team-7", "alice"] == [
        result.get("topic") or result["user"]
        for answer in answers[:2]
        for result in answer["results"]
    ]
    assert list(range(1, 51)) == [
        result["v"]
        for answer in answers[:-1]
        for result in answer["results"]
        if "topic" in result
    ]
    assert 422 == answers[-1]["status"]


async def test_broadcast_is_dated_when_it_was_sent(autojump_clock, world):
    """`created_at` is the time of the publish, not of the pull."""
    await to_all(world)
    await trio.sleep(100.0)
    [item] = await items(world)

    assert START <= item["created_at"] < START + 1


async def test_lines_to_users_do_not_wait_with_lines_to_topics(autojump_clock, world):
    """A line to a user takes effect before later lines wait for the rate of topics."""
    lines = [{"to": {"user": "alice"}, "title": "mine"}]
    lines += [{"to": {"topic": "t"}, "title": "Hello"}] * 60
    content = "\n".join(map(json.dumps, lines)).encode()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: world.producer.request("POST", "/v1/batch", body=content)
        )
        await trio.sleep(0.05)

        assert 1 == (await world.badge())["unread"]


async def test_bad_names_of_users_are_not_charged_as_topics(autojump_clock, world):
    """A user name with # is a problem of that recipient, and no publish to a topic."""
    users = ["alice", *(f"#u{number}" for number in range(60))]
    request = {"to": {"users": users}, "title": "Hello"}
    for _ in range(2):
        answer = body(await post(world.producer, "/v1/notify", request))
        assert 60 == sum("problem" in each for each in answer["results"])
    update = {"to": {"users": users}, "source": "s", "set": {"title": "x"}}
    body(await post(world.producer, "/v1/update", update))

    for _ in range(40):
        await publish(world)
