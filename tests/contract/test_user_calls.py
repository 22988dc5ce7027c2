"""The users' calls: badge, items and operations."""

from __future__ import annotations

import pytest
import trio

from support.service import body, data, events_so_far, first_events, post

# GET /v1/badge


async def test_badge_is_counted_by_category(autojump_clock, world):
    """The badge has the sum, and each category with unread items."""
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


async def test_badge_of_a_new_user_is_empty(autojump_clock, world):
    """A user without notifications has a mailbox at version 0."""
    badge = await world.badge()

    assert {"v": 0, "unread": 0, "unseen": 0, "more": False, "by": {}} == {
        name: badge[name] for name in badge.keys() - {"epoch"}
    }


async def test_unread_is_neither_read_archived_nor_expired(autojump_clock, world):
    """Read, archived and expired items do not count."""
    read, archived = await world.notify(), await world.notify()
    await world.notify(ttl=10)
    await world.notify()
    await world.do(read=[read["item"]])
    await world.do(archive=[archived["item"]])
    await trio.sleep(11)
    badge = await world.badge()

    assert (1, 1) == (badge["unread"], badge["unseen"])


async def test_unseen_items_are_unread(autojump_clock, world):
    """A read or archived item is not unseen."""
    item = await world.notify()
    await world.notify()
    await world.do(archive=[item["item"]])

    assert 1 == (await world.badge())["unseen"]


async def test_more_becomes_false_when_nothing_is_unread(autojump_clock, make_world):
    """At 0 unread the number is exact again."""
    world = make_world(mailbox_items="1")
    await world.notify()
    full = (await world.notify())["badge"]["more"]
    read = (await world.do(read_all=True, as_of=2))["badge"]["more"]
    await world.notify(key="k")

    assert (True, False) == (full, read)
    assert (await world.badge())["more"] is False


async def test_evicting_read_items_keeps_the_number_exact(autojump_clock, make_world):
    """An evicted read item was not counted."""
    world = make_world(mailbox_items="1")
    await world.notify()
    await world.do(read_all=True, as_of=1)

    assert (await world.notify())["badge"]["more"] is False


async def test_badge_that_is_known_is_304(autojump_clock, world):
    """The entity tag is EPOCH.V, strong; a 304 has no body."""
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


MATCHES = {
    "strong": ('"{0}"', 304),
    "weak": ('W/"{0}"', 304),
    "list": ('"other", "{0}"', 304),
    "list-of-weak": ('W/"other" , W/"{0}"', 304),
    "fields": (['"other"', '"{0}"'], 304),
    "any": ("*", 304),
    "other": ('"other"', 200),
    "prefix": ('"{0}0"', 200),
    "empty": ("", 200),
    "nonsense": ('"', 200),
}


@pytest.mark.parametrize(("match", "status"), MATCHES.values(), ids=MATCHES)
@pytest.mark.parametrize("whose", ["user", "producer"])
async def test_if_none_match_is_read_as_http_says(
    autojump_clock, world, whose, match, status
):
    """RFC 9110 13.1.2: a list of tags, compared weakly, or `*`."""
    await world.notify()
    tag = f"{(await world.badge())['epoch']}.1"
    values = [match] if isinstance(match, str) else match
    fields = {"If-None-Match": [value.format(tag) for value in values]}
    target = {"user": "/v1/badge", "producer": "/v1/users/alice/badge"}[whose]
    client = world.user() if whose == "user" else world.producer
    answer = await client.request("GET", target, headers=fields)

    assert (status, f'"{tag}"') == (answer.status, answer.headers["etag"])
    assert (b"" == answer.body) is (status == 304)


async def test_badge_is_revalidated_each_time(autojump_clock, world):
    """A private cache may store a badge, and must revalidate it."""
    answer = await world.user().request("GET", "/v1/badge")

    assert "private, no-cache" == answer.headers["cache-control"]


async def _timed(world, *, target="/v1/badge?wait=60", tag=None, change=None):
    """Return the response to a long poll, and its duration in seconds."""
    alice = world.user()
    if tag is None:
        tag = (await alice.request("GET", "/v1/badge")).headers["etag"]
    began, answers = trio.current_time(), []

    async def poll() -> None:
        headers = {"If-None-Match": tag} if tag else {}
        answer = await alice.request("GET", target, headers=headers)
        answers.append((answer, trio.current_time() - began))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        if change is not None:
            await trio.sleep(30)
            await change
    return answers[0]


