"""The stream of the HTTP contract, frame by frame, on virtual time."""

from __future__ import annotations

import pytest
import trio

from .conftest import body, data, wall_clock


async def opened(stream):
    """Return the hello and the first state frame of a stream."""
    return data(await stream.next_event()), await stream.next_event()


async def test_hello_is_first_and_has_no_id(autojump_clock, world):
    """A stream begins with what to expect of it, which moves no cursor."""
    async with world.user().stream("/v1/stream") as stream:
        hello = await stream.next_event()

        assert hello.type == "hello"
        assert hello.id == ""
        assert {
            "proto": 1,
            "resume": "snapshot",
            "v": 0,
            "ping": 25,
            "expires_in": 86_400,
        }.items() <= data(hello).items()
        assert 480 <= data(hello)["max_age"] <= 600


async def test_head_says_what_proxies_must_know(autojump_clock, world):
    """The response is neither stored, compressed nor buffered on its way."""
    async with world.user().stream("/v1/stream") as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store, no-transform"
        assert stream.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in stream.headers


async def test_head_request_answers_the_head_and_ends(autojump_clock, world):
    """HEAD is answered with the stream's head alone and holds nothing open."""
    get = world.user()
    async with get.stream("/v1/stream") as stream:
        head = await get.request("HEAD", "/v1/stream")

        assert head.status == 200
        assert head.body == b""
        assert {**stream.headers, "x-request-id": ""} == {
            **head.headers, "x-request-id": "",
        }  # fmt: skip
        assert world.service.hub.streams == 1


async def test_badge_level_tells_the_badge_and_nothing_else(autojump_clock, world):
    """Level badge is the whole badge at once, and again whenever it changes."""
    async with world.user().stream("/v1/stream") as stream:
        _, first = await opened(stream)
        result = await world.notify(category="mention")
        second = await stream.next_event()

        assert first.type == second.type == "badge"
        assert data(first)["unread"] == 0
        assert data(second) == await world.badge()
        assert data(second)["v"] == result["v"]
        assert second.id.endswith(".1")


async def test_badge_level_says_nothing_of_what_no_badge_shows(autojump_clock, world):
    """A change that leaves the badge as it is wakes no badge stream."""
    await world.notify()
    await world.do(read_all=True, as_of=1)
    item = body(await world.user().request("GET", "/v1/items"))["items"][0]
    async with world.user().stream("/v1/stream") as stream:
        await opened(stream)
        await world.do(archive=[item["id"]])
        await trio.testing.wait_all_tasks_blocked()

        assert stream.ready_events() == []


async def test_items_level_tells_the_list_and_then_each_change(autojump_clock, world):
    """Level items is a snapshot and then one change for each version, in order."""
    before = await world.notify(title="Old")
    async with world.user().stream("/v1/stream?level=items") as stream:
        _, snapshot = await opened(stream)
        added = await world.notify(title="New")
        change = data(await stream.next_event())
        read = await world.do(read=[added["item"]])
        second = data(await stream.next_event())

        assert snapshot.type == "snapshot"
        assert [before["item"]] == [item["id"] for item in data(snapshot)["items"]]
        assert data(snapshot)["next"] is None
        assert (1, 2) == (change["from"], change["v"])
        assert "New" == change["ops"][0]["add"]["title"]
        assert change["ops"][0]["add"]["seq"] == 2
        assert (2, 3) == (second["from"], second["v"])
        assert [{"set": [added["item"]], "read": True, "seen": True}] == second["ops"]
        assert read["badge"] == second["badge"]
        assert second["op_id"].startswith("op-")


async def test_snapshot_tells_the_newest_fifty_and_where_the_rest_is(
    autojump_clock, world
):
    """A snapshot holds 50 items at most, newest first, and the way to the others."""
    for number in range(53):
        await world.notify(title=str(number))
    async with world.user().stream("/v1/stream?level=items") as stream:
        snapshot = data((await opened(stream))[1])
        rest = await world.user().request("GET", f"/v1/items?before={snapshot['next']}")

        assert [str(n) for n in range(52, 2, -1)] == [
            item["title"] for item in snapshot["items"]
        ]
        assert ["2", "1", "0"] == [item["title"] for item in body(rest)["items"]]


# Resume: a pure function of cursor, epoch, version and ring.


async def resumed(world, level, cursor, *, user="alice"):
    """Return outcome and state frames of a stream that presents *cursor*."""
    headers = {"Last-Event-ID": cursor}
    target = f"/v1/stream?level={level}"
    async with world.user(user).stream(target, headers=headers) as stream:
        await trio.testing.wait_all_tasks_blocked()
        hello, *state = stream.ready_events()
        return data(hello)["resume"], state


