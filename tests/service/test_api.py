"""The plain calls of the HTTP contract, section by section, on virtual time."""

from __future__ import annotations

import json

import pytest
import trio

from .conftest import KEY, START, body, post

NOTE = {"to": {"user": "alice"}, "title": "Hello"}


# Producer: POST /v1/notify


async def test_notify_answers_each_recipient_with_the_badge_at_its_version(
    autojump_clock, world
):
    """One call to many gives a result for each, in their order."""
    await world.notify("bob")
    request = {**NOTE, "to": {"users": ["alice", "bob", "alice"]}}
    alice, bob = body(await post(world.producer, "/v1/notify", request))["results"]

    assert ("alice", 1) == (alice["user"], alice["v"])
    assert {"unread": 1, "unseen": 1, "more": False} == alice["badge"]
    assert ("bob", 2) == (bob["user"], bob["v"])
    assert {"unread": 2, "unseen": 2, "more": False} == bob["badge"]
    assert alice["epoch"] == (await world.badge("alice"))["epoch"]
    assert alice["epoch"] != bob["epoch"]


async def test_item_is_told_as_it_was_given(autojump_clock, world):
    """All fields of a notification come back in its item, with their defaults."""
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
        "seen": False,
        "read": False,
        "archived": False,
    } == item


async def test_key_replaces_the_item_of_its_category_and_key(autojump_clock, world):
    """A collapsing item appears as new, and only among its own category."""
    await world.notify(category="a", key="k")
    await world.notify(category="b", key="k")
    await world.do(read_all=True, as_of=2)
    third = await world.notify(category="a", key="k")
    items = body(await world.user().request("GET", "/v1/items"))["items"]

    assert third["badge"]["unread"] == 1
    assert [(4, "a", False), (2, "b", True)] == [
        (item["seq"], item["category"], item["read"]) for item in items
    ]


async def test_full_mailbox_evicts_the_oldest_and_says_there_is_more(
    autojump_clock, make_world
):
    """The number of a full mailbox is a lower bound, until nothing is unread."""
    world = make_world(mailbox_items="2")
    await world.notify()
    await world.notify()
    third = await world.notify()
    read = await world.do(read_all=True, as_of=3)

    assert {"unread": 2, "unseen": 2, "more": True} == third["badge"]
    assert third["v"] == 3
    assert read["badge"]["more"] is False


async def test_mailbox_is_bounded_in_bytes(autojump_clock, make_world):
    """Few large items fill a mailbox as well as many small ones."""
    world = make_world(mailbox_bytes="8192")
    for _ in range(3):
        result = await world.notify(body="x" * 4_000)

    assert {"unread": 1, "unseen": 1, "more": True} == result["badge"]


BAD_NOTES = {
    "unknown-field": ({"titel": "x"}, ["titel"]),
    "no-title": ({"title": ...}, ["title"]),
    "empty-title": ({"title": ""}, ["title"]),
    "no-recipient": ({"to": ...}, ["to"]),
    "both-kinds": ({"to": {"user": "a", "users": ["b"]}}, ["to"]),
    "neither-kind": ({"to": {}}, ["to"]),
    "nobody": ({"to": {"users": []}}, ["to.users"]),
    "too-many": ({"to": {"users": ["u"] * 1_001}}, ["to.users"]),
    "user-name": ({"to": {"users": ["a", "b c"]}}, ["to.users[1]"]),
    "user-line-end": ({"to": {"user": "alice\n"}}, ["to.user"]),
    "user-long": ({"to": {"user": "u" * 129}}, ["to.user"]),
    "unknown-in-to": ({"to": {"user": "a", "x": 1}}, ["to"]),
    "category": ({"category": "Upper"}, ["category"]),
    "category-long": ({"category": "c" * 65}, ["category"]),
    "ttl-zero": ({"ttl": 0}, ["ttl"]),
    "ttl-text": ({"ttl": "60"}, ["ttl"]),
    "two": ({"category": "", "body": 1}, ["category", "body"]),
}


