"""The stream, frame by frame: its head, its cursor and each of its events."""

from __future__ import annotations

import json
import re

import pytest
import trio

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
async def test_head_says_what_proxies_must_know(
    autojump_clock, world, level, name, value
):
    """The response is neither stored, compressed nor buffered on its way."""
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        assert 200 == stream.status
        assert value == stream.headers.get(name)


async def test_no_content_coding_whatever_the_browser_could_decode(
    autojump_clock, world
):
    """A stream is sent as it is, also to who would take it compressed."""
    headers = {"Accept-Encoding": "gzip, br, zstd"}
    async with world.user().stream(STREAM, headers=headers) as stream:
        assert "content-encoding" not in stream.headers


async def test_head_request_answers_the_same_head_and_ends(autojump_clock, world):
    """HEAD is answered with the stream's head alone and holds nothing open."""
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
    """Who cannot read an event stream is told so, and nobody else is."""
    headers = {} if accept is None else {"Accept": accept}
    answer = await world.user().request("HEAD", STREAM, headers=headers)

    assert status == answer.status


async def test_406_is_a_problem_document(autojump_clock, world):
    """It says what was expected, in the form of all other errors."""
    headers = {"Accept": "application/json"}
    answer = await world.user().request("GET", STREAM, headers=headers)

    assert "urn:roundel:problem:not-acceptable" == body(answer, 406)["type"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("level=all", "level"),
        ("lvl=badge", "lvl"),
        ("level=badge&level=items", "level"),
        ("categories=", "categories"),
        ("categories=a,,b", "categories"),
        ("categories=A", "categories"),
    ],
    ids=["value", "name", "twice", "none", "hole", "upper-case"],
)
async def test_bad_query_is_named(autojump_clock, world, query, field):
    """An unknown or bad parameter is an error, never ignored."""
    answer = await world.user().request("GET", f"{STREAM}?{query}")

    assert [field] == [error["field"] for error in body(answer, 422)["errors"]]


async def test_level_is_badge_unless_another_is_asked_for(autojump_clock, world):
    """Without a level a stream is about the badge."""
    async with world.user().stream(STREAM) as stream:
        _, state = await first_events(stream)

        assert "badge" == state.type


# The cursor.


@LEVELS
@pytest.mark.parametrize("by_ticket", [False, True], ids=["token", "ticket"])
async def test_cursor_is_short_and_costs_no_preflight(
    autojump_clock, world, level, by_ticket
):
    """An id is at most 128 of A-Z a-z 0-9 . _ ~ - at any version."""
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
async def test_every_frame_with_state_has_an_id_and_no_other_has(
    autojump_clock, world, level
):
    """An id always comes with the state that justifies it."""
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


async def test_last_event_id_wins_over_the_cursor_of_the_url(autojump_clock, world):
    """The URL's cursor is stale after the first reconnection; the header is not."""
    stale = await current_cursor(world)
    await world.notify()
    headers = {"Last-Event-ID": await current_cursor(world)}
    target = f"{STREAM}?cursor={stale}"
    async with world.user().stream(target, headers=headers) as stream:
        assert "current" == data(await stream.next_event())["resume"]


async def test_cursor_of_the_url_is_one(autojump_clock, world):
    """A page that has a list already presents its cursor, and goes on from there."""
    start = await current_cursor(world)
    await world.notify()
    async with world.user().stream(f"{STREAM}?cursor={start}") as stream:
        assert "replayed" == data(await stream.next_event())["resume"]


async def test_cursor_of_one_level_is_good_for_the_other(autojump_clock, world):
    """Where a reader stands says nothing of how it looks at the mailbox."""
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
async def test_hello_is_first_with_all_its_fields_and_no_id(
    autojump_clock, world, level
):
    """A stream begins with what to expect of it, which moves no cursor."""
    await world.notify()
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        hello = await stream.next_event()
        told = data(hello)

        assert ("hello", "") == (hello.type, hello.id)
        assert 480 <= told.pop("max_age") <= 600
        assert {
            "proto": 1,
            "resume": "snapshot",
            "epoch": (await world.badge())["epoch"],
            "v": 1,
            "ping": 25,
            "expires_in": 86_400,
        } == told