async def test_wait_holds_the_response_until_the_badge_changes(autojump_clock, world):
    """A long poll returns at the change, or after its time with 304."""
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


WAITS = {"0": 0, "0.5": 0.5, "7": 7, "60": 60, "1e1": 10}


@pytest.mark.parametrize(("wait", "seconds"), WAITS.items(), ids=WAITS)
async def test_wait_ends_after_its_time(autojump_clock, world, wait, seconds):
    """Without a change the response comes after the wait."""
    answer, waited = await _timed(world, target=f"/v1/badge?wait={wait}")

    assert 304 == answer.status
    assert waited == pytest.approx(seconds)


BAD_WAITS = ["-1", "61", "60.001", "x", "", "nan", "inf", "1&wait=2"]


@pytest.mark.parametrize("wait", BAD_WAITS)
@pytest.mark.parametrize("target", ["/v1/badge", "/v1/users/alice/badge"])
async def test_bad_wait_is_rejected(autojump_clock, world, target, wait):
    """`wait` is 0 to 60 seconds, once."""
    client = world.user() if target == "/v1/badge" else world.producer
    answer = await client.request("GET", f"{target}?wait={wait}")

    assert ["wait"] == [error["field"] for error in body(answer, 422)["errors"]]


async def test_outdated_etag_is_not_waited_for(autojump_clock, world):
    """A client with an older badge gets the new one at once."""
    answer, waited = await _timed(world, tag='"another"')

    assert (200, 0) == (answer.status, waited)


async def test_wait_ends_with_an_expiry(autojump_clock, world):
    """An expiry is a change, too."""
    await world.notify(ttl=10)
    answer, waited = await _timed(world)

    assert 0 == body(answer)["unread"]
    assert waited == pytest.approx(10)


async def test_wait_ends_with_another_epoch(autojump_clock, world):
    """The deletion of the user ends a wait."""
    await world.notify()
    forget = world.producer.request("DELETE", "/v1/users/alice")
    answer, waited = await _timed(world, change=forget)

    assert 0 == body(answer)["v"]
    assert waited == pytest.approx(30)


async def test_wait_continues_through_a_disconnect(autojump_clock, world):
    """A disconnect does not change the badge."""
    ended = post(world.producer, "/v1/users/alice/disconnect", {})
    answer, waited = await _timed(world, change=ended)

    assert 304 == answer.status
    assert waited == pytest.approx(60)


async def test_wait_is_for_the_own_mailbox(autojump_clock, world):
    """Changes of other mailboxes do not end a wait."""
    answer, waited = await _timed(world, change=world.notify("bob"))

    assert 304 == answer.status
    assert waited == pytest.approx(60)


async def test_producer_waits_for_a_users_badge(autojump_clock, world):
    """The producer's call is the same as the user's."""
    target = "/v1/users/alice/badge?wait=60"
    tag = (await world.producer.request("GET", target)).headers["etag"]
    answers = []

    async def poll() -> None:
        headers = {"If-None-Match": tag}
        answers.append(await world.producer.request("GET", target, headers=headers))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await trio.sleep(5)
        await world.notify()

    assert trio.current_time() == pytest.approx(5)
    assert await world.badge() == body(answers[0])


# GET /v1/items


async def test_items_are_paged_newest_first_and_true_at_their_cursor(
    autojump_clock, world
):
    """Pages meet without a gap, and a stream may continue at their cursor."""
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
        assert data(await stream.next_event())["resume"] == "current"


async def test_page_has_the_contracts_fields(autojump_clock, world):
    """A page has its cursor, the badge, the items and the next page."""
    document = body(await world.user().request("GET", "/v1/items"))

    assert {"cursor", "badge", "items", "next"} == document.keys()
    assert ([], None) == (document["items"], document["next"])
    assert (
        document["cursor"]
        .replace(".", "")
        .replace("_", "")
        .replace("-", "")
        .replace("~", "")
        .isalnum()
    )


