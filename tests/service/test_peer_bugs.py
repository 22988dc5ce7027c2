"""What went wrong elsewhere: each bug of a peer as a story that ends well here."""

from __future__ import annotations

import attrs
import pytest
import trio

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
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


# Cursors.


@pytest.mark.slow
async def test_cursor_of_the_newest_event_is_found_however_much_there_is(
    autojump_clock, world
):
    """Mercure looked from the oldest event on, and gave up after 10,000 (#1382)."""
    for number in range(600):
        item = Notify(id=f"item-{number}", category="default", title="Hello")
        await world.service.hub.apply("alice", item)
    newest = await current_cursor(world)
    await world.notify()
    outcome, (change,) = await resume(world, "items", newest)

    assert ("replayed", 600, 601) == (outcome, data(change)["from"], data(change)["v"])


async def test_evicted_cursor_is_told_to_be_one(autojump_clock, make_world):
    """MessageBus jumped to the head silently, nchan said it to the server's log."""
    world = make_world(ring_changes="3")
    start = await current_cursor(world)
    for _ in range(5):
        await world.notify()
    outcome, (snapshot,) = await resume(world, "items", start)

    assert ("snapshot", 5) == (outcome, Client().receive(snapshot).unread)


@LEVELS
async def test_outcome_of_a_gap_is_visible_to_page_script(
    autojump_clock, make_world, level
):
    """Mercure told it in a header of the response, which EventSource hides."""
    world = make_world(ring_changes="1")
    headers = {"Last-Event-ID": await current_cursor(world)}
    for _ in range(3):
        await world.notify()
    target = f"/v1/stream?level={level}"
    async with world.user().stream(target, headers=headers) as stream:
        first = await stream.next_event()

        assert "hello" == first.type
        assert ("replayed" if level == "badge" else "snapshot") == data(first)["resume"]


async def test_unknown_cursor_does_not_resend_everything(autojump_clock, world):
    """ntfy answered an id that it did not know with all that it had kept."""
    for _ in range(60):
        await world.notify()
    outcome, (snapshot,) = await resume(world, "items", "unknownXid00.5")

    assert ("reset", 50) == (outcome, len(data(snapshot)["items"]))


async def test_cursor_that_is_ahead_is_told_so(autojump_clock, world):
    """MessageBus took a client ahead of a flushed store for one that is up to date."""
    for _ in range(5):
        await world.notify()
    ahead = await current_cursor(world)
    await world.producer.request("DELETE", "/v1/users/alice")
    outcome, (snapshot,) = await resume(world, "items", ahead)

    assert ("reset", 0) == (outcome, data(snapshot)["v"])


@LEVELS
async def test_empty_ring_is_no_gap(autojump_clock, world, level):
    """AnyCable rejected who had everything, once the history had expired."""
    assert ("current", []) == await resume(world, level, await current_cursor(world))


@pytest.mark.slow
async def test_what_happens_to_others_moves_nobody(autojump_clock, world):
    """Mercure's one log for all made every quiet subscriber's cursor an old one."""
    await world.notify("alice")
    cursor = await current_cursor(world)
    for _ in range(100):
        await world.notify("bob")

    assert ("current", []) == await resume(world, "items", cursor)


async def test_every_id_resumes_every_lane(autojump_clock, world):
    """AnyCable remembered the last lane that it had told something of, and no other."""
    asked = await post(world.producer, "/v1/tickets", {"user": "alice"})
    target = body(asked)["url"] + "&level=items"
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


async def test_events_of_one_instant_are_told_apart(autojump_clock, world):
    """Neurow gave all messages of a millisecond one id: a cut lost the rest."""
    async with world.user().stream(ITEMS) as stream:
        for number in range(10):
            item = Notify(id=f"item-{number}", category="default", title="Hello")
            await world.service.hub.apply("alice", item)
        _, *events = await events_so_far(stream)
    rests = [await resume(world, "items", event.id) for event in events]
    replayed = [[event.id for event in rest] for _, rest in rests]

    assert [[e.id for e in events[n + 1 :]] for n in range(len(events))] == replayed


async def test_clock_that_is_set_back_hides_nothing(autojump_clock, nursery):
    """nchan, Neurow and ntfy took the time of day for a position."""
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


async def test_clock_that_is_set_back_keeps_nobody_connected(autojump_clock, nursery):
    """The same mistake in our own house: a disconnect is one at any time of day."""
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


# Opening.


async def test_cut_between_hello_and_the_state_loses_nothing(autojump_clock, world):
    """ntfy let a new message move the cursor over those not told yet (#1293)."""
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
async def test_change_while_a_stream_opens_is_told_once(
    autojump_clock, world, level, late
):
    """With MessageBus one could choose between losing it and getting it twice (#69)."""
    if late:
        world.service.hub.engine = StaleReadEngine(world.service.hub.engine)
    told = []
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
            item = Notify(id="item", category="default", title="Hello")
            await world.service.hub.apply(user, item)
            await trio.testing.wait_all_tasks_blocked()
            done.set()
        told.append((client.v, client.badge["unread"]))

    assert [(1, 1)] * 40 == told


@LEVELS
async def test_change_while_a_stream_resumes_is_told_once(autojump_clock, world, level):
    """The same with a cursor: replay and live delivery are one step."""
    told = []
    start = {f"user{n}": await current_cursor(world, f"user{n}") for n in range(25)}
    for steps, (user, cursor) in enumerate(start.items()):
        await world.notify(user)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_notify_after, world, user, steps)
            outcome, events = await resume(world, level, cursor, user=user)
        client = Client(epoch=cursor.partition(".")[0], v=0)
        told.append((outcome, client.receive(*events).badge["unread"]))

    assert [("replayed", 2)] * 25 == told