async def test_hello_tells_the_settings_that_count(autojump_clock, make_world):
    """What it says of pings, age and expiry is what the stream is held to."""
    world = make_world(ping="7", max_age="100")
    async with world.user(ttl=50).stream(STREAM) as stream:
        told = data(await stream.next_event())

        assert (7, 50, 50) == (told["ping"], told["max_age"], told["expires_in"])


# badge


async def test_badge_level_tells_the_badge_document(autojump_clock, world):
    """Level badge is the whole badge at once, and again whenever it changes."""
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


async def test_badge_level_says_nothing_of_what_no_badge_shows(autojump_clock, world):
    """A change that leaves the badge as it is wakes no badge stream."""
    item = (await world.notify())["item"]
    await world.do(read_all=True, as_of=1)
    async with world.user().stream(STREAM) as stream:
        await first_events(stream)
        await world.do(archive=[item])

        assert [] == await events_so_far(stream)


async def test_badge_level_is_told_the_latest_alone(autojump_clock, world):
    """Versions made at once are one frame: the latest badge wins."""
    async with world.user().stream(STREAM) as stream:
        await first_events(stream)
        for number in range(5):
            await world.service.hub.apply("alice", _notify(str(number)))
        (badge,) = await events_so_far(stream)

        assert (5, 5) == (data(badge)["v"], data(badge)["unread"])


def _notify(title: str) -> Notify:
    return Notify(id=f"item-{title}", category="default", title=title)


# snapshot


async def test_items_level_begins_with_a_snapshot(autojump_clock, world):
    """A first connect is told the list, newest first, and the badge with it."""
    items = [(await world.notify(title=title))["item"] for title in ("Old", "New")]
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        _, snapshot = await first_events(stream)
        told = data(snapshot)
        listed = body(await world.user().request("GET", "/v1/items"))

        assert "snapshot" == snapshot.type
        assert {"epoch", "v", "badge", "items", "next"} == told.keys()
        assert items[::-1] == [item["id"] for item in told["items"]]
        assert listed["items"] == told["items"]
        assert await world.badge() == told["badge"]
        assert (told["badge"]["epoch"], 2) == (told["epoch"], told["v"])
        assert told["next"] is None


@pytest.mark.parametrize("items", [0, 1, 50, 51, 53])
async def test_snapshot_tells_the_newest_fifty_and_where_the_rest_is(
    autojump_clock, world, items
):
    """A snapshot holds 50 items at most, newest first, and the way to the others."""
    titles = [str(number) for number in range(items)]
    for title in titles:
        await world.notify(title=title)
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        snapshot = data((await first_events(stream))[1])
        rest = []
        if snapshot["next"] is not None:
            target = f"/v1/items?before={snapshot['next']}"
            rest = body(await world.user().request("GET", target))["items"]
        told = [item["title"] for item in snapshot["items"]]

        assert min(50, items) == len(told)
        assert titles[::-1] == told + [item["title"] for item in rest]


async def test_item_of_a_snapshot_has_all_its_fields(autojump_clock, world):
    """An item is told as the list tells it, whatever was left out."""
    await world.notify(key="k", source="s", url="/u", data={"any": [1]}, ttl=60)
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        (item,) = data((await first_events(stream))[1])["items"]

        assert {
            "seq": 1, "category": "default", "title": "Hello", "body": None,
            "url": "/u", "icon": None, "key": "k", "source": "s",
            "data": {"any": [1]}, "created_at": wall_clock(),
            "expires_at": wall_clock() + 60,
            "seen": False, "read": False, "archived": False,
        } == {name: value for name, value in item.items() if name != "id"}  # fmt: skip


# change