async def _titles(world, query=""):
    """Return the titles of all pages, and the length of each page."""
    titles, sizes, before = [], [], ""
    while True:
        target = f"/v1/items?{query}{before}"
        page = body(await world.user().request("GET", target))
        titles += [item["title"] for item in page["items"]]
        sizes.append(len(page["items"]))
        if page["next"] is None:
            return titles, sizes
        assert page["next"] == page["items"][-1]["seq"]
        before = f"&before={page['next']}"


PAGES = {
    "limit=1": [1] * 7,
    "limit=3": [3, 3, 1],
    "limit=7": [7],
    "limit=100": [7],
    "": [7],
}


@pytest.mark.parametrize(("query", "sizes"), PAGES.items(), ids=PAGES)
async def test_pages_meet_without_a_gap(autojump_clock, world, query, sizes):
    """Following `next` gives every item once; no page is empty."""
    for number in range(7):
        await world.notify(title=str(number))

    assert (list("6543210"), sizes) == await _titles(world, query)


async def test_default_page_has_50_items(autojump_clock, world):
    """The default limit is that of a snapshot."""
    for number in range(51):
        await world.notify(title=str(number))

    assert [50, 1] == (await _titles(world))[1]


async def test_pages_continue_while_items_appear(autojump_clock, world):
    """New items are newer than every remaining page."""
    for number in range(4):
        await world.notify(title=str(number))
    alice = world.user()
    first = body(await alice.request("GET", "/v1/items?limit=2"))
    await world.notify(title="new")
    target = f"/v1/items?limit=2&before={first['next']}"
    second = body(await alice.request("GET", target))

    assert ["1", "0"] == [item["title"] for item in second["items"]]


async def test_filters_apply_before_paging(autojump_clock, world):
    """Only matching items fill a page."""
    for number in range(6):
        await world.notify(title=str(number), category="ab"[number % 2])

    assert (list("531"), [2, 1]) == await _titles(world, "category=b&limit=2")


async def test_before_is_exclusive(autojump_clock, world):
    """The item at `before` is on the previous page."""
    await world.notify(title="1")
    await world.notify(title="2")

    assert ["1"] == (await _titles(world, "before=2"))[0]
    assert [] == (await _titles(world, "before=0"))[0]


STATES = {
    "unread": ["3"],
    "active": ["3", "2"],
    "archived": ["1"],
    "all": ["3", "2", "1"],
}


@pytest.mark.parametrize(("state", "titles"), STATES.items(), ids=STATES)
async def test_items_are_listed_by_state(autojump_clock, world, state, titles):
    """`active`, the default, excludes archived items."""
    archived = await world.notify(title="1")
    read = await world.notify(title="2")
    await world.notify(title="3")
    await world.do(archive=[archived["item"]])
    await world.do(read=[read["item"]])
    answer = await world.user().request("GET", f"/v1/items?state={state}")

    assert titles == [item["title"] for item in body(answer)["items"]]


async def test_active_is_the_default_state(autojump_clock, world):
    """Archived items are listed only on request."""
    item = await world.notify(title="1")
    await world.notify(title="2")
    await world.do(archive=[item["item"]])

    assert ["2"] == (await _titles(world))[0]


async def test_archived_unread_item_is_not_listed_as_unread(autojump_clock, world):
    """The unread list has the items that the badge counts."""
    item = await world.notify()
    await world.do(archive=[item["item"]])

    assert [] == (await _titles(world, "state=unread"))[0]


async def test_items_are_listed_by_category(autojump_clock, world):
    """The list of a category has the items of its count."""
    await world.notify(title="1", category="a")
    await world.notify(title="2", category="b")
    answer = await world.user().request("GET", "/v1/items?category=b")

    assert ["2"] == [item["title"] for item in body(answer)["items"]]


async def test_badge_of_a_filtered_page_is_whole(autojump_clock, world):
    """Filters do not change the badge of a page."""
    await world.notify(category="a")
    await world.notify(category="b")
    page = body(await world.user().request("GET", "/v1/items?category=b&limit=1"))

    assert await world.badge() == page["badge"]


async def test_expired_item_is_not_listed(autojump_clock, world):
    """An expired item is in no list."""
    await world.notify(ttl=10)
    await trio.sleep(10)

    assert [] == (await _titles(world, "state=all"))[0]


