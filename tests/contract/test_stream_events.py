"""The stream: its head, its cursor and each of its events."""

from __future__ import annotations

import json
import re

import pytest
import trio

from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Notify
from support.service import (
    body,
    current_cursor,
    data,
    events_so_far,
    first_events,
    metric_value,
    post,
    wall_clock,
)

LEVELS = pytest.mark.parametrize("level", ["badge", "items"])
STREAM = "/v1/stream"

# The head.


@LEVELS
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
        ("content-encoding", None),
        ("content-length", None),
    ],
)
async def test_head_controls_proxies(autojump_clock, world, level, name, value):
    """The head keeps proxies from storing, compressing and buffering the stream."""
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        assert 200 == stream.status
        assert value == stream.headers.get(name)


async def test_no_content_coding(autojump_clock, world):
    """A stream has no content coding, whatever the client accepts."""
    headers = {"Accept-Encoding": "gzip, br, zstd"}
    async with world.user().stream(STREAM, headers=headers) as stream:
        assert "content-encoding" not in stream.headers


async def test_head_request(autojump_clock, world):
    """HEAD returns the head of the stream and ends."""
    get = world.user()
    async with get.stream(STREAM) as stream:
        head = await get.request("HEAD", STREAM)

        assert (200, b"") == (head.status, head.body)
        assert {**stream.headers, "x-request-id": ""} == {
            **head.headers, "x-request-id": "",
        }  # fmt: skip
        assert 1 == world.service.hub.streams


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("", 200),
        ("text/event-stream", 200),
        ("Text/Event-Stream", 200),
        ("text/*", 200),
        ("*/*", 200),
        ("application/json, text/event-stream;q=0.1", 200),
        ("application/json, */*;q=0.001", 200),
        ("application/json", 406),
        ("text/event-stream;q=0", 406),
        ("text/event-stream;q=0.000, */*", 406),
        ("text/*;q=0, */*", 406),
        ("*/*;q=0", 406),
        ("text/html, application/*", 406),
    ],
)
async def test_accept_that_excludes_event_streams_is_406(
    autojump_clock, world, accept, status
):
    """An Accept without text/event-stream is 406."""
    headers = {} if accept is None else {"Accept": accept}
    answer = await world.user().request("HEAD", STREAM, headers=headers)

    assert status == answer.status


async def test_406_is_a_problem_document(autojump_clock, world):
    """A 406 is a problem document."""
    headers = {"Accept": "application/json"}
    answer = await world.user().request("GET", STREAM, headers=headers)

    assert "urn:roundel:problem:not-acceptable" == body(answer, 406)["type"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("level=all", "level"),
        ("categories=", "categories"),
        ("categories=a,,b", "categories"),
        ("categories=A", "categories"),
    ],
    ids=["value", "none", "hole", "upper-case"],
)
async def test_bad_query_is_named(autojump_clock, world, query, field):
    """A known parameter with an invalid value is an error."""
    answer = await world.user().request("GET", f"{STREAM}?{query}")

    assert [field] == [error["field"] for error in body(answer, 422)["errors"]]


async def test_default_level(autojump_clock, world):
    """The default level is `badge`."""
    async with world.user().stream(STREAM) as stream:
        _, state = await first_events(stream)

        assert "badge" == state.type


# The cursor.