@pytest.mark.parametrize(("changes", "fields"), BAD_NOTES.values(), ids=BAD_NOTES)
async def test_bad_notification_is_answered_field_by_field(
    autojump_clock, world, changes, fields
):
    """Every bad field is named in one answer, and nothing takes effect."""
    note = {k: v for k, v in {**NOTE, **changes}.items() if v is not ...}
    problem = body(await post(world.producer, "/v1/notify", note), 422)

    assert sorted(fields) == sorted(error["field"] for error in problem["errors"])
    assert problem["type"] == "urn:roundel:problem:invalid-request"
    assert (await world.badge())["v"] == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b'{"a":"\\ud800"}', b"[" * 100_000],
    ids=["empty", "cut", "not-utf8", "surrogate", "deep"],
)
async def test_body_that_is_no_json_is_400(autojump_clock, world, content):
    """What is no JSON at all is told apart from JSON that is wrong."""
    answer = await world.producer.request("POST", "/v1/notify", body=content)

    assert body(answer, 400)["type"] == "urn:roundel:problem:malformed-body"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_item_over_8_kib_is_413(autojump_clock, world):
    """One item cannot fill a mailbox, nor one body the memory."""
    item = await post(world.producer, "/v1/notify", {**NOTE, "body": "x" * 8_200})
    request = await post(world.producer, "/v1/notify", {**NOTE, "body": "x" * 2**20})

    assert "8192" in body(item, 413)["detail"]
    assert body(request, 413)["status"] == 413


async def test_idempotency_key_is_refused_while_it_is_not_kept(autojump_clock, world):
    """A promise that cannot be kept is not given by silence."""
    answer = await post(world.producer, "/v1/notify", NOTE, **{"Idempotency-Key": "a"})

    assert body(answer, 422)["errors"][0]["field"] == "Idempotency-Key"


# User: GET /v1/badge


async def test_badge_is_counted_by_category(autojump_clock, world):
    """The badge is whole: all unread, and each category that has any."""
    await world.notify(category="mention")
    await world.notify(category="mention")
    await world.do(seen_upto=1)
    dm = await world.notify(category="dm")
    await world.notify(category="gone")
    await world.do(read_upto=5, category="gone")
    badge = await world.badge()

    assert {
        "epoch": dm["epoch"],
        "v": 6,
        "unread": 3,
        "unseen": 2,
        "more": False,
        "by": {
            "mention": {"unread": 2, "unseen": 1},
            "dm": {"unread": 1, "unseen": 1},
        },
    } == badge


async def test_badge_that_is_known_is_304(autojump_clock, world):
    """The entity tag is EPOCH.V, strong, and saves the body."""
    await world.notify()
    alice = world.user()
    first = await alice.request("GET", "/v1/badge")
    tag = first.headers["etag"]
    again = await alice.request("GET", "/v1/badge", headers={"If-None-Match": tag})
    await world.notify()
    later = await alice.request("GET", "/v1/badge", headers={"If-None-Match": tag})

    assert tag == f'"{body(first)["epoch"]}.1"'
    assert (304, b"", tag) == (again.status, again.body, again.headers["etag"])
    assert body(later)["v"] == 2


async def test_wait_holds_the_answer_until_the_badge_changes(autojump_clock, world):
    """A long poll returns with the change, or after its time with 304."""
    alice = world.user()
    tag = (await alice.request("GET", "/v1/badge")).headers["etag"]
    waiting = {"If-None-Match": tag}
    answers = []

    async def poll() -> None:
        answers.append(await alice.request("GET", "/v1/badge?wait=60", headers=waiting))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await trio.sleep(30)
        await world.notify()

    assert trio.current_time() == pytest.approx(30)
    assert body(answers[0])["v"] == 1

    waiting["If-None-Match"] = answers[0].headers["etag"]
    await poll()
    assert answers[1].status == 304
    assert trio.current_time() == pytest.approx(90)


# User: GET /v1/items


async def test_items_are_paged_newest_first_and_true_at_their_cursor(
    autojump_clock, world
):
    """Pages meet without a gap, and say from where a stream may go on."""
    for number in range(5):
        await world.notify(title=str(number))
    alice = world.user()
    first = body(await alice.request("GET", "/v1/items?limit=2"))
    second = body(await alice.request("GET", f"/v1/items?before={first['next']}"))

    assert ["4", "3"] == [item["title"] for item in first["items"]]
    assert ["2", "1", "0"] == [item["title"] for item in second["items"]]
    assert second["next"] is None
    assert first["badge"] == await world.badge()
    target = f"/v1/stream?level=items&cursor={first['cursor']}"
    async with alice.stream(target) as stream:
        assert json.loads((await stream.next_event()).data)["resume"] == "current"


