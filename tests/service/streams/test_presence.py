"""Stream presence: a user's stream limit holds for all nodes together."""

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
from support.flawed_engine import engine_with
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
    """An engine that records reports, and can be made unavailable or silent."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.is_unavailable = self.is_silent = False
        self.reports: list[tuple[float, dict[str, int]]] = []

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        self.reports.append((trio.current_time(), dict(streams)))
        if self.is_silent:
            await trio.sleep_forever()
        if self.is_unavailable:
            return [EngineUnavailable("away") for _ in streams]
        return await self._engine.report_presence(streams, ttl=ttl)

    def __getattr__(self, name: str):
        return getattr(self._engine, name)


@attrs.define
class Node:
    """A service on the shared engine; cancelling it simulates a crash."""

    world: RunningService
    store: Store
    runs: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self.runs:
            await self.world.service.run(task_status=task_status)

    async def opens(self, user: str = "alice", *, task_status) -> None:
        """Open a stream, report whether it was accepted, and read until it ends."""
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
    """Return a function that starts a node on the shared engine."""
    make_engine = engine_with(None)

    async def make(**changes: str) -> Node:
        setup = Setup(name="one", clock=wall_clock, limits=RecordLimits())
        store = Store(make_engine(setup))
        given = {"max_streams_per_user": "3", "max_age": "86400", **changes}
        built = service.build(settings(**given), clock=wall_clock, engine=store)
        node = Node(RunningService(built, AsgiClient(built.app)), store)
        await nursery.start(node.run)
        return node

    return make


async def test_limit_holds_for_all_nodes(autojump_clock, make_node, nursery):
    """A user at the limit gets no further stream at any node."""
    one, other = await make_node(), await make_node()
    for node in (one, other, one):
        assert await nursery.start(node.opens)
    refused = [await nursery.start(node.opens) for node in (one, other) * 3]

    assert [None] * 6 == refused
    assert (2, 1) == (one.served(), other.served())
    assert 3 == metric_value(one.world, "roundel_streams_rejected_total")
    assert await nursery.start(other.opens, "bob")


async def test_long_polls_count_at_all_nodes(autojump_clock, make_node, nursery):
    """A user's polls at one node take places of streams and polls at another."""
    one, other = await make_node(), await make_node()
    tag = (await one.world.user().request("GET", "/v1/badge")).headers["etag"]
    waited: list[float] = []

    async def poll(node: Node) -> None:
        headers, began = {"If-None-Match": tag}, trio.current_time()
        await node.world.user().request("GET", "/v1/badge?wait=9", headers=headers)
        waited.append(trio.current_time() - began)

    async with trio.open_nursery() as polls:
        for node in (one, other, one):
            polls.start_soon(poll, node)
            await trio.sleep(1.0)
        assert await nursery.start(other.opens) is None
        await poll(other)
    await trio.sleep(1.0)

    assert [0, 9, 9, 9] == [round(seconds) for seconds in waited]
    assert await nursery.start(other.opens)


async def test_poll_without_the_engine_is_answered(autojump_clock, make_node):
    """If the other nodes' counts are missing, a poll does not wait."""
    node = await make_node()
    alice = node.world.user()
    tag = (await alice.request("GET", "/v1/badge")).headers["etag"]
    node.store.is_unavailable = True
    headers = {"If-None-Match": tag}
    answer = await alice.request("GET", "/v1/badge?wait=60", headers=headers)

    assert (304, 0) == (answer.status, trio.current_time())


async def test_end_of_a_stream_frees_a_slot_elsewhere(
    autojump_clock, make_node, nursery
):
    """Within a second of a stream's end another one can start at any node."""
    one, other = await make_node(), await make_node()
    streams = [await nursery.start(one.opens) for _ in range(3)]
    for stream in streams:
        assert await nursery.start(other.opens) is None
        stream.cancel()
        await trio.sleep(1.0)
        assert await nursery.start(other.opens)

    assert (0, 3) == (one.served(), other.served())


@pytest.mark.parametrize("seed", range(20))
async def test_concurrent_requests_at_two_nodes(
    autojump_clock, make_node, nursery, seed
):
    """Concurrent requests at two nodes never exceed the limit."""
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


