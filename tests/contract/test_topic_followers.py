"""`POST /v1/topics/{topic}/followers` and `GET /v1/users/{user}/topics`."""

from __future__ import annotations

import pytest
import trio

from support.service import START, body, current_cursor, data, post, resume


async def change(world, expected=200, *, topic="team-7", **request):
    target = f"/v1/topics/{topic}/followers"
    return body(await post(world.producer, target, request), expected)


async def publish(world, *, topic="team-7", title="Hello", **fields):
    request = {"to": {"topic": topic}, "title": title, **fields}
    response = body(await post(world.producer, "/v1/notify", request))
    return response["results"][0]["item"]


async def titles(world, user="alice"):
    response = await world.user(user).request("GET", "/v1/items?state=all")
    return [item["title"] for item in body(response)["items"]]


async def topics_of(world, user="alice"):
    response = await world.producer.request("GET", f"/v1/users/{user}/topics")
    return body(response)["topics"]


SINCE = {
    "default": ({}, ["after"]),
    "now": ({"since": "now"}, ["after"]),
    "start": ({"since": "start"}, ["after", "second", "first"]),
    "time": ({"since": START + 5}, ["after", "second"]),
    "future": ({"since": START + 1e6}, []),
}


@pytest.mark.parametrize(("since", "expected"), SINCE.values(), ids=SINCE)
async def test_what_a_new_follower_pulls(autojump_clock, world, since, expected):
    """`now` is what appears later, `start` is everything, a time what is as new."""
    await publish(world, title="first")
    await trio.sleep(10.0)
    await publish(world, title="second")
    answer = await change(world, add=["alice", "bob"], **since)
    await publish(world, title="after")

    assert ["alice", "bob"] == [each["user"] for each in answer["results"]]
    for user in ("alice", "bob"):
        assert expected == await titles(world, user)


async def test_answer_has_the_badge_with_what_was_pulled(autojump_clock, world):
    """Each user has a result with the badge and its version."""
    await publish(world)
    [result] = (await change(world, add=["alice"], since="start"))["results"]
    badge = await world.badge()

    assert ("alice", badge["v"], badge["epoch"]) == (
        result["user"], result["v"], result["epoch"]
    )  # fmt: skip
    assert {"unread": 1, "unseen": 1, "more": False} == result["badge"]


async def test_item_says_its_topic(autojump_clock, world):
    """An item has the `topic` that it was pulled from, others have null."""
    await change(world, add=["alice"])
    item = await publish(world)
    await world.notify()
    response = await world.user().request("GET", "/v1/items")
    mine, pulled = body(response)["items"]

    assert (None, "team-7", item) == (mine["topic"], pulled["topic"], pulled["id"])


async def test_follower_who_is_added_again_goes_on(autojump_clock, world):
    """Nothing comes twice, whatever `since` says."""
    await publish(world, title="before")
    await change(world, add=["alice"])
    await publish(world, title="after")
    [again] = (await change(world, add=["alice"], since="start"))["results"]

    assert ["after"] == await titles(world)
    assert (await world.badge())["v"] == again["v"]


async def test_user_who_leaves_loses_the_items(autojump_clock, world):
    """The items go for the reason `left`, and later ones do not come."""
    await change(world, add=["alice", "bob"])
    item = await publish(world, title="team")
    await world.notify(title="mine")
    assert ["team", "mine"] == sorted(await titles(world), reverse=True)
    cursor = await current_cursor(world)
    await change(world, remove=["alice"])
    await publish(world, title="later")

    assert ["mine"] == await titles(world)
    assert ["later", "team"] == await titles(world, "bob")
    outcome, [change_event] = await resume(world, "items", cursor)
    assert "replayed" == outcome
    [step] = data(change_event)["ops"]
    assert {"remove": [item], "reason": "left"} == step


async def test_add_and_remove_in_one_call(autojump_clock, world):
    """First the users added are answered, then those removed, in their order."""
    await change(world, add=["bob"])
    answer = await change(world, add=["alice", "carol", "alice"], remove=["bob"])

    users = [each["user"] for each in answer["results"]]
    assert ["alice", "carol", "bob"] == users
    assert "team-7" in await topics_of(world)
    assert "team-7" not in await topics_of(world, "bob")


async def test_all_cannot_be_left(autojump_clock, world):
    """To remove a user from `all` is 422, and names what to do."""
    problem = await change(world, 422, topic="all", remove=["alice"])

    assert ["remove"] == [error["field"] for error in problem["errors"]]
    assert "mute" in problem["detail"]


