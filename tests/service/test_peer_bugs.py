"""Regression tests for bugs of other projects; each docstring states the bug."""

from __future__ import annotations

import attrs
import pytest
import trio

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Notify
from support.service import (
    START,
    Client,
    RunningService,
    StaleReadEngine,
    Valve,
    body,
    current_cursor,
    data,
    events_so_far,
    first_events,
    post,
    remaining_events,
    resume,
    settings,
    wall_clock,
)

ITEMS = "/v1/stream?level=items"
LEVELS = pytest.mark.parametrize("level", ["badge", "items"])


# Cursors


@pytest.mark.slow
async def test_newest_cursor_is_found_in_a_long_history(autojump_clock, world):
    """Mercure searched from the oldest event, and stopped after 10,000 (#1382)."""
    for number in range(600):
        item = Notify(
            id=f"item-{number}", category="default", content=encode_content("Hello")
        )
        await world.service.hub.apply("alice", item)
    newest = await current_cursor(world)
    await world.notify()
    outcome, (change,) = await resume(world, "items", newest)

    assert ("replayed", 600, 601) == (outcome, data(change)["from"], data(change)["v"])


async def test_evicted_cursor_gets_a_snapshot(autojump_clock, make_world):
    """MessageBus jumped to the head silently; nchan only logged it."""
    world = make_world(ring_changes="3")
    start = await current_cursor(world)
    for _ in range(5):
        await world.notify()
    outcome, (snapshot,) = await resume(world, "items", start)

    assert ("snapshot", 5) == (outcome, Client().receive(snapshot).unread)


@LEVELS
async def test_outcome_of_a_gap_is_visible_to_scripts(
    autojump_clock, make_world, level
):
    """Mercure sent it in a response header, which `EventSource` hides."""
    world = make_world(ring_changes="1")
    headers = {"Last-Event-ID": await current_cursor(world)}
    for _ in range(3):
        await world.notify()
    target = f"/v1/stream?level={level}"
    async with world.user().stream(target, headers=headers) as stream:
        first = await stream.next_event()

        assert "hello" == first.type
        assert ("replayed" if level == "badge" else "snapshot") == data(first)["resume"]


async def test_unknown_cursor_gets_a_bounded_snapshot(autojump_clock, world):
    """ntfy sent its whole cache for an unknown id."""
    for _ in range(60):
        await world.notify()
    outcome, (snapshot,) = await resume(world, "items", "unknownXid00.5")

    assert ("reset", 50) == (outcome, len(data(snapshot)["items"]))


async def test_cursor_ahead_of_the_head_is_reset(autojump_clock, world):
    """After a flush, MessageBus treated a client ahead of the store as current."""
    for _ in range(5):
        await world.notify()
    ahead = await current_cursor(world)
    await world.producer.request("DELETE", "/v1/users/alice")
    outcome, (snapshot,) = await resume(world, "items", ahead)

    assert ("reset", 0) == (outcome, data(snapshot)["v"])


@LEVELS
async def test_empty_history_is_no_gap(autojump_clock, world, level):
    """AnyCable rejected an up-to-date client once the history had expired."""
    assert ("current", []) == await resume(world, level, await current_cursor(world))


@pytest.mark.slow
async def test_events_of_other_users_evict_no_cursor(autojump_clock, world):
    """In Mercure's shared log, other topics evicted the cursor of a quiet one."""
    await world.notify("alice")
    cursor = await current_cursor(world)
    for _ in range(100):
        await world.notify("bob")

    assert ("current", []) == await resume(world, "items", cursor)


async def test_every_id_resumes_every_topic(autojump_clock, world):
    """AnyCable stored only the position of the last topic with an event."""
    response = await post(world.producer, "/v1/tickets", {"user": "alice"})
    target = body(response)["url"] + "&level=items"
    async with world.anonymous.stream(target) as stream:
        for _ in range(3):
            await world.notify()
        _, *state = await events_so_far(stream)
    left = []
    for event in state:
        headers = {"Last-Event-ID": event.id}
        async with world.anonymous.stream(target, headers=headers) as stream:
            _, *missed = await events_so_far(stream)
            left.append(len(missed))

    assert [3, 2, 1, 0][-len(state) :] == left


