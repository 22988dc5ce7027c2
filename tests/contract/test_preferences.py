"""Preferences: what a user has muted counts nowhere, and stays in the list."""

from __future__ import annotations

import json

import pytest
import trio

from support.service import (
    body,
    current_cursor,
    data,
    events_so_far,
    first_events,
    post,
    resume,
)

OWN = "/v1/preferences"
OF_ALICE = "/v1/users/alice/preferences"
NOTHING = {"muted": {"categories": [], "topics": []}}


async def put(client, document, target=OWN, **headers):
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return await client.request("PUT", target, body=content, headers=headers)


async def mute(world, *categories, topics=()):
    """Mute these names as alice, and no others; return the response."""
    muted = {"categories": categories, "topics": topics}
    return body(await put(world.user(), {"muted": muted}))


async def set_gauge(world, category, count, source_version=1):
    content = json.dumps({"count": count, "source_version": source_version}).encode()
    target = f"/v1/users/alice/gauges/{category}"
    return body(await world.producer.request("PUT", target, body=content))


# The document


@pytest.mark.parametrize(("role", "target"), [("user", OWN), ("producer", OF_ALICE)])
async def test_nothing_is_muted_at_first(autojump_clock, world, role, target):
    """A user whom the service does not know has muted nothing."""
    client = world.user() if role == "user" else world.producer

    assert NOTHING == body(await client.request("GET", target))
    assert 0 == (await world.badge())["v"]


@pytest.mark.parametrize("writer", ["user", "producer"])
async def test_both_roles_have_the_same_document(autojump_clock, world, writer):
    """What one role has set, the other one reads."""
    calls = {"user": (world.user(), OWN), "producer": (world.producer, OF_ALICE)}
    document = {"muted": {"categories": ["news"], "topics": ["team-7"]}}
    client, target = calls.pop(writer)
    body(await put(client, document, target))
    (reader, other) = calls.popitem()[1]

    assert document == body(await client.request("GET", target))
    assert document == body(await reader.request("GET", other))


async def test_put_answers_like_every_write(autojump_clock, world):
    """The answer has the preferences, and the badge at its epoch and version."""
    await world.notify(category="news")
    answer = await mute(world, "news")
    badge = await world.badge()

    assert {"categories": ["news"], "topics": []} == answer["muted"]
    assert badge == answer["badge"]
    assert (badge["epoch"], 2, 0) == (answer["epoch"], answer["v"], badge["unread"])


async def test_names_are_folded_and_sorted(autojump_clock, world):
    """Duplicates are one name, and the answer is in order of the characters."""
    answer = await mute(world, "b", "a", "b", topics=["z", "B", "z"])

    assert {"categories": ["a", "b"], "topics": ["B", "z"]} == answer["muted"]


async def test_put_replaces_what_was_muted_before(autojump_clock, world):
    """A name that is not given any more is unmuted."""
    await mute(world, "news", topics=["team-7"])
    answer = body(await put(world.user(), {"muted": {"categories": ["dm"]}}))

    assert {"categories": ["dm"], "topics": []} == answer["muted"]


async def test_same_preferences_make_no_version(autojump_clock, world):
    """A write without a change is no change; the order of names does not matter."""
    first = await mute(world, "a", "b")
    again = await mute(world, "b", "a")

    assert (1, 1) == (first["v"], again["v"])


async def test_name_that_nothing_has_can_be_muted(autojump_clock, world):
    """A category is muted before its first item arrives."""
    await mute(world, "news")
    await world.notify(category="news")

    assert 0 == (await world.badge())["unread"]


async def test_64_names_of_each_can_be_muted(autojump_clock, world):
    """The bound is 64 categories and 64 topics."""
    names = [f"n{number:02}" for number in range(64)]

    answer = await mute(world, *names, topics=names)

    assert {"categories": names, "topics": names} == answer["muted"]


_65 = [f"n{number}" for number in range(65)]
BAD = {
    "empty": ({}, ["muted"]),
    "null": ({"muted": None}, ["muted"]),
    "category": ({"muted": {"categories": ["News"]}}, ["muted.categories[0]"]),
    "second": ({"muted": {"categories": ["a", ""]}}, ["muted.categories[1]"]),
    "number": ({"muted": {"topics": [1]}}, ["muted.topics[0]"]),
    "topic": ({"muted": {"topics": ["#all"]}}, ["muted.topics[0]"]),
    "line-end": ({"muted": {"topics": ["all\n"]}}, ["muted.topics[0]"]),
    "long": ({"muted": {"topics": ["t" * 65]}}, ["muted.topics[0]"]),
    "text": ({"muted": {"categories": "news"}}, ["muted.categories"]),
    "categories": ({"muted": {"categories": _65}}, ["muted.categories"]),
    "topics": ({"muted": {"topics": _65}}, ["muted.topics"]),
    "unknown": ({"muted": {"users": ["bob"]}}, ["muted"]),
    "unknown-beside": ({"muted": {}, "v": 1}, ["v"]),
}


