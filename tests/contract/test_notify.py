"""`POST /v1/notify`: one notification into the mailbox of each recipient."""

from __future__ import annotations

import json

import pytest
import trio

from support.service import START, body, post

NOTE = {"to": {"user": "alice"}, "title": "Hello"}


async def _items(world, user="alice"):
    return body(await world.user(user).request("GET", "/v1/items"))["items"]


async def test_each_recipient_has_a_badge_at_its_version(autojump_clock, world):
    """A call for many has a result for each, in order."""
    await world.notify("bob")
    request = {**NOTE, "to": {"users": ["alice", "bob", "alice"]}}
    alice, bob = body(await post(world.producer, "/v1/notify", request))["results"]

    assert ("alice", 1) == (alice["user"], alice["v"])
    assert {"unread": 1, "unseen": 1, "more": False} == alice["badge"]
    assert ("bob", 2) == (bob["user"], bob["v"])
    assert {"unread": 2, "unseen": 2, "more": False} == bob["badge"]
    assert alice["epoch"] == (await world.badge("alice"))["epoch"]
    assert alice["epoch"] != bob["epoch"]


async def test_result_has_the_contracts_fields(autojump_clock, world):
    """A result has the recipient, the item, and the badge with its version."""
    answer = await post(world.producer, "/v1/notify", NOTE)
    (result,) = body(answer)["results"]

    assert {"results"} == body(answer).keys()
    assert {"user", "item", "v", "epoch", "badge"} == result.keys()
    assert answer.headers["content-type"] == "application/json"


async def test_thousand_recipients_are_notified_in_one_call(autojump_clock, world):
    """The longest list of recipients is accepted, in order."""
    users = [f"u{number}" for number in range(1_000)]
    answer = await post(world.producer, "/v1/notify", {**NOTE, "to": {"users": users}})
    results = body(answer)["results"]

    assert users == [result["user"] for result in results]
    assert {1} == {result["badge"]["unread"] for result in results}
    assert 1_000 == len({result["item"] for result in results})


async def test_result_is_in_the_mailbox_after_the_200(autojump_clock, world):
    """A read after the 200 returns the result."""
    result = await world.notify()
    (item,) = await _items(world)

    assert (result["item"], result["v"]) == (item["id"], item["seq"])


async def test_item_ids_sort_by_time(autojump_clock, world):
    """Ids are ULIDs: 26 of Crockford's digits."""
    ids = []
    for _ in range(5):
        ids.append((await world.notify())["item"])
        await trio.sleep(0.002)

    assert sorted(set(ids)) == ids
    assert all(len(item) == 26 and item.isalnum() for item in ids)


async def test_item_has_the_fields_of_its_notification(autojump_clock, world):
    """All fields of a notification are in its item."""
    given = {
        "category": "mention",
        "title": "Bob mentioned you",
        "body": "…",
        "url": "/t/42",
        "icon": "i.png",
        "key": "thread-42",
        "source": "issue:42",
        "data": {"any": ["json", 1, None]},
    }
    added = await world.notify(ttl=60, **given)
    (item,) = body(await world.user().request("GET", "/v1/items"))["items"]

    assert {
        "id": added["item"],
        "seq": 1,
        **given,
        "created_at": START,
        "expires_at": START + 60,
        "updated_at": None,
        "topic": None,
        "seen": False,
        "read": False,
        "archived": False,
    } == item


async def test_item_has_defaults(autojump_clock, world):
    """A recipient and a title are enough."""
    added = await world.notify()
    (item,) = await _items(world)

    assert {
        "id": added["item"],
        "seq": 1,
        "category": "default",
        "title": "Hello",
        "body": None,
        "url": None,
        "icon": None,
        "key": None,
        "source": None,
        "data": None,
        "created_at": START,
        "expires_at": None,
        "updated_at": None,
        "topic": None,
        "seen": False,
        "read": False,
        "archived": False,
    } == item


DATA = {
    "null": None,
    "false": False,
    "zero": 0,
    "text": "…\n\u2028\x00",
    "list": [1, [2.5, "x"]],
    "object": {"": {"a": {}}},
    "big-int": 2**80,
    "float": -1.5e-300,
    "deep": json.loads('[{"a":' * 16 + "1" + "}]" * 16),
}


@pytest.mark.parametrize("given", DATA.values(), ids=DATA)
async def test_data_is_any_json(autojump_clock, world, given):
    """`data` is returned unchanged."""
    await world.notify(data=given)
    (item,) = await _items(world)

    assert given == item["data"]


DEPTHS = [33, 300, 962, 969, 1_000, 4_000, 30_000]


def nested(depth: int) -> bytes:
    """Return a notification whose `data` has lists in *depth* levels."""
    start = json.dumps({**NOTE, "data": None}).removesuffix("null}")
    return f"{start}{'[' * depth}{']' * depth}}}".encode()