STATES = {
    "unread": ["3"],
    "active": ["3", "2"],
    "archived": ["1"],
    "all": ["3", "2", "1"],
}


@pytest.mark.parametrize(("state", "titles"), STATES.items(), ids=STATES)
async def test_items_are_listed_by_state(autojump_clock, world, state, titles):
    """Active, the default, is what is not archived."""
    archived = await world.notify(title="1")
    read = await world.notify(title="2")
    await world.notify(title="3")
    await world.do(archive=[archived["item"]])
    await world.do(read=[read["item"]])
    answer = await world.user().request("GET", f"/v1/items?state={state}")

    assert titles == [item["title"] for item in body(answer)["items"]]


async def test_items_are_listed_by_category(autojump_clock, world):
    """A category's list is just what its count is of."""
    await world.notify(title="1", category="a")
    await world.notify(title="2", category="b")
    answer = await world.user().request("GET", "/v1/items?category=b")

    assert ["2"] == [item["title"] for item in body(answer)["items"]]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "before=-1", "state=new", "page=2"]
)
async def test_bad_items_query_is_named(autojump_clock, world, query):
    """A query out of bounds is refused by its name."""
    answer = await world.user().request("GET", f"/v1/items?{query}")

    assert query.partition("=")[0] == body(answer, 422)["errors"][0]["field"]


# User: POST /v1/ops


async def test_read_all_never_touches_what_came_after_as_of(autojump_clock, world):
    """Marking all swallows nothing that its user could not see."""
    await world.notify()
    await world.notify()
    answer = await world.do(read_all=True, as_of=1)

    assert answer["badge"]["unread"] == 1
    assert answer["v"] == 3


async def test_operations_of_a_call_are_one_change(autojump_clock, world):
    """All operations of a call make one version together."""
    one, two = await world.notify(), await world.notify()
    ops = [{"read": [one["item"]]}, {"archive": [two["item"]]}, {"seen_upto": 2}]
    request = {"op_id": "a", "ops": ops}
    answer = body(await post(world.user(), "/v1/ops", request))

    assert answer["v"] == 3
    assert answer["badge"]["unread"] == 0


async def test_read_can_be_taken_back(autojump_clock, world):
    """Unread and unarchive undo, and what was seen stays seen."""
    item = (await world.notify())["item"]
    await world.do(read=[item])
    await world.do(archive=[item])
    await world.do(unread=[item])
    answer = await world.do(unarchive=[item])

    assert (1, 0) == (answer["badge"]["unread"], answer["badge"]["unseen"])


async def test_operation_that_changes_nothing_makes_no_version(autojump_clock, world):
    """Reading twice, or what is not there, is no change."""
    item = (await world.notify())["item"]
    first = await world.do(read=[item])
    again = await world.do(read=[item, "not-there"])

    assert first["v"] == again["v"] == 2


async def test_same_op_id_answers_the_same_and_does_nothing(autojump_clock, world):
    """A repeated call is answered as the first time, whatever came between."""
    await world.notify()
    request = {"op_id": "tap-1", "ops": [{"read_all": True, "as_of": 99}]}
    first = body(await post(world.user(), "/v1/ops", request))
    await world.notify()
    again = body(await post(world.user(), "/v1/ops", request))

    assert first == again
    assert (await world.badge())["unread"] == 1


async def test_op_id_is_forgotten_after_a_day(autojump_clock, world):
    """An operation id does its work again when nobody can mean a repeat by it."""
    request = {"op_id": "tap-1", "ops": [{"read_all": True, "as_of": 99}]}
    await post(world.user(ttl=200_000), "/v1/ops", request)
    await world.notify()
    await trio.sleep(86_401)
    later = body(await post(world.user(), "/v1/ops", request))

    assert later["badge"]["unread"] == 0


BAD_OPS = {
    "no-verb": ([{}], "ops[1]"),
    "two-verbs": ([{"read": [], "archive": []}], "ops[1]"),
    "no-as-of": ([{"read_all": True}], "ops[1]"),
    "stray-as-of": ([{"read": [], "as_of": 1}], "ops[1]"),
    "not-all": ([{"read_all": False, "as_of": 1}], "ops[1].read_all"),
    "stray-category": ([{"seen_upto": 1, "category": "a"}], "ops[1]"),
    "unknown": ([{"delete": ["x"]}], "ops[1]"),
    "none": ([], "ops"),
    "too-many": ([{"read": []}] * 101, "ops"),
}