async def test_events_of_one_instant_have_different_ids(autojump_clock, world):
    """Neurow gave all messages of a millisecond one id: a reconnect lost some."""
    async with world.user().stream(ITEMS) as stream:
        for number in range(10):
            item = Notify(
                id=f"item-{number}", category="default", content=encode_content("Hello")
            )
            await world.service.hub.apply("alice", item)
        _, *events = await events_so_far(stream)
    rests = [await resume(world, "items", event.id) for event in events]
    replayed = [[event.id for event in rest] for _, rest in rests]

    assert [[e.id for e in events[n + 1 :]] for n in range(len(events))] == replayed


async def test_clock_set_back_loses_no_event(autojump_clock, nursery):
    """nchan, Neurow and ntfy used the wall clock as a position."""
    shift = [0.0]
    built = service.build(settings(), clock=lambda: wall_clock() + shift[0])
    nursery.start_soon(built.run)
    world = RunningService(built, AsgiClient(built.app))
    await world.notify()
    start = await current_cursor(world)
    async with world.user().stream(ITEMS) as stream:
        client = Client().receive(*await events_so_far(stream))
        shift[0] = -3_600.0
        await world.notify()
        client.receive(*await events_so_far(stream))
    outcome, (change,) = await resume(world, "items", start)

    assert ("replayed", 2, 2) == (outcome, data(change)["v"], client.unread)


async def test_clock_set_back_does_not_prevent_a_disconnect(autojump_clock, nursery):
    """An earlier version of Roundel compared wall-clock times of disconnects."""
    shift = [0.0]
    built = service.build(settings(), clock=lambda: wall_clock() + shift[0])
    nursery.start_soon(built.run)
    world = RunningService(built, AsgiClient(built.app))
    await post(world.producer, "/v1/users/alice/disconnect", {})
    async with world.user().stream(ITEMS) as stream:
        await first_events(stream)
        shift[0] = -3_600.0
        await post(world.producer, "/v1/users/alice/disconnect", {})
        events = await events_so_far(stream)

        assert ["bye"] == [event.type for event in events]


# Opening a stream


async def test_disconnect_before_the_state_loses_no_event(autojump_clock, world):
    """ntfy moved the cursor past messages that were not delivered yet (#1293)."""
    async with world.user().stream(ITEMS) as stream:
        client = Client().receive(*await events_so_far(stream))
    await world.notify()
    headers = {"Last-Event-ID": client.cursor}
    async with world.user().stream(ITEMS, headers=headers) as stream:
        client.receive(await stream.next_event())
    await world.notify()
    outcome, changes = await resume(world, "items", client.cursor)

    assert ("replayed", 2) == (outcome, client.receive(*changes).unread)


@pytest.mark.parametrize("late", [False, True], ids=["here", "elsewhere"])
@LEVELS
async def test_change_while_a_stream_opens_is_delivered_once(
    autojump_clock, world, level, late
):
    """MessageBus lost the message or delivered it twice (#69)."""
    if late:
        world.service.hub.engine = StaleReadEngine(world.service.hub.engine)
    received = []
    for steps in range(40):
        user = f"user{steps}"
        async with trio.open_nursery() as nursery:
            done = trio.Event()

            async def read(client: Client, user: str, done: trio.Event) -> None:
                target = f"/v1/stream?level={level}"
                async with world.user(user).stream(target) as stream:
                    await done.wait()
                    client.receive(*stream.ready_events())

            client = Client()
            nursery.start_soon(read, client, user, done)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            item = Notify(
                id="item", category="default", content=encode_content("Hello")
            )
            await world.service.hub.apply(user, item)
            await trio.testing.wait_all_tasks_blocked()
            done.set()
        received.append((client.v, client.badge["unread"]))

    assert [(1, 1)] * 40 == received


