"""`GET` and `DELETE /v1/topics/{topic}`, and its explanation."""

from __future__ import annotations

import pytest
import trio

from support.service import START, body, current_cursor, data, post, resume

URL = "/v1/topics/team-7"


async def publish(world, *, topic="team-7", title="Hello", **fields):
    request = {"to": {"topic": topic}, "title": title, **fields}
    response = body(await post(world.producer, "/v1/notify", request))
    return response["results"][0]["item"]


async def follow(world, *users, topic="team-7"):
    request = {"add": users, "since": "start"}
    body(await post(world.producer, f"/v1/topics/{topic}/followers", request))


async def read(world, query=""):
    return body(await world.producer.request("GET", f"{URL}{query}"))


async def titles(world, user="alice"):
    response = await world.user(user).request("GET", "/v1/items?state=all")
    return [item["title"] for item in body(response)["items"]]


async def test_topic_that_was_never_used_is_empty(autojump_clock, world):
    """Reading a topic creates none."""
    topic = await read(world)
    again = await read(world)
    deleted = body(await world.producer.request("DELETE", URL))

    assert ("team-7", 0, [], [], None) == (
        topic["topic"], topic["v"], topic["items"], topic["waiting"], topic["next"]
    )  # fmt: skip
    assert topic == again
    assert (0, 0, 0, topic["epoch"]) == (
        deleted["removed"], deleted["waiting"], deleted["v"], deleted["epoch"]
    )  # fmt: skip
    assert [] == await world.service.hub.engine.users(None, 10)


async def test_pages_of_a_topic(autojump_clock, world):
    """The items are newest first; `next` is the `before` of the next page."""
    for number in range(5):
        await publish(world, title=f"{number}")
    found, query = [], "?limit=2"
    while True:
        page = await read(world, query)
        found.append([item["title"] for item in page["items"]])
        if page["next"] is None:
            break
        query = f"?limit=2&before={page['next']}"

    assert [["4", "3"], ["2", "1"], ["0"]] == found
    assert 5 == page["v"]


async def test_topic_has_what_waits(autojump_clock, world):
    """Items with `at` are in `waiting`, the earliest first, until their time comes."""
    for title, at in (("later", 200), ("soon", 100)):
        await publish(world, title=title, at=START + at)
    page = await read(world)

    assert [] == page["items"]
    assert [("soon", START + 100), ("later", START + 200)] == [
        (item["title"], item["until"]) for item in page["waiting"]
    ]
    await trio.sleep(150.0)
    page = await read(world)
    assert ["soon"] == [item["title"] for item in page["items"]]
    assert ["later"] == [item["title"] for item in page["waiting"]]


async def test_expired_items_are_gone(autojump_clock, world):
    """A topic is read as of now."""
    await publish(world, ttl=10)
    await trio.sleep(20.0)

    assert [] == (await read(world))["items"]


async def test_delete_takes_everything_back(autojump_clock, world):
    """All who pulled the items lose them as retracted; what waits is cancelled."""
    await follow(world, "alice", "bob")
    items = [await publish(world), await publish(world)]
    await publish(world, at=START + 100)
    await world.notify(title="mine")
    cursor = await current_cursor(world)
    answer = body(await world.producer.request("DELETE", URL))
    after = await read(world)

    assert {"topic": "team-7", "removed": 2, "waiting": 1} == {
        name: answer[name] for name in ("topic", "removed", "waiting")
    }
    assert (answer["epoch"], answer["v"]) == (after["epoch"], after["v"])
    assert ([], []) == (after["items"], after["waiting"])
    assert ["mine"] == await titles(world)
    assert [] == await titles(world, "bob")
    _, [change] = await resume(world, "items", cursor)
    [step] = data(change)["ops"]
    assert (items, "retracted") == (step["remove"], step["reason"])


async def test_followers_stay_when_a_topic_is_emptied(autojump_clock, world):
    """The topic goes on in its epoch, and what comes later reaches its followers."""
    await follow(world, "alice")
    await publish(world, title="old")
    before = await read(world)
    await world.producer.request("DELETE", URL)
    await publish(world, title="new")

    assert ["new"] == await titles(world)
    assert before["epoch"] == (await read(world))["epoch"]


async def test_explanation_of_a_topic(autojump_clock, world):
    """It has the items without text, and the last operations."""
    item = await publish(world, title="secret text", source="s")
    request = {"to": {"topic": "team-7"}, "source": "s", "set": {"title": "secret 2"}}
    await post(world.producer, "/v1/update", request)
    response = await world.producer.request("GET", f"{URL}/explain")
    explanation = body(response)

    assert [item] == [each["id"] for each in explanation["counted"]]
    operations = explanation["operations"]
    assert [(2, "update"), (1, "notify")] == [
        (each["v"], each["operation"]) for each in operations
    ]
    assert b"secret" not in response.body


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", URL), ("DELETE", URL), ("GET", f"{URL}/explain")],
)
async def test_topics_are_a_matter_of_producers(autojump_clock, world, method, path):
    """A user cannot read a topic, and its name is checked."""
    assert 403 == (await world.user().request(method, path)).status
    assert 401 == (await world.anonymous.request(method, path)).status
    bad = path.replace("team-7", "team%207")
    problem = body(await world.producer.request(method, bad), 422)
    assert ["topic"] == [error["field"] for error in problem["errors"]]


@pytest.mark.parametrize("query", ["?limit=0", "?limit=101", "?before=-1", "?x=1"])
async def test_bad_query(autojump_clock, world, query):
    """The parameters of a page are checked."""
    assert 422 == (await world.producer.request("GET", f"{URL}{query}")).status