@LEVELS
@pytest.mark.parametrize("by_ticket", [False, True], ids=["token", "ticket"])
async def test_cursor_is_short_and_needs_no_preflight(
    autojump_clock, world, level, by_ticket
):
    """An id has at most 128 characters of A-Z a-z 0-9 . _ ~ - at any version."""
    target, client = f"{STREAM}?level={level}", world.user()
    if by_ticket:
        asked = await post(world.producer, "/v1/tickets", {"user": "alice"})
        target, client = f"{body(asked)['url']}&level={level}", world.anonymous
    async with client.stream(target) as stream:
        for _ in range(70):
            await world.notify()
        ids = [event.id for event in await events_so_far(stream) if event.id]

        assert len(ids) > 1
        assert all(re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", each) for each in ids)


@LEVELS
async def test_state_events_have_an_id(autojump_clock, world, level):
    """An event has an id if and only if it carries state."""
    states = {"badge", "snapshot", "change"}
    found: dict[str, set[bool]] = {}
    async with world.user(ttl=90).stream(f"{STREAM}?level={level}") as stream:
        await world.notify()
        await world.notify()
        await world.producer.request("DELETE", "/v1/users/alice")
        last = ""
        while event := await stream.next_event():
            found.setdefault(event.type, set()).add(event.id != last)
            last = event.id

    assert {"hello", "ping", "auth", "reset", "bye"} <= found.keys()
    assert {name: {name in states} for name in found} == found


async def test_last_event_id_takes_precedence_over_the_url(autojump_clock, world):
    """Last-Event-ID takes precedence over the cursor in the URL."""
    stale = await current_cursor(world)
    await world.notify()
    headers = {"Last-Event-ID": await current_cursor(world)}
    target = f"{STREAM}?cursor={stale}"
    async with world.user().stream(target, headers=headers) as stream:
        assert "current" == data(await stream.next_event())["resume"]


async def test_cursor_in_the_url(autojump_clock, world):
    """A stream resumes from the cursor in the URL."""
    start = await current_cursor(world)
    await world.notify()
    async with world.user().stream(f"{STREAM}?cursor={start}") as stream:
        assert "replayed" == data(await stream.next_event())["resume"]


async def test_cursor_is_valid_at_both_levels(autojump_clock, world):
    """A cursor is valid at both levels."""
    await world.notify()
    async with world.user().stream(f"{STREAM}?level=badge") as stream:
        _, badge = await first_events(stream)
    await world.notify()
    headers = {"Last-Event-ID": badge.id}
    async with world.user().stream(f"{STREAM}?level=items", headers=headers) as stream:
        hello, change = await first_events(stream)

        assert "replayed" == hello["resume"]
        assert (1, 2) == (data(change)["from"], data(change)["v"])


# hello


@LEVELS
async def test_hello(autojump_clock, world, level):
    """`hello` is first, has all its fields and no id."""
    await world.notify()
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        hello = await stream.next_event()
        received = data(hello)

        assert ("hello", "") == (hello.type, hello.id)
        assert 480 <= received.pop("max_age") <= 600
        assert {
            "proto": 1,
            "resume": "snapshot",
            "epoch": (await world.badge())["epoch"],
            "v": 1,
            "ping": 25,
            "expires_in": 86_400,
        } == received


async def test_hello_has_the_settings(autojump_clock, make_world):
    """`hello` has the configured intervals."""
    world = make_world(ping="7", max_age="100")
    async with world.user(ttl=50).stream(STREAM) as stream:
        received = data(await stream.next_event())

        assert (7, 50, 50) == (
            received["ping"],
            received["max_age"],
            received["expires_in"],
        )


# badge


async def test_badge_level(autojump_clock, world):
    """The level `badge` sends the whole badge at the start and after each change."""
    async with world.user().stream(STREAM) as stream:
        _, first = await first_events(stream)
        before = data(first)
        result = await world.notify(category="mention")
        second = await stream.next_event()

        assert ("badge", "badge") == (first.type, second.type)
        assert 0 == before["unread"]
        assert await world.badge() == data(second)
        assert (result["epoch"], result["v"]) == (
            data(second)["epoch"],
            data(second)["v"],
        )


async def test_equal_badge_is_not_sent(autojump_clock, world):
    """A change that leaves the badge equal sends no event at the level `badge`."""
    item = (await world.notify())["item"]
    await world.do(read_all=True, as_of=1)
    async with world.user().stream(STREAM) as stream:
        await first_events(stream)
        await world.do(archive=[item])

        assert [] == await events_so_far(stream)


async def test_pending_badges_are_coalesced(autojump_clock, world):
    """Several pending versions are one `badge` event with the latest badge."""
    async with world.user().stream(STREAM) as stream:
        await first_events(stream)
        for number in range(5):
            await world.service.hub.apply("alice", _notify(str(number)))
        (badge,) = await events_so_far(stream)

        assert (5, 5) == (data(badge)["v"], data(badge)["unread"])


def _notify(title: str) -> Notify:
    return Notify(id=f"item-{title}", category="default", content=encode_content(title))


# snapshot


async def test_items_level_starts_with_a_snapshot(autojump_clock, world):
    """The level `items` starts with a snapshot: items, newest first, and the badge."""
    items = [(await world.notify(title=title))["item"] for title in ("Old", "New")]
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        _, snapshot = await first_events(stream)
        received = data(snapshot)
        listed = body(await world.user().request("GET", "/v1/items"))

        assert "snapshot" == snapshot.type
        assert {"epoch", "v", "badge", "items", "next"} == received.keys()
        assert items[::-1] == [item["id"] for item in received["items"]]
        assert listed["items"] == received["items"]
        assert await world.badge() == received["badge"]
        assert (received["badge"]["epoch"], 2) == (received["epoch"], received["v"])
        assert received["next"] is None


@pytest.mark.parametrize("items", [0, 1, 50, 51, 53])
async def test_snapshot_is_a_page(autojump_clock, world, items):
    """A snapshot has at most 50 items and the cursor of the next page."""
    titles = [str(number) for number in range(items)]
    for title in titles:
        await world.notify(title=title)
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        snapshot = data((await first_events(stream))[1])
        rest = []
        if snapshot["next"] is not None:
            target = f"/v1/items?before={snapshot['next']}"
            rest = body(await world.user().request("GET", target))["items"]
        received = [item["title"] for item in snapshot["items"]]

        assert min(50, items) == len(received)
        assert titles[::-1] == received + [item["title"] for item in rest]


async def test_item_of_a_snapshot_has_all_its_fields(autojump_clock, world):
    """An item in a snapshot has all its fields."""
    await world.notify(key="k", source="s", url="/u", data={"any": [1]}, ttl=60)
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        (item,) = data((await first_events(stream))[1])["items"]

        assert {
            "seq": 1, "category": "default", "title": "Hello", "body": None,
            "url": "/u", "icon": None, "key": "k", "source": "s",
            "data": {"any": [1]}, "created_at": wall_clock(),
            "expires_at": wall_clock() + 60, "updated_at": None, "topic": None,
            "seen": False, "read": False, "archived": False,
        } == {name: value for name, value in item.items() if name != "id"}  # fmt: skip


# change


async def test_one_change_per_version(autojump_clock, world):
    """The level `items` sends one `change` per version, in order."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        for number in range(5):
            await world.notify(title=str(number))
        await world.do(read_all=True, as_of=5)
        changes = [data(event) for event in await events_so_far(stream)]

        assert [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)] == [
            (change["from"], change["v"]) for change in changes
        ]


async def test_pending_changes_are_not_coalesced(autojump_clock, world):
    """Pending versions are one event each at the level `items`."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        for number in range(5):
            await world.service.hub.apply("alice", _notify(str(number)))
        changes = [data(event) for event in await events_so_far(stream)]

        assert [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)] == [
            (change["from"], change["v"]) for change in changes
        ]