async def _notify_after(world, user: str, steps: int) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    item = Notify(id="item", category="default", title="Hello")
    await world.service.hub.apply(user, item)


# Proofs.


async def test_expiry_never_makes_a_stream_anonymous(autojump_clock, world):
    """pimcore's studio went on for ever after the hour, as nobody and in silence."""
    user = world.user(ttl=100)
    async with user.stream(ITEMS) as stream:
        *_, bye = await remaining_events(stream)
        headers = {"Last-Event-ID": stream.last_event_id}
    again = await user.request("GET", ITEMS, headers=headers)

    assert ("expired", 401) == (data(bye)["reason"], again.status)


# Limits, and coming back.


async def test_full_house_evicts_nobody(autojump_clock, make_world):
    """codev evicted the oldest at its cap, which came back at once: 800 a second."""
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


async def _full(world) -> None:
    registry = world.service.hub._registry
    registry._limits = attrs.evolve(registry._limits, streams=0)


async def _full_for_the_user(world) -> None:
    registry = world.service.hub._registry
    registry._limits = attrs.evolve(registry._limits, per_user=0)


async def _too_fast(world) -> None:
    while (await world.user().request("GET", "/v1/badge")).status != 429:
        pass


async def _draining(world) -> None:
    world.service.hub.drain()


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [_full, _full_for_the_user, _too_fast, _draining])
async def test_no_trouble_kills_an_event_source(autojump_clock, world, trouble):
    """Centrifugo sheds with 503, Mercure with 429: browsers give up at both."""
    await trouble(world)
    async with world.user().stream("/v1/stream") as stream:
        events = await remaining_events(stream)

        assert (200, ["hello", "bye"]) == (stream.status, [e.type for e in events])
        assert 1_000 <= stream.retry


async def test_deploy_does_not_synchronise_those_who_come_back(autojump_clock, world):
    """Neurow told all to come back at once, cetacean all after the same 5 seconds."""
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


async def test_heartbeat_is_visible_to_page_script(autojump_clock, world):
    """Comments are not: watchdogs killed healthy streams, or missed the dead ones."""
    answer = await world.user(ttl=200).request("GET", "/v1/stream")

    assert answer.body.count(b"event: ping\n") >= 5
    assert not [line for line in answer.body.split(b"\n") if line.startswith(b":")]


@pytest.mark.slow
async def test_reader_that_missed_a_thousand_is_neither_cut_nor_left_behind(
    autojump_clock, world
):
    """Mercure cut it after 1,000 events; Pushpin dropped its after 100, silently."""
    valve = Valve(world)
    async with valve.world.user().stream(ITEMS) as stream:
        await trio.testing.wait_all_tasks_blocked()
        for number in range(1_001):
            item = Notify(id=f"item-{number}", category="default", title="Hello")
            await world.service.hub.apply("alice", item)
        valve.open()
        client = Client().receive(*await events_so_far(stream))

        assert (1_001, await world.badge()) == (client.v, client.badge)


# Numbers that drift.


async def test_mark_all_does_not_swallow_what_comes_later(autojump_clock, world):
    """Knock's and GitHub's "mark all" took with it what nobody had seen yet."""
    async with world.user().stream(ITEMS) as stream:
        await world.notify()
        client = Client().receive(*await events_so_far(stream))
        seen = client.v
        late = (await world.notify())["item"]
        await world.do(read_all=True, as_of=seen)
        client.receive(*await events_so_far(stream))

        assert [late] == [i["id"] for i in client.items.values() if not i["read"]]
        assert 1 == client.badge["unread"] == client.unread


async def test_count_is_of_what_the_list_can_show(autojump_clock, world):
    """GitHub counts what nobody can open any more: ghosts that never go away."""
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
    """In Centrifugo's maps an entry was gone, and nobody was told."""
    await world.notify(ttl=5)
    async with world.user().stream(f"/v1/stream?level={level}") as stream:
        client = Client().receive(*await events_so_far(stream))
        await trio.sleep(5.1)
        client.receive(*await events_so_far(stream))

        assert (2, 0) == (client.v, client.badge["unread"])
        assert wall_clock() > START + 5


async def test_same_read_is_counted_once(autojump_clock, world):
    """JabbR took one off for each of the same read; the number went below zero."""
    item = (await world.notify())["item"]
    async with world.user().stream(ITEMS) as stream:
        client = Client().receive(*await events_so_far(stream))
        for _ in range(3):
            await world.do(read=[item])
            await trio.sleep(1)
        changes = await events_so_far(stream)

        assert 1 == len(changes)
        assert 0 == client.receive(*changes).badge["unread"]


async def test_bound_travels_with_the_number(autojump_clock, make_world):
    """Novu said 100 over HTTP and 100+ over the socket."""
    world = make_world(mailbox_items="2")
    async with (
        world.user().stream("/v1/stream") as badges,
        world.user().stream(ITEMS) as items,
    ):
        for _ in range(3):
            await world.notify()
        told = [
            Client().receive(*await events_so_far(stream)).badge
            for stream in (badges, items)
        ]

        assert [await world.badge()] * 2 == told
        assert told[0]["more"]