@pytest.mark.parametrize("role", ["user", "producer"])
@pytest.mark.parametrize(("document", "fields"), BAD.values(), ids=BAD)
async def test_bad_preferences_name_the_field(
    autojump_clock, world, role, document, fields
):
    """A 422 names each bad field, and the preferences stay."""
    await mute(world, "news")
    of_user = role == "user"
    client = world.user() if of_user else world.producer
    answer = await put(client, document, OWN if of_user else OF_ALICE)

    assert fields == [error["field"] for error in body(answer, 422)["errors"]]
    assert 1 == (await world.badge())["v"]


# Who may call


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_each_role_has_its_own_path(autojump_clock, world, method):
    """A user reads and writes the own preferences only; a producer names the user."""
    content = json.dumps(NOTHING).encode() if method == "PUT" else b""
    wrong = [(world.user(), OF_ALICE), (world.producer, OWN)]
    found = [await c.request(method, target, body=content) for c, target in wrong]
    nothing = [
        await world.anonymous.request(method, target, body=content)
        for target in (OWN, OF_ALICE)
    ]

    assert [403, 403] == [answer.status for answer in found]
    assert [401, 401] == [answer.status for answer in nothing]


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("cross-site", 403)]
)
async def test_write_by_cookie_needs_the_own_origin(
    autojump_clock, world, site, status
):
    """A foreign page cannot mute anything with the cookie of a browser."""
    token = world.service.authenticator.sign("alice", ttl=60)
    fields = {"Cookie": f"roundel={token}", "Sec-Fetch-Site": site}
    document = {"muted": {"categories": ["news"]}}
    answer = await put(world.anonymous, document, **fields)

    assert status == answer.status
    assert (1 if status == 200 else 0) == (await world.badge())["v"]


async def test_preferences_of_one_user_are_not_anothers(autojump_clock, world):
    """Preferences belong to the user, whatever the device."""
    await mute(world, "news")

    assert NOTHING == body(await world.user("bob").request("GET", OWN))


async def test_bad_name_in_the_path(autojump_clock, world):
    """The user's name is checked like in every call."""
    for answer in (
        await world.producer.request("GET", "/v1/users/%20b/preferences"),
        await put(world.producer, NOTHING, "/v1/users/%20b/preferences"),
    ):
        assert ["user"] == [error["field"] for error in body(answer, 422)["errors"]]


# What is muted counts nowhere


async def test_muted_category_counts_neither_items_nor_its_gauge(autojump_clock, world):
    """Items and the gauge of the category are in no number, until it is unmuted."""
    await world.notify(category="news")
    await world.notify(category="dm")
    await set_gauge(world, "news", 7)
    before = await world.badge()
    await mute(world, "news")
    muted = await world.badge()
    await mute(world)
    after = await world.badge()

    assert (9, 2) == (before["unread"], before["unseen"])
    assert (1, 1) == (muted["unread"], muted["unseen"])
    assert {"dm": {"unread": 1, "unseen": 1}} == muted["by"]
    assert {**before, "v": 5} == after


async def follow(world, topic="team-7"):
    """Let alice follow the topic."""
    request = {"add": ["alice"], "since": "start"}
    body(await post(world.producer, f"/v1/topics/{topic}/followers", request))


async def publish(world, to, **fields):
    request = {"to": to, "title": "Hello", **fields}
    return body(await post(world.producer, "/v1/notify", request))["results"][0]


@pytest.mark.parametrize("to", [{"topic": "team-7"}, {"all": True}])
async def test_muted_topic_counts_nowhere(autojump_clock, world, to):
    """Items of the topic are listed and not counted; personal ones still are."""
    await follow(world)
    sent = await publish(world, to, category="news")
    own = await world.notify(category="news")
    before = await world.badge()
    answer = await mute(world, topics=[to.get("topic", "all")])
    listed = body(await world.user().request("GET", "/v1/items?state=unread"))
    await publish(world, to, category="news")
    after = await world.badge()

    assert (2, 1) == (before["unread"], answer["badge"]["unread"])
    assert [own["item"], sent["item"]] == [each["id"] for each in listed["items"]]
    assert {"news": {"unread": 1, "unseen": 1}} == after["by"]
    assert (1, 2) == (after["unread"], (await unmuted(world))["unread"] - 1)