async def test_change_carries_the_whole_badge(autojump_clock, world):
    """A `change` carries the whole badge with its version."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        result = await world.notify(category="mention")
        change = data(await stream.next_event())

        assert {"epoch", "from", "v", "ops", "badge"} == change.keys()
        assert await world.badge() == change["badge"]
        assert (result["epoch"], result["v"]) == (change["epoch"], change["v"])


@pytest.mark.parametrize(
    ("mark", "received"),
    [
        ("read", {"read": True, "seen": True}),
        ("archive", {"archived": True}),
        ("unread", None),
        ("unarchive", None),
    ],
)
async def test_marks(autojump_clock, world, mark, received):
    """A mark sends the flags that it changed; without a change it sends nothing."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        item = (await world.notify())["item"]
        await events_so_far(stream)
        await world.do(**{mark: [item]})
        changes = [data(event)["ops"] for event in await events_so_far(stream)]

        assert ([[{"set": [item], **received}]] if received else []) == changes


async def test_change_has_the_op_id(autojump_clock, world):
    """A `change` has the `op_id` of the user's operation, if there is one."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        item = (await world.notify())["item"]
        request = {"op_id": "mine", "ops": [{"read": [item]}]}
        answer = body(await post(world.user(), "/v1/ops", request))
        added, read = [data(event) for event in await events_so_far(stream)]

        assert "op_id" not in added
        assert "mine" == read["op_id"]
        assert (answer["v"], answer["badge"]) == (read["v"], read["badge"])


async def test_operation_reaches_all_streams_of_the_user(autojump_clock, world):
    """An operation is delivered to all streams of the user, its own included."""
    item = (await world.notify())["item"]
    target = f"{STREAM}?level=items"
    async with (
        world.user().stream(target) as here,
        world.user().stream(target) as there,
    ):
        await events_so_far(here)
        await events_so_far(there)
        await world.do(read=[item])
        received = [await events_so_far(stream) for stream in (here, there)]

        assert 1 == len(received[0])
        assert received[0] == received[1]


async def test_replacing_by_key_is_one_change(autojump_clock, world):
    """A replacement by key removes and adds in one version."""
    old = (await world.notify(key="k"))["item"]
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        new = await world.notify(key="k")
        change = data(await stream.next_event())

        assert {"remove": [old], "reason": "replaced"} == change["ops"][0]
        assert (new["item"], 2) == (
            change["ops"][1]["add"]["id"],
            change["ops"][1]["add"]["seq"],
        )
        assert 1 == change["badge"]["unread"]


async def test_eviction(autojump_clock, make_world):
    """An eviction is delivered, and sets `more`."""
    world = make_world(mailbox_items="1")
    old = (await world.notify())["item"]
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        await world.notify()
        change = data(await stream.next_event())

        assert {"remove": [old], "reason": "evicted"} == change["ops"][0]
        assert (1, True) == (change["badge"]["unread"], change["badge"]["more"])


async def test_retraction(autojump_clock, world):
    """A retraction is delivered."""
    item = (await world.notify(source="issue:42"))["item"]
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        await world.producer.request("DELETE", "/v1/items?source=issue:42")
        change = data(await stream.next_event())

        assert [{"remove": [item], "reason": "retracted"}] == change["ops"]
        assert 0 == change["badge"]["unread"]


async def test_expiry_on_time(autojump_clock, world):
    """An expiry is delivered on time, with its version."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        start = trio.current_time()
        added = await world.notify(ttl=10)
        await stream.next_event()
        change = data(await stream.next_event())

        assert trio.current_time() == pytest.approx(start + 10, abs=0.1)
        assert [{"remove": [added["item"]], "reason": "expired"}] == change["ops"]
        assert 0 == change["badge"]["unread"]