@pytest.mark.parametrize("depth", DEPTHS)
async def test_data_that_is_too_deep_is_422(autojump_clock, world, depth):
    """`data` of more than 32 levels is refused, however deep, by notify and batch."""
    content = nested(depth)
    problem = body(
        await world.producer.request("POST", "/v1/notify", body=content), 422
    )
    lines = content + b"\n" + json.dumps(NOTE).encode()
    batch = await world.producer.request("POST", "/v1/batch", body=lines)
    bad, good = map(json.loads, batch.body.splitlines())

    assert ["data"] == [error["field"] for error in problem["errors"]]
    assert "32 levels" in problem["detail"]
    assert (422, ["data"]) == (bad["status"], [e["field"] for e in bad["errors"]])
    assert 1 == good["results"][0]["badge"]["unread"]


async def test_too_deep_data_is_named_with_other_bad_fields(autojump_clock, world):
    """Each bad field is named, and a deep value elsewhere is not called `data`."""
    deep = json.loads("[" * 33 + "]" * 33)
    bad = {**NOTE, "title": "", "data": {"a": deep}}
    problem = body(await post(world.producer, "/v1/notify", bad), 422)
    ops = b'{"op_id": "o", "ops": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    other = await world.user().request("POST", "/v1/ops", body=ops)

    assert ["title", "data"] == [error["field"] for error in problem["errors"]]
    assert ["body"] == [error["field"] for error in body(other, 422)["errors"]]


CATEGORIES = ["a", "0", "a.b_c-9", "c" * 64, "..", "-"]


@pytest.mark.parametrize("category", CATEGORIES)
async def test_category_is_what_the_badge_counts_by(autojump_clock, world, category):
    """Every valid category is accepted, and is in the badge."""
    await world.notify(category=category)
    badge = await world.badge()

    assert {category: {"unread": 1, "unseen": 1}} == badge["by"]


async def test_key_replaces_the_item_of_its_category_and_key(autojump_clock, world):
    """The new item appears as new; other categories are unchanged."""
    await world.notify(category="a", key="k")
    await world.notify(category="b", key="k")
    await world.do(read_all=True, as_of=2)
    third = await world.notify(category="a", key="k")
    items = body(await world.user().request("GET", "/v1/items"))["items"]

    assert third["badge"]["unread"] == 1
    assert [(4, "a", False), (2, "b", True)] == [
        (item["seq"], item["category"], item["read"]) for item in items
    ]


async def test_archived_item_is_replaced(autojump_clock, world):
    """A new item replaces an archived one, with a new id."""
    first = await world.notify(key="k")
    await world.do(archive=[first["item"]])
    second = await world.notify(key="k", title="Again")
    (item,) = body(await world.user().request("GET", "/v1/items?state=all"))["items"]

    assert (second["item"], "Again", False) == (
        item["id"],
        item["title"],
        item["archived"],
    )
    assert first["item"] != second["item"]


async def test_items_without_a_key_do_not_collapse(autojump_clock, world):
    """A missing key equals no other key."""
    await world.notify()

    assert (await world.notify())["badge"]["unread"] == 2


@pytest.mark.parametrize("ttl", [0.5, 60, 10 * 365 * 86_400])
async def test_ttl_is_in_seconds(autojump_clock, world, ttl):
    """`expires_at` is `created_at` plus the `ttl`."""
    await world.notify(ttl=ttl)
    (item,) = await _items(world)

    assert item["expires_at"] == pytest.approx(START + ttl)


GOOD_USERS = [
    *("a", "A-Z.0_9~@:+", "u" * 255, "..", "null", "auth0|507f", "a/b", "spiffe://a/b"),
    *("o'brien@x.example", "jos\u00e9", "jose\u0301", "{x}", "%2F", "a b", "a\u2028b"),
    "\U0001f600" * 128,
]


@pytest.mark.parametrize("user", GOOD_USERS)
async def test_user_name_within_the_limits_is_accepted(autojump_clock, world, user):
    """Every subject of an identity provider is a name, compared byte for byte."""
    assert user == (await world.notify(user))["user"]
    assert 1 == (await world.badge(user))["unread"]


