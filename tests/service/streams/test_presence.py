"""The cap of a user's streams holds for all nodes at one store together."""

from __future__ import annotations

import gc
from collections.abc import Mapping

import attrs
import pytest
import trio

from roundel_adapters.testing import AsgiClient
from roundel_service import app as service
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.base import Engine, EngineUnavailable
from roundel_service.streams.presence import (
    MAX_BATCH,
    RENEW_INTERVAL,
    REPORT_TIMEOUT,
    RETRY_DELAY,
    TTL,
    StreamPresence,
)
from roundel_service.testing import Setup
from support.flawed_engine import making
from support.service import (
    RunningService,
    data,
    metric_value,
    remaining_events,
    settings,
    wall_clock,
)

STREAM = "/v1/stream"


class Store:
    """An engine that may be away or mute, and notes what is said; else as it is."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.is_away = self.is_mute = False
        self.said: list[tuple[float, dict[str, int]]] = []

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        self.said.append((trio.current_time(), dict(streams)))
        if self.is_mute:
            await trio.sleep_forever()
        if self.is_away:
            return [EngineUnavailable("away") for _ in streams]
        return await self._engine.report_presence(streams, ttl=ttl)

    def __getattr__(self, name: str):
        return getattr(self._engine, name)


@attrs.define
class Node:
    """A service at the store; it ends without a word."""

    world: RunningService
    store: Store
    runs: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self.runs:
            await self.world.service.run(task_status=task_status)

    async def opens(self, user: str = "alice", *, task_status) -> None:
        """Open a stream, say whether it was let in, and stay until it ends."""
        async with self.world.user(user).stream(STREAM) as stream:
            assert 200 == stream.status
            hello, event = await stream.next_event(), await stream.next_event()
            assert "hello" == hello.type
            if event.type == "bye":
                assert "shed" == data(event)["reason"]
                assert await stream.next_event() is None
                task_status.started(None)
                return
            with trio.CancelScope() as scope:
                task_status.started(scope)
                await remaining_events(stream)

    def served(self, user: str = "alice") -> int:
        return self.world.service.hub._streams_of(user)


@pytest.fixture
async def make_node(nursery):
    """Start nodes at one store."""
    make_engine = making(None)

    async def make(**changes: str) -> Node:
        setup = Setup(name="one", clock=wall_clock, limits=RecordLimits())
        store = Store(make_engine(setup))
        given = {"max_streams_per_user": "3", "max_age": "86400", **changes}
        built = service.build(settings(**given), clock=wall_clock, engine=store)
        node = Node(RunningService(built, AsgiClient(built.app)), store)
        await nursery.start(node.run)
        return node

    return make


async def test_cap_holds_for_all_nodes_together(autojump_clock, make_node, nursery):
    """Who has all the streams allowed gets no more, wherever the next one comes."""
    one, other = await make_node(), await make_node()
    for node in (one, other, one):
        assert await nursery.start(node.opens)
    refused = [await nursery.start(node.opens) for node in (one, other) * 3]

    assert [None] * 6 == refused
    assert (2, 1) == (one.served(), other.served())
    assert 3 == metric_value(one.world, "roundel_streams_rejected_total")
    assert await nursery.start(other.opens, "bob")


async def test_place_of_a_stream_that_ends_is_free_elsewhere(
    autojump_clock, make_node, nursery
):
    """Within a second of its end another one begins, at any node."""
    one, other = await make_node(), await make_node()
    streams = [await nursery.start(one.opens) for _ in range(3)]
    for stream in streams:
        assert await nursery.start(other.opens) is None
        stream.cancel()
        await trio.sleep(1.0)
        assert await nursery.start(other.opens)

    assert (0, 3) == (one.served(), other.served())


@pytest.mark.parametrize("seed", range(20))
async def test_many_that_come_at_once(autojump_clock, make_node, nursery, seed):
    """No more are let in than there is room for; who is not takes no place."""
    one, other = await make_node(), await make_node()
    for node in (one, other)[: seed % 3]:
        assert await nursery.start(node.opens)
    async with trio.open_nursery() as coming:
        for _ in range(4):
            coming.start_soon(nursery.start, one.opens)
            coming.start_soon(nursery.start, other.opens)
    at_once = one.served() + other.served()
    await trio.sleep(1.0)
    for _ in range(3 - at_once):
        assert await nursery.start(other.opens)

    assert at_once <= 3
    assert await nursery.start(one.opens) is None


async def test_many_that_come_at_once_to_one_node_fill_all_places(
    autojump_clock, make_node, nursery
):
    """Nobody is sent away for those who are sent away themselves."""
    one, other = await make_node(), await make_node()
    assert await nursery.start(other.opens)
    async with trio.open_nursery() as coming:
        for _ in range(5):
            coming.start_soon(nursery.start, one.opens)

    assert 2 == one.served()


async def test_streams_that_stay_count_for_as_long(autojump_clock, make_node, nursery):
    """What is said again is not forgotten."""
    one, other = await make_node(), await make_node()
    for _ in range(3):
        assert await nursery.start(one.opens)
    for _ in range(5):
        await trio.sleep(TTL * 0.9)
        assert await nursery.start(other.opens) is None


async def test_places_of_a_node_that_was_killed_come_back(
    autojump_clock, make_node, nursery
):
    """They are kept for a while, since nobody knows that it is gone; then not."""
    one, other = await make_node(), await make_node()
    for _ in range(3):
        assert await nursery.start(one.opens)
    one.runs.cancel()
    await trio.sleep(TTL - RENEW_INTERVAL - 1.0)
    early = await nursery.start(other.opens)
    await trio.sleep(RENEW_INTERVAL + 2.0)

    assert early is None
    assert await nursery.start(other.opens)


async def test_nothing_begins_while_others_cannot_be_asked(
    autojump_clock, make_node, nursery
):
    """Who comes is asked to come later, who is there stays, and all is said later."""
    one, other = await make_node(), await make_node()
    streams = [await nursery.start(one.opens) for _ in range(2)]
    one.store.is_away = True
    async with one.world.user().stream(STREAM) as stream:
        (told,) = await remaining_events(stream)
    streams[0].cancel()
    await trio.sleep(TTL / 2)
    one.store.said.clear()
    await trio.sleep(TTL)
    tries, are_served = len(one.store.said), one.served()
    one.store.is_away = False
    await trio.sleep(1.5 * RETRY_DELAY)
    others = [await nursery.start(other.opens) for _ in range(3)]

    assert ("bye", "shed") == (told.type, data(told)["reason"])
    assert tries == pytest.approx(TTL / RETRY_DELAY, abs=2)
    assert 1 == are_served
    assert [True, True, False] == [bool(scope) for scope in others]


async def test_nobody_waits_for_ever_to_hear_of_others(
    autojump_clock, make_node, nursery
):
    """A store that says nothing at all is one that is away."""
    one = await make_node()
    one.store.is_mute = True
    began = trio.current_time()
    async with one.world.user().stream(STREAM) as stream:
        (told,) = await remaining_events(stream)

    assert "bye" == told.type
    assert trio.current_time() == pytest.approx(began + REPORT_TIMEOUT)


async def test_head_takes_no_place(autojump_clock, make_node, nursery):
    """Of a stream that was asked for and never begins nothing is left."""
    one, other = await make_node(), await make_node()
    for _ in range(9):
        await one.world.user().request("HEAD", STREAM)
    gc.collect()
    await trio.testing.wait_all_tasks_blocked()

    assert {"alice": 0} == one.store.said[-1][1]
    for _ in range(3):
        assert await nursery.start(other.opens)


async def test_who_goes_while_others_are_asked_takes_no_place(
    autojump_clock, make_node, nursery
):
    """The place of a stream whose client is gone is free at once."""
    one = await make_node(max_streams_per_user="1")
    for checkpoints in range(12):
        with trio.move_on_after(1.0) as scope:
            async with trio.open_nursery() as coming:
                coming.start_soon(coming.start, one.opens)
                for _ in range(checkpoints):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        stream = await nursery.start(one.opens)
        assert stream, checkpoints
        stream.cancel()
        await trio.testing.wait_all_tasks_blocked()


async def test_begin_and_end_are_said_once_each(autojump_clock, make_node, nursery):
    """A stream costs two words to the store, and one now and then while it lasts."""
    one = await make_node()
    stream = await nursery.start(one.opens)
    await trio.sleep(2.5 * RENEW_INTERVAL)
    stream.cancel()
    await trio.sleep(TTL)
    said = [(round(at), count) for at, count in one.store.said]

    here = {"alice": 1}
    assert [(0, here), (20, here), (40, here), (50, {"alice": 0})] == said


async def test_node_that_has_all_places_asks_nobody(autojump_clock, make_node, nursery):
    """Who comes again and again where there is no room is no load to the store."""
    one = await make_node()
    for _ in range(3):
        assert await nursery.start(one.opens)
    one.store.said.clear()
    for _ in range(9):
        assert await nursery.start(one.opens) is None

    assert [] == one.store.said


async def test_node_of_its_own_asks_nobody(autojump_clock, world):
    """Where no other node can be, streams begin as if there were no other."""
    assert world.service.hub.presence is None


# Many users.


@pytest.fixture
async def crowd(nursery):
    """Return an engine, and how many streams are served of each of many."""
    setup = Setup(name="crowd", clock=wall_clock, limits=RecordLimits())
    store, served = Store(making(None)(setup)), dict[str, int]()
    presence = StreamPresence(store, lambda user: served.get(user, 0), limit=9)
    await nursery.start(store.run)
    nursery.start_soon(presence.run)
    return store, served, presence


async def test_what_changed_of_many_is_said_in_pieces(autojump_clock, crowd):
    """No word is longer than its bound, and each user is in one of them."""
    store, served, presence = crowd
    users = [f"user-{number}" for number in range(3 * MAX_BATCH + 1)]
    for user in users:
        served[user] = 1
        presence.update(user)
    await trio.sleep(RENEW_INTERVAL + 1.0)
    sizes = [len(count) for _, count in store.said]
    first = [user for _, count in store.said[:4] for user in count]
    again = [user for _, count in store.said[4:] for user in count]

    assert sizes == [*[MAX_BATCH] * 3, 1] * 2
    assert sorted(users) == sorted(first) == sorted(again)


async def test_node_that_ends_in_peace_waits_until_all_is_said(autojump_clock, crowd):
    """Its places are free at once, and it does not wait for what cannot be said."""
    store, served, presence = crowd
    users = [f"user-{number}" for number in range(3 * MAX_BATCH)]
    for count in (1, 0):
        for user in users:
            served[user] = count
            presence.update(user)
        await presence.flush()
        assert dict.fromkeys(users, count) == {
            user: told for _, said in store.said for user, told in said.items()
        }
    store.is_away, served["alice"] = True, 1
    presence.update("alice")
    began = trio.current_time()
    await presence.flush()

    assert began == trio.current_time()


async def test_who_waits_is_asked_for_before_what_changed(autojump_clock, crowd):
    """Thousands that end keep nobody from beginning."""
    store, served, presence = crowd
    for number in range(3 * MAX_BATCH):
        served[f"user-{number}"] = 1
        presence.update(f"user-{number}")
    seat = await presence.reserve("alice")

    assert seat.granted
    assert "alice" in store.said[0][1]


async def test_of_many_one_is_tried_while_nothing_can_be_said(autojump_clock, crowd):
    """A store that is away is not asked for each of thousands, again and again."""
    store, served, presence = crowd
    store.is_away = True
    for number in range(9 * MAX_BATCH):
        served[f"user-{number}"] = 1
        presence.update(f"user-{number}")
    await trio.sleep(5.5 * RETRY_DELAY)
    tries = len(store.said)
    store.is_away = False
    await trio.sleep(RETRY_DELAY)

    assert 6 == tries
    assert len(served) == sum(len(count) for _, count in store.said[6:])


async def test_engine_that_raises_is_away(autojump_clock, crowd, monkeypatch):
    """What an engine says by raising it is no end of all."""
    store, _, presence = crowd

    async def report_presence(streams, *, ttl):
        raise EngineUnavailable("away")

    monkeypatch.setattr(store, "report_presence", report_presence)
    with pytest.raises(EngineUnavailable, match="away"):
        await presence.reserve("alice")
    monkeypatch.undo()

    assert (await presence.reserve("alice")).granted