async def unmuted(world):
    return (await mute(world))["badge"]


async def test_muted_topic_is_silent_at_level_badge(autojump_clock, world):
    """A broadcast that counts nothing is a change of the list alone."""
    await follow(world)
    await mute(world, topics=["team-7"])
    async with (
        world.user().stream("/v1/stream?level=badge") as badge,
        world.user().stream("/v1/stream?level=items") as items,
    ):
        await first_events(badge)
        await first_events(items)
        sent = await publish(world, {"topic": "team-7"})
        (change,) = await events_so_far(items)

        assert [] == await events_so_far(badge)
        assert sent["item"] == data(change)["ops"][0]["add"]["id"]
        assert 0 == data(change)["badge"]["unread"]


async def test_mute_ends_no_subscription(autojump_clock, world):
    """A user who mutes a topic still follows it."""
    await follow(world)
    await mute(world, topics=["team-7"])
    followed = body(await world.producer.request("GET", "/v1/users/alice/topics"))

    assert "team-7" in followed["topics"]


async def test_muted_items_stay_in_the_list(autojump_clock, world):
    """Items of a muted category are listed, and can be read."""
    await mute(world, "news")
    item = await world.notify(category="news")
    listed = body(await world.user().request("GET", "/v1/items?state=unread"))
    read = await world.do(read=[item["item"]])

    assert [item["item"]] == [each["id"] for each in listed["items"]]
    assert 0 == listed["badge"]["unread"] == item["badge"]["unread"]
    assert 3 == read["v"]


async def test_eviction_of_muted_items_is_not_more(autojump_clock, make_world):
    """Nothing that counted was evicted, so the number is no lower bound."""
    world = make_world(mailbox_items="2")
    await mute(world, "news")
    for _ in range(4):
        await world.notify(category="news")
    await world.notify(category="dm")
    badge = await world.badge()

    assert (1, False) == (badge["unread"], badge["more"])


@pytest.mark.parametrize("level", ["badge", "items"])
async def test_streams_get_a_mute(autojump_clock, world, level):
    """Open streams of both levels get the new badge; the change has no ops."""
    await world.notify(category="news")
    async with world.user().stream(f"/v1/stream?level={level}") as stream:
        await first_events(stream)
        await mute(world, "news")
        (muted,) = await events_so_far(stream)
        await mute(world)
        (unmuted,) = await events_so_far(stream)

    documents = [data(muted), data(unmuted)]
    if level == "items":
        assert [[], []] == [each["ops"] for each in documents]
        documents = [each["badge"] for each in documents]
    assert [(2, 0), (3, 1)] == [(each["v"], each["unread"]) for each in documents]


async def test_stream_of_items_gets_every_mute(autojump_clock, world):
    """A mute that leaves the number is a version too: another tab shows it."""
    cursor = await current_cursor(world)
    async with world.user().stream("/v1/stream?level=items") as stream:
        await first_events(stream)
        await mute(world, "news")
        received = await events_so_far(stream)
    outcome, replayed = await resume(world, "items", cursor)

    assert [1] == [data(each)["v"] for each in received]
    assert ("replayed", [1]) == (outcome, [data(each)["v"] for each in replayed])


async def test_filtered_stream_has_only_what_is_not_muted(autojump_clock, world):
    """A filter narrows the badge; it shows nothing that is muted."""
    await world.notify(category="news")
    await world.notify(category="dm")
    await mute(world, "news")
    async with world.user().stream("/v1/stream?categories=news,dm") as stream:
        badge = data((await first_events(stream))[1])

    assert {"dm": {"unread": 1, "unseen": 1}} == badge["by"]


async def test_snapshot_has_the_item_and_not_the_count(autojump_clock, world):
    """A snapshot lists what is muted, beside a badge that leaves it out."""
    await mute(world, "news")
    item = await world.notify(category="news")
    async with world.user().stream("/v1/stream?level=items") as stream:
        snapshot = data((await first_events(stream))[1])

    assert [item["item"]] == [each["id"] for each in snapshot["items"]]
    assert (0, {}) == (snapshot["badge"]["unread"], snapshot["badge"]["by"])


async def test_long_poll_ends_with_a_mute(autojump_clock, world, nursery):
    """A poll is answered when something is muted or unmuted."""
    await world.notify(category="news")
    badge, answers = await world.badge(), []

    async def poll():
        known = {"If-None-Match": f'"{badge["epoch"]}.{badge["v"]}"'}
        target = "/v1/badge?wait=60"
        answers.append(await world.user().request("GET", target, headers=known))

    nursery.start_soon(poll)
    await trio.testing.wait_all_tasks_blocked()
    await mute(world, "news")
    await trio.testing.wait_all_tasks_blocked()

    assert [(2, 0)] == [(body(a)["v"], body(a)["unread"]) for a in answers]