BAD_ITEMS = [
    "limit=0", "limit=101", "limit=x", "limit=", "limit=1.5", "before=-1",
    "before=x", "before=4398046511104", "state=new", "state=", "state=UNREAD",
    "category=A", "category=", "category=a,b", "page=2", "cursor=x",
    "limit=1&limit=2",
]  # fmt: skip


@pytest.mark.parametrize("query", BAD_ITEMS)
async def test_bad_items_query_is_rejected(autojump_clock, world, query):
    """A parameter out of range is rejected by its name."""
    answer = await world.user().request("GET", f"/v1/items?{query}")
    errors = body(answer, 422)["errors"]

    assert [query.partition("=")[0]] == [error["field"] for error in errors]


# POST /v1/ops


async def _three(world):
    """Put three items in and return their ids, oldest first."""
    return [(await world.notify(category=name))["item"] for name in "aab"]


async def _flags(world):
    page = body(await world.user().request("GET", "/v1/items?state=all"))
    return [
        "".join(f[0] for f in ("seen", "read", "archived") if item[f]) or "-"
        for item in reversed(page["items"])
    ]


OPS = {
    "read": (lambda i: [{"read": i[:1]}], ["sr", "-", "-"]),
    "read-many": (lambda i: [{"read": i}], ["sr", "sr", "sr"]),
    "read-none": (lambda i: [{"read": []}], ["-", "-", "-"]),
    "unread": (lambda i: [{"read": i}, {"unread": i[:1]}], ["s", "sr", "sr"]),
    "upto": (lambda i: [{"read_upto": 2}], ["sr", "sr", "-"]),
    "upto-zero": (lambda i: [{"read_upto": 0}], ["-", "-", "-"]),
    "upto-of": (lambda i: [{"read_upto": 3, "category": "b"}], ["-", "-", "sr"]),
    "all": (lambda i: [{"read_all": True, "as_of": 3}], ["sr", "sr", "sr"]),
    "all-as-of": (lambda i: [{"read_all": True, "as_of": 1}], ["sr", "-", "-"]),
    "all-of": (
        lambda i: [{"read_all": True, "as_of": 3, "category": "a"}],
        ["sr", "sr", "-"],
    ),
    "seen": (lambda i: [{"seen_upto": 2}], ["s", "s", "-"]),
    "archive": (lambda i: [{"archive": i[1:2]}], ["-", "a", "-"]),
    "unarchive": (
        lambda i: [{"archive": i}, {"unarchive": i[:1]}],
        ["-", "a", "a"],
    ),
    "in-order": (lambda i: [{"read": i}, {"unread": i}, {"read": i[2:]}],
                 ["s", "s", "sr"]),
    "unknown-ids": (lambda i: [{"read": ["x", i[0], ""]}], ["sr", "-", "-"]),
    "twice": (lambda i: [{"read": [i[0], i[0]]}], ["sr", "-", "-"]),
    "unknown-category": (
        lambda i: [{"read_upto": 3, "category": "none"}],
        ["-", "-", "-"],
    ),
    "archive-upto": (lambda i: [{"archive_upto": 2}], ["a", "a", "-"]),
    "archive-upto-of": (
        lambda i: [{"archive_upto": 3, "category": "b"}], ["-", "-", "a"],
    ),
    "archive-all": (lambda i: [{"archive_all": True, "as_of": 1}], ["a", "-", "-"]),
    "archive-all-of": (
        lambda i: [{"archive_all": True, "as_of": 9, "category": "a"}],
        ["a", "a", "-"],
    ),
    "remove": (lambda i: [{"remove": i[:1]}], ["-", "-"]),
    "remove-and-read": (lambda i: [{"remove": i[:1]}, {"read": i}], ["sr", "sr"]),
    "remove-unknown": (lambda i: [{"remove": ["x", ""]}], ["-", "-", "-"]),
}  # fmt: skip


@pytest.mark.parametrize(("ops", "flags"), OPS.values(), ids=OPS)
async def test_operation_sets_its_flags(autojump_clock, world, ops, flags):
    """Each operation sets its flags on the selected items only."""
    ids = await _three(world)
    request = {"op_id": "a", "ops": ops(ids)}
    body(await post(world.user(), "/v1/ops", request))

    assert flags == await _flags(world)