async def test_items_level_tells_one_change_for_each_version(autojump_clock, world):
    """Changes come in order, none is skipped, and each goes on from the one before."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        for number in range(5):
            await world.notify(title=str(number))
        await world.do(read_all=True, as_of=5)
        changes = [data(event) for event in await events_so_far(stream)]

        assert [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)] == [
            (change["from"], change["v"]) for change in changes
        ]


async def test_each_change_of_a_burst_is_told(autojump_clock, world):
    """Versions made at once are a frame each at level items: none is conflated."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        for number in range(5):
            await world.service.hub.apply("alice", _notify(str(number)))
        changes = [data(event) for event in await events_so_far(stream)]

        assert [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)] == [
            (change["from"], change["v"]) for change in changes
        ]


async def test_change_carries_the_whole_badge(autojump_clock, world):
    """Every frame with a number carries the whole number, and when it is true."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        result = await world.notify(category="mention")
        change = data(await stream.next_event())

        assert {"epoch", "from", "v", "ops", "badge"} == change.keys()
        assert await world.badge() == change["badge"]
        assert (result["epoch"], result["v"]) == (change["epoch"], change["v"])


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ("read", {"read": True, "seen": True}),
        ("archive", {"archived": True}),
        ("unread", None),
        ("unarchive", None),
    ],
)
async def test_marks_are_told_as_what_they_set(autojump_clock, world, mark, told):
    """A mark that changes something is a version; one that does not is none."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        item = (await world.notify())["item"]
        await events_so_far(stream)
        await world.do(**{mark: [item]})
        changes = [data(event)["ops"] for event in await events_so_far(stream)]

        assert ([[{"set": [item], **told}]] if told else []) == changes


async def test_change_says_which_operation_it_was(autojump_clock, world):
    """The own operation is told with its op_id; what others did has none."""
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        item = (await world.notify())["item"]
        request = {"op_id": "mine", "ops": [{"read": [item]}]}
        answer = body(await post(world.user(), "/v1/ops", request))
        added, read = [data(event) for event in await events_so_far(stream)]

        assert "op_id" not in added
        assert "mine" == read["op_id"]
        assert (answer["v"], answer["badge"]) == (read["v"], read["badge"])


async def test_operation_is_told_to_all_streams_of_the_user(autojump_clock, world):
    """What is read here is read there, and the one who read it is told as well."""
    item = (await world.notify())["item"]
    target = f"{STREAM}?level=items"
    async with (
        world.user().stream(target) as here,
        world.user().stream(target) as there,
    ):
        await events_so_far(here)
        await events_so_far(there)
        await world.do(read=[item])
        told = [await events_so_far(stream) for stream in (here, there)]

        assert 1 == len(told[0])
        assert told[0] == told[1]


async def test_replacing_by_key_is_one_change(autojump_clock, world):
    """The old item goes and the new one comes in the same version."""
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


async def test_eviction_is_told(autojump_clock, make_world):
    """What a full mailbox let go is told, and that the number is a lower bound."""
    world = make_world(mailbox_items="1")
    old = (await world.notify())["item"]
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        await world.notify()
        change = data(await stream.next_event())

        assert {"remove": [old], "reason": "evicted"} == change["ops"][0]
        assert (1, True) == (change["badge"]["unread"], change["badge"]["more"])


async def test_retraction_is_told(autojump_clock, world):
    """What a producer took back leaves every list."""
    item = (await world.notify(source="issue:42"))["item"]
    async with world.user().stream(f"{STREAM}?level=items") as stream:
        await first_events(stream)
        await world.producer.request("DELETE", "/v1/items?source=issue:42")
        change = data(await stream.next_event())

        assert [{"remove": [item], "reason": "retracted"}] == change["ops"]
        assert 0 == change["badge"]["unread"]


async def test_expiry_is_told_in_time(autojump_clock, world):
    """An item leaves at its time, with a version, though nobody asked."""
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
async def test_gauge_is_told_although_it_has_no_items(autojump_clock, world, level):
    """A count that another database owns changes the badge, and so is told."""
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        await first_events(stream)
        await set_gauge(world, "tasks", 7, 1)
        told = data(await stream.next_event())
        badge = told if level == "badge" else told["badge"]

        assert 7 == badge["unread"]
        assert [] == told.get("ops", [])