@pytest.mark.parametrize(("role", "by"), [("user", "user"), ("producer", "producer")])
async def test_explanation_says_who_muted(autojump_clock, world, role, by):
    """The operation of a mute has its author, and no steps."""
    if role == "user":
        await mute(world, "news")
    else:
        await put(world.producer, {"muted": {"categories": ["news"]}}, OF_ALICE)
    answer = await world.producer.request("GET", "/v1/users/alice/explain")
    (operation,) = body(answer)["operations"]

    assert ("mute", by, []) == (
        operation["operation"], operation["by"], operation["steps"],
    )  # fmt: skip


async def test_deleted_user_has_muted_nothing(autojump_clock, world):
    """Preferences are forgotten with the user."""
    await mute(world, "news")
    await world.producer.request("DELETE", "/v1/users/alice")

    assert NOTHING == body(await world.user().request("GET", OWN))


# A badge of some categories


async def test_badge_of_some_categories(autojump_clock, world):
    """`categories` narrows the numbers; the version and the entity tag are the same."""
    for category in ("a", "a", "b", "c"):
        await world.notify(category=category)
    whole = await world.user().request("GET", "/v1/badge")
    for client, target in (
        (world.user(), "/v1/badge"),
        (world.producer, "/v1/users/alice/badge"),
    ):
        answer = await client.request("GET", f"{target}?categories=a,c,x")
        badge = body(answer)

        assert (4, 3, 3) == (badge["v"], badge["unread"], badge["unseen"])
        assert {"a", "c"} == badge["by"].keys()
        assert whole.headers["etag"] == answer.headers["etag"]


async def test_filtered_badge_leaves_out_what_is_muted(autojump_clock, world):
    """A filter does not unmute."""
    await world.notify(category="news")
    await mute(world, "news")
    answer = await world.user().request("GET", "/v1/badge?categories=news")

    assert 0 == body(answer)["unread"]


async def test_filtered_badge_is_304_at_the_same_version(autojump_clock, world):
    """The entity tag is that of the mailbox: a 304 whatever the filter."""
    await world.notify(category="a")
    tag = (await world.user().request("GET", "/v1/badge")).headers["etag"]
    answer = await world.user().request(
        "GET", "/v1/badge?categories=b", headers={"If-None-Match": tag}
    )

    assert 304 == answer.status


async def test_filtered_poll_ends_with_a_change_of_its_categories(
    autojump_clock, world, nursery
):
    """Other categories do not end a poll; a change of its own ones does."""
    tag = (await world.user().request("GET", "/v1/badge")).headers["etag"]
    answers = []

    async def poll():
        target = "/v1/badge?categories=a&wait=60"
        headers = {"If-None-Match": tag}
        answer = await world.user().request("GET", target, headers=headers)
        answers.append((trio.current_time(), body(answer)["unread"]))

    nursery.start_soon(poll)
    await trio.sleep(1)
    await world.notify(category="b")
    await trio.sleep(1)
    assert [] == answers
    await world.notify(category="a")
    await trio.testing.wait_all_tasks_blocked()

    assert [(2, 1)] == answers


async def test_filtered_poll_without_a_change_has_the_newer_version(
    autojump_clock, world, nursery
):
    """After the wait the client learns the version up to which nothing was missed."""
    tag = (await world.user().request("GET", "/v1/badge")).headers["etag"]
    answers = []

    async def poll():
        target = "/v1/badge?categories=a&wait=5"
        headers = {"If-None-Match": tag}
        answers.append(await world.user().request("GET", target, headers=headers))

    nursery.start_soon(poll)
    await trio.sleep(1)
    await world.notify(category="b")
    await trio.sleep(5)

    assert [(1, 0)] == [(body(a)["v"], body(a)["unread"]) for a in answers]


@pytest.mark.parametrize("value", ["", "A", "a,", "a,,b", "a b"])
async def test_bad_filter_names_the_parameter(autojump_clock, world, value):
    """A category that cannot exist is an error, not an empty badge."""
    for client, target in (
        (world.user(), "/v1/badge"),
        (world.producer, "/v1/users/alice/badge"),
    ):
        answer = await client.request("GET", f"{target}?categories={value}")
        errors = body(answer, 422)["errors"]

        assert ["categories"] == [error["field"] for error in errors]