async def test_removed_item_is_gone_for_good(autojump_clock, world):
    """A removed item leaves list and badge in one change, and nothing returns it."""
    ids = await _three(world)
    async with world.user().stream("/v1/stream?level=items") as stream:
        await events_so_far(stream)
        answer = await world.do(remove=ids[:2])
        (change,) = await events_so_far(stream)
        again = await world.do(remove=ids[:1])

    assert (4, 1) == (answer["v"], answer["badge"]["unread"])
    assert [{"remove": ids[:2], "reason": "removed"}] == data(change)["ops"]
    assert 4 == again["v"]
    page = body(await world.user().request("GET", "/v1/items?state=all"))
    assert ids[2:] == [item["id"] for item in page["items"]]


async def test_response_of_ops_is_the_badge_after_them(autojump_clock, world):
    """The caller needs no second call for the badge."""
    ids = await _three(world)
    answer = await world.do(read=ids[:1])
    badge = await world.badge()

    assert {"epoch": badge["epoch"], "v": 4, "badge": badge} == answer


async def test_ids_of_another_user_are_ignored(autojump_clock, world):
    """Ids are valid within one mailbox only."""
    item = (await world.notify("bob"))["item"]
    await world.do("alice", read=[item])

    assert (await world.badge("bob"))["unread"] == 1


async def test_read_all_ignores_items_after_as_of(autojump_clock, world):
    """Items that the user has not seen stay unread."""
    await world.notify()
    await world.notify()
    answer = await world.do(read_all=True, as_of=1)

    assert answer["badge"]["unread"] == 1
    assert answer["v"] == 3


async def test_as_of_ignores_a_replaced_item(autojump_clock, world):
    """A replaced item has a new `seq`, above the version seen."""
    await world.notify(key="k")
    await world.notify(key="k")

    assert (await world.do(read_all=True, as_of=1))["badge"]["unread"] == 1


async def test_operations_of_a_call_are_one_change(autojump_clock, world):
    """All operations of a call make one version."""
    one, two = await world.notify(), await world.notify()
    ops = [{"read": [one["item"]]}, {"archive": [two["item"]]}, {"seen_upto": 2}]
    request = {"op_id": "a", "ops": ops}
    answer = body(await post(world.user(), "/v1/ops", request))

    assert answer["v"] == 3
    assert answer["badge"]["unread"] == 0


async def test_flags_can_be_cleared(autojump_clock, world):
    """`unread` and `unarchive` clear their flags; `seen` stays."""
    item = (await world.notify())["item"]
    await world.do(read=[item])
    await world.do(archive=[item])
    await world.do(unread=[item])
    answer = await world.do(unarchive=[item])

    assert (1, 0) == (answer["badge"]["unread"], answer["badge"]["unseen"])


async def test_operation_without_effect_makes_no_version(autojump_clock, world):
    """Reading twice, and reading unknown ids, makes no version."""
    item = (await world.notify())["item"]
    first = await world.do(read=[item])
    again = await world.do(read=[item, "not-there"])

    assert first["v"] == again["v"] == 2


async def test_same_op_id_gets_the_first_response(autojump_clock, world):
    """A repeated call gets the first response, whatever happened in between."""
    await world.notify()
    request = {"op_id": "tap-1", "ops": [{"read_all": True, "as_of": 99}]}
    first = body(await post(world.user(), "/v1/ops", request))
    await world.notify()
    again = body(await post(world.user(), "/v1/ops", request))

    assert first == again
    assert (await world.badge())["unread"] == 1


OTHER_OPS = {
    "other-ids": lambda i: [{"read": i}],
    "other-order": lambda i: [{"archive": i[1:2]}, {"read": i[:1]}],
    "one-more": lambda i: [{"read": i[:1]}, {"archive": i[1:2]}, {"seen_upto": 1}],
    "one-less": lambda i: [{"read": i[:1]}],
    "other-verb": lambda i: [{"unread": i[:1]}, {"archive": i[1:2]}],
    "without-effect": lambda i: [{"read": ["nothing"]}],
}


@pytest.mark.parametrize("ops", OTHER_OPS.values(), ids=OTHER_OPS)
async def test_op_id_with_other_operations_is_409(autojump_clock, world, ops):
    """A known `op_id` names its first operations only: others are refused."""
    ids = await _three(world)
    first = [{"read": ids[:1]}, {"archive": ids[1:2]}]
    await post(world.user(), "/v1/ops", {"op_id": "a", "ops": first})
    before = await _flags(world)
    answer = await post(world.user(), "/v1/ops", {"op_id": "a", "ops": ops(ids)})

    assert "urn:roundel:problem:key-reused" == body(answer, 409)["type"]
    assert before == await _flags(world)
    assert 4 == (await world.badge())["v"]