@pytest.mark.parametrize(("ops", "field"), BAD_OPS.values(), ids=BAD_OPS)
async def test_bad_operation_is_named_and_none_is_done(
    autojump_clock, world, ops, field
):
    """All or none: a bad operation leaves the good ones undone."""
    await world.notify()
    good = [{"read_upto": 1}] if len(ops) == 1 else []
    request = {"op_id": "a", "ops": good + ops}
    problem = body(await post(world.user(), "/v1/ops", request), 422)

    assert [field] == [error["field"] for error in problem["errors"]]
    assert (await world.badge())["v"] == 1


# Who calls


USER_CALLS = [("GET", "/v1/badge"), ("GET", "/v1/items"), ("GET", "/v1/stream")]


@pytest.mark.parametrize(("method", "target"), [*USER_CALLS, ("POST", "/v1/ops")])
async def test_user_calls_need_a_users_proof(autojump_clock, world, method, target):
    """Nobody is 401, a producer is 403, and neither gets a stream."""
    nobody = await world.anybody.request(method, target)
    producer = await world.producer.request(method, target)

    assert body(nobody, 401)["type"] == "urn:roundel:problem:unauthorized"
    assert nobody.headers["www-authenticate"] == "Bearer"
    assert body(producer, 403)["type"] == "urn:roundel:problem:forbidden"


async def test_producer_calls_need_a_producers_proof(autojump_clock, world):
    """Nobody is 401, a user is 403, before the body is looked at."""
    nobody = await world.anybody.request("POST", "/v1/notify", body=b"?")
    user = await world.user().request("POST", "/v1/notify", body=b"?")

    assert (401, 403) == (nobody.status, user.status)


async def test_cookie_proves_a_user(autojump_clock, world):
    """A browser's EventSource, which sends no header, proves itself by its cookie."""
    token = world.service.gate.sign("alice", ttl=60)
    browser = world.anybody({"Cookie": f"roundel={token}"})

    assert (await browser.request("GET", "/v1/badge")).status == 200


async def test_bad_proof_is_not_made_up_for_by_a_good_one(autojump_clock, world):
    """There is no falling back from a proof that is present and bad."""
    token = world.service.gate.sign("alice", ttl=60)
    bad_cookie = world.user()({"Cookie": "roundel=nonsense"})
    bad_bearer = world.anybody(
        {"Cookie": f"roundel={token}", "Authorization": "Bearer nonsense"}
    )

    assert (await bad_cookie.request("GET", "/v1/badge")).status == 401
    assert (await bad_bearer.request("GET", "/v1/badge")).status == 401


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ({"Origin": "http://roundel.test"}, 200),
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
    ids=["own", "foreign", "null", "none"],
)
async def test_write_by_cookie_needs_the_services_own_origin(
    autojump_clock, world, origin, status
):
    """A foreign page cannot act through a browser that is logged in here."""
    token = world.service.gate.sign("alice", ttl=60)
    browser = world.anybody({"Cookie": f"roundel={token}", **origin})
    request = {"op_id": "a", "ops": [{"seen_upto": 0}]}

    assert (await post(browser, "/v1/ops", request)).status == status


# Everything else


async def test_unknown_path_and_method_are_problems_too(autojump_clock, world):
    """What the framework refuses is refused in the contract's form."""
    path = await world.anybody.request("GET", "/v2/badge")
    method = await world.anybody.request("DELETE", "/v1/badge")

    assert body(path, 404)["status"] == 404
    assert body(method, 405)["title"] == "Method Not Allowed"
    assert "GET" in method.headers["allow"]


async def test_live_answers_without_a_proof(autojump_clock, world):
    """Whoever asks is told that the process is alive."""
    assert body(await world.anybody.request("GET", "/livez")) == {"status": "ok"}


async def test_no_problem_tells_a_secret(autojump_clock, world):
    """What callers present is not told back to them, nor are our secrets."""
    token = world.service.gate.sign("alice", ttl=60)
    headers = {"Authorization": f"Bearer {token[:-1]}"}
    answer = await world.anybody.request("GET", "/v1/badge", headers=headers)

    assert answer.status == 401
    assert token[:20] not in answer.body.decode()
    assert KEY not in repr(world.service.gate)