@LEVELS
async def test_change_during_a_resume_is_delivered_once(autojump_clock, world, level):
    """The same with a cursor: replay and live delivery are one step."""
    received = []
    start = {f"user{n}": await current_cursor(world, f"user{n}") for n in range(25)}
    for steps, (user, cursor) in enumerate(start.items()):
        await world.notify(user)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_notify_after, world, user, steps)
            outcome, events = await resume(world, level, cursor, user=user)
        client = Client(epoch=cursor.partition(".")[0], v=0)
        received.append((outcome, client.receive(*events).badge["unread"]))

    assert [("replayed", 2)] * 25 == received


async def _notify_after(world, user: str, steps: int) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    item = Notify(id="item", category="default", content=encode_content("Hello"))
    await world.service.hub.apply(user, item)


# Credentials


async def test_expiry_never_makes_a_stream_anonymous(autojump_clock, world):
    """pimcore's studio kept an expired stream open as an anonymous one."""
    user = world.user(ttl=100)
    async with user.stream(ITEMS) as stream:
        *_, bye = await remaining_events(stream)
        headers = {"Last-Event-ID": stream.last_event_id}
    again = await user.request("GET", ITEMS, headers=headers)

    assert ("expired", 401) == (data(bye)["reason"], again.status)


# Limits and reconnections


async def test_stream_limit_rejects_new_streams_only(autojump_clock, make_world):
    """codev evicted the oldest stream, which reconnected at once: 800 a second."""
    world = make_world(max_streams="3")
    async with trio.open_nursery() as nursery:
        ends = []

        async def read(user: str) -> None:
            async with world.user(user).stream(ITEMS) as stream:
                ends.append(
                    (user, data((await remaining_events(stream))[-1])["reason"])
                )

        for number in range(10):
            nursery.start_soon(read, f"user{number}")
            await trio.testing.wait_all_tasks_blocked()
        assert [(f"user{n}", "shed") for n in range(3, 10)] == ends
        world.service.hub.drain()


async def _at_stream_limit(world) -> None:
    registry = world.service.hub._registry
    registry._limits = attrs.evolve(registry._limits, streams=0)


async def _at_user_limit(world) -> None:
    registry = world.service.hub._registry
    registry._limits = attrs.evolve(registry._limits, per_user=0)


async def _rate_limited(world) -> None:
    while (await world.user().request("GET", "/v1/badge")).status != 429:
        pass


async def _draining(world) -> None:
    world.service.hub.drain()


@pytest.mark.slow
@pytest.mark.parametrize(
    "overload", [_at_stream_limit, _at_user_limit, _rate_limited, _draining]
)
async def test_overload_does_not_stop_an_event_source(autojump_clock, world, overload):
    """Centrifugo rejects with 503, Mercure with 429: `EventSource` stops at both."""
    await overload(world)
    async with world.user().stream("/v1/stream") as stream:
        events = await remaining_events(stream)

        assert (200, ["hello", "bye"]) == (stream.status, [e.type for e in events])
        assert 1_000 <= stream.retry


async def test_drain_spreads_the_reconnections(autojump_clock, world):
    """Neurow's clients reconnected at once, cetacean's all after the same 5 s."""
    retries = []
    async with trio.open_nursery() as nursery:

        async def read(user: str) -> None:
            async with world.user(user).stream("/v1/stream") as stream:
                await remaining_events(stream)
                retries.append(stream.retry)

        for number in range(60):
            nursery.start_soon(read, f"user{number}")
        await trio.testing.wait_all_tasks_blocked()
        world.service.hub.drain()

    assert max(retries.count(retry) for retry in retries) <= 10
    assert max(retries) - min(retries) > 40