async def test_op_id_of_operations_without_effect_is_used(autojump_clock, world):
    """A call that changed nothing has a result, too."""
    one = {"op_id": "a", "ops": [{"read": ["nothing"]}]}
    two = {"op_id": "a", "ops": [{"read": ["nothing", "more"]}]}
    statuses = [
        (await post(world.user(), "/v1/ops", each)).status for each in (one, two, one)
    ]

    assert [200, 409, 200] == statuses


@pytest.mark.parametrize(
    "content",
    [
        b'{"ops":[{"read_all":true,"as_of":99,"category":"a"}],"op_id":"tap"}',
        b' {"op_id" : "tap","ops" :[ {"category":"a", "as_of":99,"read_all":true}]} ',
        b'{"op_id":"t\\u0061p","ops":[{"read_all":true,"as_of":99,"category":"a"}]}',
    ],
    ids=["fields", "space", "escape"],
)
async def test_same_operations_in_another_form_are_a_repeat(
    autojump_clock, world, content
):
    """White space, escapes and the order of fields do not matter."""
    await world.notify(category="a")
    ops = [{"read_all": True, "as_of": 99, "category": "a"}]
    first = body(await post(world.user(), "/v1/ops", {"op_id": "tap", "ops": ops}))
    await world.notify(category="a")
    answer = await world.user().request("POST", "/v1/ops", body=content)

    assert first == body(answer)


async def test_op_id_is_optional(autojump_clock, world):
    """Without an `op_id` each call takes effect, and its change has one of its own."""
    item = (await world.notify())["item"]
    async with world.user().stream("/v1/stream?level=items") as stream:
        await first_events(stream)
        for op in ({"read": [item]}, {"unread": [item]}, {"read": [item]}):
            body(await post(world.user(), "/v1/ops", {"ops": [op]}))
        changes = [data(event) for event in await events_so_far(stream)]

    assert [2, 3, 4] == [change["v"] for change in changes]
    assert 3 == len({change["op_id"] for change in changes})
    assert all(1 <= len(change["op_id"]) <= 128 for change in changes)


async def test_op_id_of_null_is_none(autojump_clock, world):
    """A client may send null for what it leaves out."""
    request = {"op_id": None, "ops": [{"seen_upto": 1}]}
    statuses = [
        (await post(world.user(), "/v1/ops", each)).status
        for each in (request, {**request, "ops": [{"read_upto": 1}]})
    ]

    assert [200, 200] == statuses


async def test_op_id_is_per_user(autojump_clock, world):
    """Another user's `op_id` of the same name is independent."""
    await world.notify("alice")
    await world.notify("bob")
    request = {"op_id": "a", "ops": [{"read_upto": 9}]}
    for user in ("alice", "bob"):
        answer = body(await post(world.user(user), "/v1/ops", request))

        assert answer["badge"]["unread"] == 0


async def test_rejected_call_does_not_use_its_op_id(autojump_clock, world):
    """A corrected call may use the same `op_id`."""
    await world.notify()
    await post(world.user(), "/v1/ops", {"op_id": "a", "ops": [{"nope": 1}]})
    request = {"op_id": "a", "ops": [{"read_upto": 1}]}

    assert body(await post(world.user(), "/v1/ops", request))["badge"]["unread"] == 0


async def test_op_id_is_forgotten_after_a_day(autojump_clock, world):
    """After 24 h the same `op_id` takes effect again."""
    request = {"op_id": "tap-1", "ops": [{"read_all": True, "as_of": 99}]}
    await post(world.user(ttl=200_000), "/v1/ops", request)
    await world.notify()
    autojump_clock.jump(86_401)
    later = body(await post(world.user(), "/v1/ops", request))

    assert later["badge"]["unread"] == 0


SAFE = 9_007_199_254_740_991