BAD_NOTES = {
    "unknown-field": ({"titel": "x"}, ["titel"]),
    "no-title": ({"title": ...}, ["title"]),
    "empty-title": ({"title": ""}, ["title"]),
    "title-number": ({"title": 1}, ["title"]),
    "title-null": ({"title": None}, ["title"]),
    "no-recipient": ({"to": ...}, ["to"]),
    "recipient-text": ({"to": "alice"}, ["to"]),
    "both-kinds": ({"to": {"user": "a", "users": ["b"]}}, ["to"]),
    "neither-kind": ({"to": {}}, ["to"]),
    "nobody": ({"to": {"users": []}}, ["to.users"]),
    "too-many": ({"to": {"users": ["u"] * 1_001}}, ["to.users"]),
    "users-text": ({"to": {"users": "alice"}}, ["to.users"]),
    "user-list": ({"to": {"user": ["alice"]}}, ["to.user"]),
    "user-null": ({"to": {"user": None}}, ["to.user"]),
    "user-name": ({"to": {"users": [" b"]}}, ["to.users[0]"]),
    "user-name-twice": ({"to": {"users": ["#b", "#b"]}}, ["to.users[0]"]),
    "user-number": ({"to": {"users": ["a", 7]}}, ["to.users[1]"]),
    "user-line-end": ({"to": {"user": "alice\n"}}, ["to.user"]),
    "user-empty": ({"to": {"user": ""}}, ["to.user"]),
    "user-long": ({"to": {"user": "u" * 256}}, ["to.user"]),
    "user-topic": ({"to": {"user": "#alice"}}, ["to.user"]),
    "user-delete": ({"to": {"user": "a\x7fb"}}, ["to.user"]),
    "unknown-in-to": ({"to": {"user": "a", "x": 1}}, ["to"]),
    "category": ({"category": "Upper"}, ["category"]),
    "category-empty": ({"category": ""}, ["category"]),
    "category-long": ({"category": "c" * 65}, ["category"]),
    "category-line-end": ({"category": "a\n"}, ["category"]),
    "category-comma": ({"category": "a,b"}, ["category"]),
    "category-null": ({"category": None}, ["category"]),
    "body": ({"body": 1}, ["body"]),
    "url": ({"url": []}, ["url"]),
    "icon": ({"icon": True}, ["icon"]),
    "key": ({"key": 42}, ["key"]),
    "key-empty": ({"key": ""}, ["key"]),
    "source": ({"source": {}}, ["source"]),
    "source-empty": ({"source": ""}, ["source"]),
    "ttl-negative": ({"ttl": -1}, ["ttl"]),
    "ttl-text": ({"ttl": "60"}, ["ttl"]),
    "ttl-bool": ({"ttl": True}, ["ttl"]),
    "ttl-far": ({"ttl": 1e12}, ["ttl"]),
    "two": ({"category": "", "body": 1}, ["category", "body"]),
    "all": (
        {"to": 1, "title": 1, "category": 1, "ttl": -1, "nope": 1},
        ["to", "title", "category", "ttl", "nope"],
    ),
}


@pytest.mark.parametrize(("changes", "fields"), BAD_NOTES.values(), ids=BAD_NOTES)
async def test_bad_notification_names_each_field(
    autojump_clock, world, changes, fields
):
    """Every bad field is in one response, and nothing takes effect."""
    note = {k: v for k, v in {**NOTE, **changes}.items() if v is not ...}
    problem = body(await post(world.producer, "/v1/notify", note), 422)

    assert sorted(fields) == sorted(error["field"] for error in problem["errors"])
    assert problem["type"] == "urn:roundel:problem:invalid-request"
    assert (await world.badge())["v"] == 0


UNFIT_NAMES = {
    "empty": "",
    "space-before": " a",
    "space-behind": "a\u00a0",
    "line-end": "a\n",
    "control": "a\x00b",
    "c1-control": "a\x85b",
    "topic": "#a",
    "long": "u" * 256,
    "many-bytes": "\u20ac" * 200,
    "very-long": "u" * 100_000,
}


@pytest.mark.parametrize("name", UNFIT_NAMES.values(), ids=UNFIT_NAMES)
@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "k"}], ids=["plain", "key"])
async def test_bad_name_is_a_problem_of_that_recipient(
    autojump_clock, world, name, key
):
    """A name that does not fit has a problem, and the other users are notified."""
    note = {**NOTE, "to": {"users": ["alice", name, "bob", name, "alice"]}}
    for _ in range(2):
        answer = await post(world.producer, "/v1/notify", note, **key)
        alice, problem, bob = body(answer)["results"]

    assert ("alice", "bob") == (alice["user"], bob["user"])
    assert {"user", "problem"} == problem.keys()
    assert name == problem["user"]
    assert "urn:roundel:problem:invalid-request" == problem["problem"]["type"]
    (error,) = problem["problem"]["errors"]
    assert "to.users[1]" == error["field"]
    assert (1 if key else 2) == (await world.badge("bob"))["v"]


async def test_thousand_users_with_one_bad_name(autojump_clock, world):
    """999 users are notified, in the order given."""
    users = [f"u{number}" for number in range(1_000)]
    users[500] = "#unfit"
    answer = await post(world.producer, "/v1/notify", {**NOTE, "to": {"users": users}})
    results = body(answer)["results"]

    assert users == [result["user"] for result in results]
    assert [500] == [at for at, result in enumerate(results) if "problem" in result]