async def cursor(world, user="alice"):
    return body(await world.user(user).request("GET", "/v1/items"))["cursor"]


@pytest.mark.parametrize("level", ["badge", "items"])
async def test_cursor_of_the_newest_frame_is_current(autojump_clock, world, level):
    """Who has everything is told so, and is told nothing again."""
    await world.notify()

    assert ("current", []) == await resumed(world, level, await cursor(world))


async def test_current_needs_no_ring(autojump_clock, world):
    """An empty mailbox with an empty ring still knows that nothing changed."""
    assert ("current", []) == await resumed(world, "items", await cursor(world))


async def test_badge_level_behind_is_replayed_the_badge(autojump_clock, world):
    """A late badge is one frame late, however many changes it missed."""
    start = await cursor(world)
    for _ in range(5):
        await world.notify()

    outcome, (badge,) = await resumed(world, "badge", start)
    assert "replayed" == outcome
    assert data(badge)["v"] == 5


async def test_items_level_behind_is_replayed_exactly_what_it_missed(
    autojump_clock, world
):
    """Within the ring, the missing changes come, each once and in order."""
    await world.notify()
    start = await cursor(world)
    for _ in range(3):
        await world.notify()

    outcome, changes = await resumed(world, "items", start)
    assert "replayed" == outcome
    assert [(1, 2), (2, 3), (3, 4)] == [
        (data(c)["from"], data(c)["v"]) for c in changes
    ]


async def test_items_level_beyond_the_ring_gets_the_snapshot(
    autojump_clock, make_world
):
    """Evicted from the ring, the changes are stood in for by the whole state."""
    world = make_world(ring_changes="3")
    start = await cursor(world)
    for _ in range(4):
        await world.notify()

    outcome, (snapshot,) = await resumed(world, "items", start)
    assert "snapshot" == outcome
    assert data(snapshot)["v"] == 4
    assert len(data(snapshot)["items"]) == 4


@pytest.mark.parametrize("level", ["badge", "items"])
@pytest.mark.parametrize(
    "presented",
    ["nonsense", "a.b.c.d", "é", "x" * 500, "otherEpoch00.1", "{ahead}"],
    ids=["unreadable", "too-many-parts", "not-ascii", "long", "other-epoch", "ahead"],
)
async def test_cursor_that_says_nothing_here_is_reset(
    autojump_clock, world, level, presented
):
    """Whatever a client sends has an outcome; what proves nothing proves nothing."""
    await world.notify()
    ahead = (await cursor(world)).rpartition(".")[0] + ".zz"

    outcome, (state,) = await resumed(world, level, presented.format(ahead=ahead))
    assert "reset" == outcome
    assert data(state)["v"] == 1


async def test_cursor_of_another_user_is_worth_nothing(autojump_clock, world):
    """Another user's position is not taken for one's own, even at equal versions."""
    await world.notify("alice")
    await world.notify("bob")

    outcome, _ = await resumed(world, "items", await cursor(world, "bob"))
    assert "reset" == outcome


async def test_last_event_id_wins_over_the_cursor_of_the_url(autojump_clock, world):
    """The URL's cursor is stale after the first reconnection; the header is not."""
    stale = await cursor(world)
    await world.notify()
    headers = {"Last-Event-ID": await cursor(world)}
    target = f"/v1/stream?cursor={stale}"
    async with world.user().stream(target, headers=headers) as stream:
        assert data(await stream.next_event())["resume"] == "current"
    async with world.user().stream(target) as stream:
        assert data(await stream.next_event())["resume"] == "replayed"


async def test_connection_cut_behind_hello_has_not_moved_the_cursor(
    autojump_clock, world
):
    """Dying between hello and the state leaves the client where it was."""
    async with world.user().stream("/v1/stream?level=items") as stream:
        hello = await stream.next_event()

        assert hello.id == ""


async def test_running_stream_of_another_epoch_is_told_to_forget(autojump_clock, world):
    """Mid-stream, a new epoch is announced before its state."""
    hub = world.service.hub
    async with world.user().stream("/v1/stream?level=items") as stream:
        await opened(stream)
        channel = await hub.channel("alice")
        foreign = channel.record.mailbox.__class__(epoch="another", v=7)
        channel.update(channel.record.__class__(foreign))
        reset, snapshot = await stream.next_event(), await stream.next_event()

        assert ("reset", '{"why":"epoch"}') == (reset.type, reset.data)
        assert ("another", 7) == (data(snapshot)["epoch"], data(snapshot)["v"])