async def set_gauge(world, category: str, count: int, source_version: int) -> None:
    content = json.dumps({"count": count, "source_version": source_version}).encode()
    target = f"/v1/users/alice/gauges/{category}"
    body(await world.producer.request("PUT", target, body=content))


@LEVELS
async def test_gauge(autojump_clock, world, level):
    """A gauge is delivered at both levels."""
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        await first_events(stream)
        await set_gauge(world, "tasks", 7, 1)
        received = data(await stream.next_event())
        badge = received if level == "badge" else received["badge"]

        assert 7 == badge["unread"]
        assert [] == received.get("ops", [])


# ping


@LEVELS
async def test_ping(autojump_clock, world, level):
    """After 25 s without an event a `ping` carries the client's epoch and version."""
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        await first_events(stream)
        start = trio.current_time()
        await trio.sleep(20)
        epoch = (await world.notify())["epoch"]
        await stream.next_event()
        ping = await stream.next_event()

        assert "ping" == ping.type
        assert {"epoch": epoch, "v": 1} == data(ping)
        assert trio.current_time() == pytest.approx(start + 45)


async def test_ping_repeats(autojump_clock, make_world):
    """An idle stream sends a `ping` after each interval."""
    world = make_world(ping="10")
    async with world.user().stream(STREAM) as stream:
        await first_events(stream)
        start, times = trio.current_time(), []
        for _ in range(5):
            assert "ping" == (await stream.next_event()).type
            times.append(round(trio.current_time() - start))

        assert [10, 20, 30, 40, 50] == times


@LEVELS
async def test_ping_of_a_current_stream(autojump_clock, world, level):
    """The `ping` of a current stream has the version of `hello`."""
    await world.notify()
    headers = {"Last-Event-ID": await current_cursor(world)}
    target = f"{STREAM}?level={level}"
    async with world.user().stream(target, headers=headers) as stream:
        hello, ping = await first_events(stream)

        assert ("current", 1) == (hello["resume"], hello["v"])
        assert "ping" == ping.type
        assert {"epoch": hello["epoch"], "v": 1} == data(ping)