async def test_heartbeat_is_visible_to_scripts(autojump_clock, world):
    """Comments are invisible: watchdogs closed healthy streams or missed dead ones."""
    response = await world.user(ttl=200).request("GET", "/v1/stream")

    assert response.body.count(b"event: ping\n") >= 5
    assert not [line for line in response.body.split(b"\n") if line.startswith(b":")]


@pytest.mark.slow
async def test_slow_subscriber_catches_up_after_a_thousand_events(
    autojump_clock, world
):
    """Mercure disconnected it after 1,000 events; Pushpin dropped events after 100."""
    valve = Valve(world)
    async with valve.world.user().stream(ITEMS) as stream:
        await trio.testing.wait_all_tasks_blocked()
        for number in range(1_001):
            item = Notify(
                id=f"item-{number}", category="default", content=encode_content("Hello")
            )
            await world.service.hub.apply("alice", item)
        valve.open()
        client = Client().receive(*await events_so_far(stream))

        assert (1_001, await world.badge()) == (client.v, client.badge)


# Counts that drift


async def test_mark_all_keeps_newer_items_unread(autojump_clock, world):
    """Knock's and GitHub's "mark all" marked items that arrived later."""
    async with world.user().stream(ITEMS) as stream:
        await world.notify()
        client = Client().receive(*await events_so_far(stream))
        seen = client.v
        late = (await world.notify())["item"]
        await world.do(read_all=True, as_of=seen)
        client.receive(*await events_so_far(stream))

        assert [late] == [i["id"] for i in client.items.values() if not i["read"]]
        assert 1 == client.badge["unread"] == client.unread


async def test_count_equals_the_items_of_the_list(autojump_clock, world):
    """GitHub counts notifications that its list cannot show."""
    async with world.user().stream(ITEMS) as stream:
        await world.notify(source="issue:1", key="k")
        await world.notify(source="issue:1", category="mention")
        await world.notify(source="issue:2", ttl=5)
        await world.notify(source="issue:1", key="k")
        client, counts = Client().receive(*await events_so_far(stream)), []
        counts.append((client.badge["unread"], client.unread))
        await world.producer.request("DELETE", "/v1/items?source=issue:1")
        client.receive(*await events_so_far(stream))
        counts.append((client.badge["unread"], client.unread))
        await trio.sleep(5.1)
        client.receive(*await events_so_far(stream))
        counts.append((client.badge["unread"], client.unread))

        assert [(3, 3), (1, 1), (0, 0)] == counts


@LEVELS
async def test_expiry_is_an_event(autojump_clock, world, level):
    """In Centrifugo's maps, an entry expired without an event."""
    await world.notify(ttl=5)
    async with world.user().stream(f"/v1/stream?level={level}") as stream:
        client = Client().receive(*await events_so_far(stream))
        await trio.sleep(5.1)
        client.receive(*await events_so_far(stream))

        assert (2, 0) == (client.v, client.badge["unread"])
        assert wall_clock() > START + 5


async def test_same_read_is_counted_once(autojump_clock, world):
    """JabbR subtracted one for each repeated read; the count became negative."""
    item = (await world.notify())["item"]
    async with world.user().stream(ITEMS) as stream:
        client = Client().receive(*await events_so_far(stream))
        for _ in range(3):
            await world.do(read=[item])
            await trio.sleep(1)
        changes = await events_so_far(stream)

        assert 1 == len(changes)
        assert 0 == client.receive(*changes).badge["unread"]


async def test_lower_bound_is_marked_everywhere(autojump_clock, make_world):
    """Novu showed 100 over HTTP and 100+ over the socket."""
    world = make_world(mailbox_items="2")
    async with (
        world.user().stream("/v1/stream") as badges,
        world.user().stream(ITEMS) as items,
    ):
        for _ in range(3):
            await world.notify()
        received = [
            Client().receive(*await events_so_far(stream)).badge
            for stream in (badges, items)
        ]

        assert [await world.badge()] * 2 == received
        assert received[0]["more"]