# Time.


async def test_ping_comes_when_nothing_else_did_and_tells_the_version(
    autojump_clock, world
):
    """Silence is broken every 25 s by the version that the client should have."""
    async with world.user().stream("/v1/stream") as stream:
        await opened(stream)
        start = trio.current_time()
        await trio.sleep(20)
        await world.notify()
        await stream.next_event()
        ping = await stream.next_event()

        assert "ping" == ping.type
        assert data(ping) == {"v": 1}
        assert trio.current_time() == pytest.approx(start + 45)


async def test_stream_ends_at_its_max_age_with_bye(autojump_clock, world):
    """An old stream is renewed in a way that a plain EventSource survives."""
    async with world.user().stream("/v1/stream") as stream:
        hello, _ = await opened(stream)
        events = []
        while event := await stream.next_event():
            events.append(event)

        assert {"ping", "bye"} == {event.type for event in events}
        assert data(events[-1]) == {"why": "max_age", "retry": stream.retry}
        assert trio.current_time() == pytest.approx(hello["max_age"], abs=1)
        assert world.service.hub.streams == 0


async def test_stream_does_not_outlive_its_proof(autojump_clock, world):
    """At the token's exp the stream says so and ends."""
    async with world.user(ttl=100).stream("/v1/stream") as stream:
        while event := await stream.next_event():
            last = event

        assert data(last)["why"] == "expired"
        assert trio.current_time() == pytest.approx(100, abs=1)


async def test_expiry_of_an_item_is_a_change_that_is_told_in_time(
    autojump_clock, world
):
    """An item leaves at its time, with a version, though nobody asked."""
    async with world.user().stream("/v1/stream?level=items") as stream:
        await opened(stream)
        added = await world.notify(ttl=10)
        await stream.next_event()
        change = data(await stream.next_event())

        assert wall_clock() == pytest.approx(1_763_690_010, abs=0.1)
        assert [{"remove": [added["item"]], "why": "expired"}] == change["ops"]
        assert change["badge"]["unread"] == 0


async def test_drain_tells_every_stream_when_to_come_back(autojump_clock, world):
    """At a drain each stream gets retry and bye, spread, and ends."""
    async with trio.open_nursery() as nursery:
        byes = []

        async def read(user: str) -> None:
            async with world.user(user).stream("/v1/stream") as stream:
                while event := await stream.next_event():
                    last = event
                byes.append((data(last), stream.retry))

        for number in range(50):
            nursery.start_soon(read, f"user{number}")
        await trio.testing.wait_all_tasks_blocked()
        world.service.hub.drain()

    assert len(byes) == 50
    assert {"drain"} == {bye["why"] for bye, _ in byes}
    assert all(1_000 <= retry <= 1_100 == 1_100 for _, retry in byes)
    assert all(bye["retry"] == retry for bye, retry in byes)
    assert len({retry for _, retry in byes}) > 10


async def test_stream_that_opens_while_draining_is_sent_away(autojump_clock, world):
    """A stream that slips in at the end is answered, and ended, like the others."""
    world.service.hub.drain()
    async with world.user().stream("/v1/stream") as stream:
        hello, bye = await stream.next_event(), await stream.next_event()

        assert hello.type == "hello"
        assert data(bye)["why"] == "drain"
        assert await stream.next_event() is None


async def test_peer_that_leaves_leaves_nothing_behind(autojump_clock, world):
    """A disconnect ends the stream, and with its last stream the user's channel."""
    hub = world.service.hub
    async with world.user().stream("/v1/stream") as stream:
        await opened(stream)
        assert hub.streams == 1
    await world.notify()

    assert hub.streams == 0
    assert len(hub._channels) == 0


# Refusals.


async def test_accept_that_excludes_event_streams_is_406(world):
    """Who cannot read an event stream is told so."""
    headers = {"Accept": "application/json"}
    answer = await world.user().request("GET", "/v1/stream", headers=headers)

    assert body(answer, 406)["type"] == "urn:roundel:problem:not-acceptable"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("level=all", "level"),
        ("lvl=badge", "lvl"),
        ("level=badge&level=items", "level"),
    ],
    ids=["value", "name", "twice"],
)
async def test_bad_query_is_named(autojump_clock, world, query, field):
    """An unknown or bad parameter is an error, never ignored."""
    answer = await world.user().request("GET", f"/v1/stream?{query}")

    assert [field] == [error["field"] for error in body(answer, 422)["errors"]]