async def test_ping_has_the_last_sent_version(autojump_clock, world):
    """A `ping` has the last version that was sent, not that of the mailbox."""
    item = (await world.notify())["item"]
    await world.do(read_all=True, as_of=1)
    async with world.user().stream(STREAM) as stream:
        _, badge = await first_events(stream)
        await world.do(archive=[item])
        ping = data(await stream.next_event())

        assert 3 == (await world.badge())["v"]
        assert (2, 2) == (data(badge)["v"], ping["v"])


# reset


@LEVELS
@pytest.mark.parametrize("categories", ["", "&categories=default"], ids=["all", "some"])
async def test_reset_of_a_running_stream(autojump_clock, world, level, categories):
    """`reset` precedes the state of a new epoch."""
    await world.notify()
    async with world.user().stream(f"{STREAM}?level={level}{categories}") as stream:
        hello, _ = await first_events(stream)
        await world.producer.request("DELETE", "/v1/users/alice")
        reset, state = await events_so_far(stream)
        received = data(state)
        badge = received if level == "badge" else received["badge"]

        assert ("reset", '{"reason":"epoch"}') == (reset.type, reset.data)
        assert ("badge" if level == "badge" else "snapshot") == state.type
        assert (await world.badge())["epoch"] == received["epoch"] != hello["epoch"]
        assert (0, 0) == (received["v"], badge["unread"])


@LEVELS
async def test_stream_continues_in_the_new_epoch(autojump_clock, world, level):
    """After a `reset` the stream continues in the new epoch."""
    await world.notify()
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        await first_events(stream)
        await world.producer.request("DELETE", "/v1/users/alice")
        await events_so_far(stream)
        await world.notify()
        (event,) = await events_so_far(stream)
        received = data(event)

        assert (1, 0) == (received["v"], received.get("from", 0))
        assert "current" == (await _outcome(world, level, event.id))


async def _outcome(world, level: str, cursor: str) -> str:
    headers = {"Last-Event-ID": cursor}
    target = f"{STREAM}?level={level}"
    async with world.user().stream(target, headers=headers) as stream:
        return data(await stream.next_event())["resume"]


async def test_ping_after_a_reset(autojump_clock, world):
    """A `ping` after a `reset` has the new epoch: a page that lost both sees it."""
    await world.notify()
    async with world.user().stream(STREAM) as stream:
        hello, _ = await first_events(stream)
        answer = await world.producer.request("DELETE", "/v1/users/alice")
        await events_so_far(stream)
        ping = data(await stream.next_event())

        assert {"epoch": body(answer)["epoch"], "v": 0} == ping
        assert hello["epoch"] != ping["epoch"]


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029"])
async def test_data_is_one_line_for_every_reader(autojump_clock, world, separator):
    """Text with a separator of lines arrives whole where readers split at them."""
    text = f"a{separator}b"
    fields = dict.fromkeys(("title", "body", "key", "source"), text)
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        await world.notify(**fields, data={text: [text]})
        (change,) = await events_so_far(stream)
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        _, snapshot = await first_events(stream)

    assert [change.data] == change.data.splitlines()
    assert [snapshot.data] == snapshot.data.splitlines()
    for item in data(snapshot)["items"][0], data(change)["ops"][0]["add"]:
        assert {**fields, "data": {text: [text]}}.items() <= item.items()


# The numbers.


async def test_events_are_counted_by_type(autojump_clock, world):
    """The metrics count each event of a stream by type."""
    async with world.user(ttl=80).stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        await world.notify()
        await world.notify()
        await events_so_far(stream)
        await world.producer.request("DELETE", "/v1/users/alice")
        while await stream.next_event():
            pass

    assert {
        "hello": 1, "badge": 0, "snapshot": 2, "change": 2, "ping": 2, "reset": 1,
        "auth": 1, "bye": 1,
    } == {
        event: metric_value(world, "roundel_events_sent_total", event=event)
        for event in (
            "hello", "badge", "snapshot", "change", "ping", "reset", "auth", "bye",
        )
    }  # fmt: skip