# ping


@LEVELS
async def test_ping_comes_when_nothing_else_did_and_tells_the_version(
    autojump_clock, world, level
):
    """Silence is broken every 25 s by the version that the client should have."""
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        await first_events(stream)
        start = trio.current_time()
        await trio.sleep(20)
        await world.notify()
        await stream.next_event()
        ping = await stream.next_event()

        assert ("ping", {"v": 1}) == (ping.type, data(ping))
        assert trio.current_time() == pytest.approx(start + 45)


async def test_ping_goes_on(autojump_clock, make_world):
    """As long as nothing happens there is one after each interval."""
    world = make_world(ping="10")
    async with world.user().stream(STREAM) as stream:
        await first_events(stream)
        start, times = trio.current_time(), []
        for _ in range(5):
            assert "ping" == (await stream.next_event()).type
            times.append(round(trio.current_time() - start))

        assert [10, 20, 30, 40, 50] == times


@LEVELS
async def test_ping_of_a_current_stream_tells_the_version_of_hello(
    autojump_clock, world, level
):
    """Before the first state frame it is the one that hello told."""
    await world.notify()
    headers = {"Last-Event-ID": await current_cursor(world)}
    target = f"{STREAM}?level={level}"
    async with world.user().stream(target, headers=headers) as stream:
        hello, ping = await first_events(stream)

        assert ("current", 1) == (hello["resume"], hello["v"])
        assert ("ping", {"v": 1}) == (ping.type, data(ping))


async def test_ping_tells_what_was_told_and_not_what_there_is(autojump_clock, world):
    """A version that a badge stream need not know of is not asked of the client."""
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
async def test_running_stream_of_a_forgotten_user_is_told_to_forget(
    autojump_clock, world, level, categories
):
    """Another epoch is announced before its state."""
    await world.notify()
    async with world.user().stream(f"{STREAM}?level={level}{categories}") as stream:
        hello, _ = await first_events(stream)
        await world.producer.request("DELETE", "/v1/users/alice")
        reset, state = await events_so_far(stream)
        told = data(state)
        badge = told if level == "badge" else told["badge"]

        assert ("reset", '{"reason":"epoch"}') == (reset.type, reset.data)
        assert ("badge" if level == "badge" else "snapshot") == state.type
        assert (await world.badge())["epoch"] == told["epoch"] != hello["epoch"]
        assert (0, 0) == (told["v"], badge["unread"])


@LEVELS
async def test_stream_goes_on_in_the_new_epoch(autojump_clock, world, level):
    """After the reset each change is told, from the version that was told."""
    await world.notify()
    async with world.user().stream(f"{STREAM}?level={level}") as stream:
        await first_events(stream)
        await world.producer.request("DELETE", "/v1/users/alice")
        await events_so_far(stream)
        await world.notify()
        (event,) = await events_so_far(stream)
        told = data(event)

        assert (1, 0) == (told["v"], told.get("from", 0))
        assert "current" == (await _outcome(world, level, event.id))


async def _outcome(world, level: str, cursor: str) -> str:
    headers = {"Last-Event-ID": cursor}
    target = f"{STREAM}?level={level}"
    async with world.user().stream(target, headers=headers) as stream:
        return data(await stream.next_event())["resume"]


async def test_ping_after_a_reset_tells_the_new_line(autojump_clock, world):
    """The version of the old epoch is not asked of anybody any more."""
    await world.notify()
    async with world.user().stream(STREAM) as stream:
        await first_events(stream)
        await world.producer.request("DELETE", "/v1/users/alice")
        await events_so_far(stream)

        assert {"v": 0} == data(await stream.next_event())


# The numbers.


async def test_frames_are_counted_by_event(autojump_clock, world):
    """A scripted story of one stream is in the numbers, frame by frame."""
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