async def test_concurrent_requests_at_one_node_fill_the_limit(
    autojump_clock, make_node, nursery
):
    """Concurrent requests at one node fill the limit: rejected ones take no slot."""
    one, other = await make_node(), await make_node()
    assert await nursery.start(other.opens)
    async with trio.open_nursery() as coming:
        for _ in range(5):
            coming.start_soon(nursery.start, one.opens)

    assert 2 == one.served()


async def test_reports_are_renewed(autojump_clock, make_node, nursery):
    """Reports of open streams are renewed before they expire."""
    one, other = await make_node(), await make_node()
    for _ in range(3):
        assert await nursery.start(one.opens)
    for _ in range(5):
        await trio.sleep(TTL * 0.9)
        assert await nursery.start(other.opens) is None


async def test_reports_of_a_killed_node_expire(autojump_clock, make_node, nursery):
    """The streams of a killed node count until its report expires."""
    one, other = await make_node(), await make_node()
    for _ in range(3):
        assert await nursery.start(one.opens)
    one.runs.cancel()
    await trio.sleep(TTL - RENEW_INTERVAL - 1.0)
    early = await nursery.start(other.opens)
    await trio.sleep(RENEW_INTERVAL + 2.0)

    assert early is None
    assert await nursery.start(other.opens)


async def test_engine_unavailable(autojump_clock, make_node, nursery):
    """While the engine is unavailable new streams are shed and open ones stay."""
    one, other = await make_node(), await make_node()
    streams = [await nursery.start(one.opens) for _ in range(2)]
    one.store.is_unavailable = True
    async with one.world.user().stream(STREAM) as stream:
        (received,) = await remaining_events(stream)
    streams[0].cancel()
    await trio.sleep(TTL / 2)
    one.store.reports.clear()
    await trio.sleep(TTL)
    tries, are_served = len(one.store.reports), one.served()
    one.store.is_unavailable = False
    await trio.sleep(1.5 * RETRY_DELAY)
    others = [await nursery.start(other.opens) for _ in range(3)]

    assert ("bye", "shed") == (received.type, data(received)["reason"])
    assert tries == pytest.approx(TTL / RETRY_DELAY, abs=2)
    assert 1 == are_served
    assert [True, True, False] == [bool(scope) for scope in others]


async def test_report_timeout(autojump_clock, make_node, nursery):
    """A report without an answer fails after `REPORT_TIMEOUT`."""
    one = await make_node()
    one.store.is_silent = True
    began = trio.current_time()
    async with one.world.user().stream(STREAM) as stream:
        (received,) = await remaining_events(stream)

    assert "bye" == received.type
    assert trio.current_time() == pytest.approx(began + REPORT_TIMEOUT)


async def test_head_releases_its_slot(autojump_clock, make_node, nursery):
    """A stream that never starts releases its slot."""
    one, other = await make_node(), await make_node()
    for _ in range(9):
        await one.world.user().request("HEAD", STREAM)
    gc.collect()
    await trio.testing.wait_all_tasks_blocked()

    assert {"alice": 0} == one.store.reports[-1][1]
    for _ in range(3):
        assert await nursery.start(other.opens)


async def test_cancelled_request_releases_its_slot(autojump_clock, make_node, nursery):
    """A client that leaves during the report releases its slot."""
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


async def test_number_of_reports(autojump_clock, make_node, nursery):
    """A stream costs two reports, and one per `RENEW_INTERVAL`."""
    one = await make_node()
    stream = await nursery.start(one.opens)
    await trio.sleep(2.5 * RENEW_INTERVAL)
    stream.cancel()
    await trio.sleep(TTL)
    reports = [(round(at), count) for at, count in one.store.reports]

    here = {"alice": 1}
    assert [(0, here), (20, here), (40, here), (50, {"alice": 0})] == reports


async def test_full_node_sends_no_report(autojump_clock, make_node, nursery):
    """A node that has all of a user's streams rejects more without a report."""
    one = await make_node()
    for _ in range(3):
        assert await nursery.start(one.opens)
    one.store.reports.clear()
    for _ in range(9):
        assert await nursery.start(one.opens) is None

    assert [] == one.store.reports


async def test_unshared_engine_has_no_presence(autojump_clock, world):
    """An engine that is not shared needs no presence."""
    assert world.service.hub.presence is None


# Many users.