async def test_new_account_is_spared_the_old_announcements(autojump_clock, world):
    """A first look pulls what `all` holds, unless the user was added with `now`."""
    await publish(world, topic="all", title="old")
    await change(world, topic="all", add=["alice"])
    await publish(world, topic="all", title="new")

    assert ["new"] == await titles(world)
    assert ["new", "old"] == await titles(world, "bob")


async def test_bad_names_are_problems_of_their_users(autojump_clock, world):
    """The other users are served; a sole bad name is the problem of the call."""
    answer = await change(world, add=["alice", " bob"], remove=["#c", "dave"])
    problems = [each for each in answer["results"] if "problem" in each]

    assert [" bob", "#c"] == [each["user"] for each in problems]
    fields = [each["problem"]["errors"][0]["field"] for each in problems]
    assert ["add[1]", "remove[0]"] == fields
    assert "team-7" in await topics_of(world)
    assert 422 == (await change(world, 422, add=["#c"]))["status"]


INVALID = {
    "no user": {},
    "empty": {"add": [], "remove": []},
    "too many": {"add": ["a"] * 600, "remove": ["b"] * 401},
    "in both": {"add": ["a"], "remove": ["a"]},
    "bad since": {"add": ["a"], "since": "yesterday"},
    "negative since": {"add": ["a"], "since": -1},
    "since in milliseconds": {"add": ["a"], "since": START * 1_000},
    "unknown field": {"add": ["a"], "users": []},
}


@pytest.mark.parametrize("request_body", INVALID.values(), ids=INVALID)
async def test_invalid_request(autojump_clock, world, request_body):
    """1 to 1,000 users together, each in one list, and a valid `since`."""
    await change(world, 422, **request_body)


async def test_invalid_topic(autojump_clock, world):
    """The name in the path has to fit, too."""
    for topic in ("a%20b", "%23t", "t" * 65):
        problem = await change(world, 422, topic=topic, add=["alice"])
        assert ["topic"] == [error["field"] for error in problem["errors"]]


async def test_a_thousand_users_in_a_call(autojump_clock, world):
    """One call changes up to 1,000 mailboxes."""
    users = [f"u{number}" for number in range(1_000)]
    answer = await change(world, add=users)

    assert users == [each["user"] for each in answer["results"]]


async def test_too_many_topics(autojump_clock, make_world):
    """Above `ROUNDEL_MAX_FOLLOWS` it is 422 `too-many-topics`, of that user alone."""
    world = make_world(max_follows="2")
    for topic in ("a", "b", "a"):
        await change(world, topic=topic, add=["alice"])
    problem = await change(world, 422, topic="c", add=["alice"])
    answer = await change(world, topic="c", add=["alice", "bob"])

    assert "urn:roundel:problem:too-many-topics" == problem["type"]
    assert ["alice"] == [
        each["user"] for each in answer["results"] if "problem" in each
    ]
    await change(world, topic="a", remove=["alice"])
    await change(world, topic="c", add=["alice"])


async def test_default_limit_of_topics(autojump_clock, world):
    """A user can follow 64 topics."""
    for number in range(64):
        await change(world, topic=f"t{number}", add=["alice"])

    await change(world, 422, topic="t64", add=["alice"])


async def test_topics_of_a_user(autojump_clock, world):
    """The list says since when a user follows a topic, and what made it so."""
    assert {"all": {"since": "start", "by": "default"}} == await topics_of(world)
    await change(world, topic="b", add=["alice"], since=START)
    await change(world, topic="a", add=["alice"])
    found = await topics_of(world)

    assert ["a", "all", "b"] == sorted(found)
    assert {"since": "now", "by": "producer"} == found["a"]
    assert {"since": START, "by": "producer"} == found["b"]
    await world.producer.request("DELETE", "/v1/users/alice")
    assert ["all"] == [*await topics_of(world)]


async def test_followers_are_a_matter_of_producers(autojump_clock, world):
    """A user can neither follow nor list topics."""
    target = "/v1/topics/team-7/followers"

    assert 403 == (await post(world.user(), target, {"add": ["alice"]})).status
    response = await world.user().request("GET", "/v1/users/alice/topics")
    assert 403 == response.status


async def test_each_user_of_a_call_is_charged(autojump_clock, make_world):
    """A change of followers costs as much as a notification of the same users."""
    world = make_world(producer_rate="10")
    users = [f"u{number}" for number in range(20)]
    await change(world, add=users)

    await change(world, 429, add=users)