async def test_all_names_are_bad(autojump_clock, world):
    """Several recipients have a result each, even if none can be served."""
    note = {**NOTE, "to": {"users": ["#a", "", "b\n"]}}
    results = body(await post(world.producer, "/v1/notify", note))["results"]

    assert ["#a", "", "b\n"] == [result["user"] for result in results]
    assert [422] * 3 == [result["problem"]["status"] for result in results]


async def test_bad_name_of_the_only_recipient_uses_no_key(autojump_clock, world):
    """The producer may correct the name and use the same `Idempotency-Key`."""
    statuses = [
        (
            await post(
                world.producer,
                "/v1/notify",
                {**NOTE, "to": {"user": user}},
                **{"Idempotency-Key": "k"},
            )
        ).status
        for user in ("#alice", "alice")
    ]

    assert [422, 200] == statuses


async def test_rejected_request_names_its_bad_names_too(autojump_clock, world):
    """A request that is rejected for another field names each bad field."""
    note = {"to": {"users": ["alice", "#b"]}, "title": ""}
    problem = body(await post(world.producer, "/v1/notify", note), 422)

    assert ["to.users[1]", "title"] == [each["field"] for each in problem["errors"]]
    assert 0 == (await world.badge())["v"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b'{"a":"\\ud800"}', b"[" * 100_000],
    ids=["empty", "cut", "not-utf8", "surrogate", "deep"],
)
async def test_body_that_is_no_json_is_400(autojump_clock, world, content):
    """A body that is not JSON is 400, not 422."""
    answer = await world.producer.request("POST", "/v1/notify", body=content)

    assert body(answer, 400)["type"] == "urn:roundel:problem:malformed-body"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("content", [b"[]", b"null", b'"x"', b"1"])
async def test_body_that_is_no_object_is_422(autojump_clock, world, content):
    """The bad field of a body that is not an object is `body`."""
    answer = await world.producer.request("POST", "/v1/notify", body=content)

    assert ["body"] == [error["field"] for error in body(answer, 422)["errors"]]


async def test_item_above_8_kib_is_413(autojump_clock, world):
    """A large item is rejected."""
    item = await post(world.producer, "/v1/notify", {**NOTE, "body": "x" * 8_200})
    request = await post(world.producer, "/v1/notify", {**NOTE, "body": "x" * 2**20})

    assert "8192" in body(item, 413)["detail"]
    assert body(request, 413)["status"] == 413


@pytest.mark.parametrize("field", ["title", "body", "url", "icon", "source", "data"])
async def test_all_fields_count_against_the_limit(autojump_clock, world, field):
    """The size limit is for the sum of all fields."""
    fits = await post(world.producer, "/v1/notify", {**NOTE, field: "x" * 7_900})
    over = await post(world.producer, "/v1/notify", {**NOTE, field: "x" * 8_193})

    assert (200, 413) == (fits.status, over.status)
    assert (await world.badge())["v"] == 1


async def test_item_is_measured_in_bytes(autojump_clock, world):
    """A character of three bytes counts as three."""
    answer = await post(world.producer, "/v1/notify", {**NOTE, "body": "…" * 2_800})

    assert 413 == answer.status


async def test_recipients_do_not_count_against_the_item(autojump_clock, world):
    """A long list of recipients does not make the item larger."""
    users = [f"{number:0128}" for number in range(100)]
    answer = await post(world.producer, "/v1/notify", {**NOTE, "to": {"users": users}})

    assert 100 == len(body(answer)["results"])


async def test_failed_recipient_has_a_problem(autojump_clock, world):
    """One recipient fails with a problem; the others have their results."""
    for number in range(64):
        await world.notify("bob", category=f"c{number}")
    note = {**NOTE, "category": "new", "to": {"users": ["alice", "bob", "carol"]}}
    alice, bob, carol = body(await post(world.producer, "/v1/notify", note))["results"]

    assert (1, 1) == (alice["v"], carol["v"])
    assert {"user", "problem"} == bob.keys()
    assert ("bob", 422) == (bob["user"], bob["problem"]["status"])
    assert ["category"] == [error["field"] for error in bob["problem"]["errors"]]
    assert (await world.badge("bob"))["v"] == 64


async def test_failure_of_the_only_recipient_is_the_response(autojump_clock, world):
    """The response has the status of the recipient's problem."""
    for number in range(64):
        await world.notify(category=f"c{number}")
    answer = await post(world.producer, "/v1/notify", {**NOTE, "category": "new"})

    assert body(answer, 422)["type"] == "urn:roundel:problem:too-many-categories"
    assert (await world.badge())["v"] == 64