@pytest.fixture
async def crowd(nursery):
    """Return an engine, stream counts by user, and their presence."""
    setup = Setup(name="crowd", clock=wall_clock, limits=RecordLimits())
    store, served = Store(engine_with(None)(setup)), dict[str, int]()
    presence = StreamPresence(store, lambda user: served.get(user, 0), limit=9)
    await nursery.start(store.run)
    nursery.start_soon(presence.run)
    return store, served, presence


async def test_reports_are_batched(autojump_clock, crowd):
    """A report has at most `MAX_BATCH` users, and each changed user is in one."""
    store, served, presence = crowd
    users = [f"user-{number}" for number in range(3 * MAX_BATCH + 1)]
    for user in users:
        served[user] = 1
        presence.update(user)
    await trio.sleep(RENEW_INTERVAL + 1.0)
    sizes = [len(count) for _, count in store.reports]
    first = [user for _, count in store.reports[:4] for user in count]
    again = [user for _, count in store.reports[4:] for user in count]

    assert sizes == [*[MAX_BATCH] * 3, 1] * 2
    assert sorted(users) == sorted(first) == sorted(again)


async def test_flush(autojump_clock, crowd):
    """`flush()` waits for all reports, and returns if they fail."""
    store, served, presence = crowd
    users = [f"user-{number}" for number in range(3 * MAX_BATCH)]
    for count in (1, 0):
        for user in users:
            served[user] = count
            presence.update(user)
        await presence.flush()
        assert dict.fromkeys(users, count) == {
            user: received
            for _, report in store.reports
            for user, received in report.items()
        }
    store.is_unavailable, served["alice"] = True, 1
    presence.update("alice")
    began = trio.current_time()
    await presence.flush()

    assert began == trio.current_time()


async def test_waiting_slots_come_first(autojump_clock, crowd):
    """Waiting slots are reported before changed counts."""
    store, served, presence = crowd
    for number in range(3 * MAX_BATCH):
        served[f"user-{number}"] = 1
        presence.update(f"user-{number}")
    slot = await presence.reserve("alice")

    assert slot.granted
    assert "alice" in store.reports[0][1]


async def test_retries_are_bounded(autojump_clock, crowd):
    """While the engine is unavailable a node sends one batch per `RETRY_DELAY`."""
    store, served, presence = crowd
    store.is_unavailable = True
    for number in range(9 * MAX_BATCH):
        served[f"user-{number}"] = 1
        presence.update(f"user-{number}")
    await trio.sleep(5.5 * RETRY_DELAY)
    tries = len(store.reports)
    store.is_unavailable = False
    await trio.sleep(RETRY_DELAY)

    assert 6 == tries
    assert len(served) == sum(len(count) for _, count in store.reports[6:])


async def test_engine_that_raises(autojump_clock, crowd, monkeypatch):
    """`EngineUnavailable` that is raised counts for each user of the batch."""
    store, _, presence = crowd

    async def report_presence(streams, *, ttl):
        raise EngineUnavailable("away")

    monkeypatch.setattr(store, "report_presence", report_presence)
    with pytest.raises(EngineUnavailable, match="away"):
        await presence.reserve("alice")
    monkeypatch.undo()

    assert (await presence.reserve("alice")).granted


async def test_streams_of_all_nodes_are_counted(autojump_clock, make_node, nursery):
    """Each node answers the same number, also one that has no stream of the user."""
    one, other, third = [await make_node() for _ in range(3)]
    scopes = [await nursery.start(node.opens) for node in (one, other, other)]
    hubs = [node.world.service.hub for node in (one, other, third)]
    counts = [await hub.count_streams("alice") for hub in hubs]
    assert [3, 3, 3] == counts
    scopes[0].cancel()
    await trio.testing.wait_all_tasks_blocked()

    assert 2 == await hubs[2].count_streams("alice")
    assert 0 == await hubs[2].count_streams("bob")


async def test_count_of_a_store_that_is_away_is_an_error(autojump_clock, make_node):
    """A wrong number would be worse; a store that is silent fails in bounded time."""
    node = await make_node()
    node.store.is_unavailable = True
    with pytest.raises(EngineUnavailable, match="away"):
        await node.world.service.hub.count_streams("alice")
    node.store.is_unavailable, node.store.is_silent = False, True
    started_at = trio.current_time()
    with pytest.raises(EngineUnavailable, match="no stream counts"):
        await node.world.service.hub.count_streams("alice")

    assert trio.current_time() - started_at <= REPORT_TIMEOUT + RETRY_DELAY