@pytest.mark.parametrize(
    "op",
    [
        {"read_upto": SAFE},
        {"seen_upto": SAFE},
        {"read_all": True, "as_of": SAFE},
    ],
    ids=["read_upto", "seen_upto", "read_all"],
)
async def test_largest_safe_integer_is_all(autojump_clock, world, op):
    """`Number.MAX_SAFE_INTEGER` is a bound that selects everything."""
    await world.notify()
    answer = await post(world.user(), "/v1/ops", {"ops": [op]})
    page = await world.user().request("GET", "/v1/items")

    assert 0 == body(answer)["badge"]["unseen"]
    assert [True] == [item["seen"] for item in body(page)["items"]]


async def test_hundred_operations_are_one_call(autojump_clock, world):
    """The longest list is accepted, as one version."""
    await world.notify()
    ops = [{"unread": []}] * 99 + [{"read_upto": 1}]
    answer = body(await post(world.user(), "/v1/ops", {"op_id": "a", "ops": ops}))

    assert (2, 0) == (answer["v"], answer["badge"]["unread"])


BAD_OPS = {
    "no-verb": ([{}], "ops[1]"),
    "two-verbs": ([{"read": [], "archive": []}], "ops[1]"),
    "no-as-of": ([{"read_all": True}], "ops[1]"),
    "stray-as-of": ([{"read": [], "as_of": 1}], "ops[1]"),
    "no-as-of-archive": ([{"archive_all": True}], "ops[1]"),
    "as-of-upto": ([{"archive_upto": 1, "as_of": 1}], "ops[1]"),
    "category-of-removal": ([{"remove": [], "category": "a"}], "ops[1]"),
    "not-all": ([{"read_all": False, "as_of": 1}], "ops[1].read_all"),
    "one-for-true": ([{"read_all": 1, "as_of": 1}], "ops[1].read_all"),
    "stray-category": ([{"seen_upto": 1, "category": "a"}], "ops[1]"),
    "category-by-id": ([{"read": [], "category": "a"}], "ops[1]"),
    "category": ([{"read_upto": 1, "category": "A"}], "ops[1].category"),
    "unknown": ([{"delete": ["x"]}], "ops[1]"),
    "null": ([{"read": None}], "ops[1].read"),
    "id-text": ([{"read": "x"}], "ops[1].read"),
    "id-number": ([{"read": [7]}], "ops[1].read[0]"),
    "upto-negative": ([{"read_upto": -1}], "ops[1].read_upto"),
    "upto-text": ([{"seen_upto": "1"}], "ops[1].seen_upto"),
    "upto-fraction": ([{"seen_upto": 1.5}], "ops[1].seen_upto"),
    "no-object": ([[]], "ops[1]"),
    "none": ([], "ops"),
    "too-many": ([{"read": []}] * 101, "ops"),
}


@pytest.mark.parametrize(("ops", "field"), BAD_OPS.values(), ids=BAD_OPS)
async def test_bad_operation_rejects_the_call(autojump_clock, world, ops, field):
    """All or none: the other operations have no effect."""
    await world.notify()
    good = [{"read_upto": 1}] if len(ops) == 1 else []
    request = {"op_id": "a", "ops": good + ops}
    problem = body(await post(world.user(), "/v1/ops", request), 422)

    assert [field] == [error["field"] for error in problem["errors"]]
    assert (await world.badge())["v"] == 1


BAD_REQUESTS = {
    "empty-op-id": ({"op_id": "", "ops": [{"read": []}]}, ["op_id"]),
    "long-op-id": ({"op_id": "a" * 129, "ops": [{"read": []}]}, ["op_id"]),
    "number-op-id": ({"op_id": 1, "ops": [{"read": []}]}, ["op_id"]),
    "no-ops": ({"op_id": "a"}, ["ops"]),
    "ops-object": ({"op_id": "a", "ops": {"read": []}}, ["ops"]),
    "unknown": ({"op_id": "a", "ops": [{"read": []}], "user": "bob"}, ["user"]),
}


@pytest.mark.parametrize(
    ("request_", "fields"), BAD_REQUESTS.values(), ids=BAD_REQUESTS
)
async def test_bad_ops_request_is_rejected(autojump_clock, world, request_, fields):
    """A call with a bad `op_id`, or with an unknown field, is rejected."""
    answer = await post(world.user(), "/v1/ops", request_)

    assert fields == [error["field"] for error in body(answer, 422)["errors"]]
