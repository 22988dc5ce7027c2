"""The sweep: open streams get what is published to topics, and other users no write."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Collection, Sequence

import pytest
import trio
from structlog.testing import capture_logs

from roundel_service.domain.content import decode_content
from roundel_service.domain.operations import (
    Operation,
    Refresh,
    Retract,
    Subscribe,
    Unsubscribe,
)
from roundel_service.domain.record import Record
from roundel_service.engines.base import (
    RETRY_AFTER,
    ApplyResult,
    ChangeListener,
    EngineUnavailable,
    MailboxDamaged,
    UserOperation,
)
from roundel_service.engines.memory import MemoryEngine
from roundel_service.streams.channel import UserChannel
from roundel_service.streams.hub import Hub
from roundel_service.streams.subscribe import SubscribeRequest
from roundel_service.streams.sweep import CHUNK, COMPARISONS, LONG_SWEEP
from roundel_service.streams.view_history import View
from roundel_service.telemetry.metrics import Metrics
from support.mailboxes import note
from support.service import body


class ScriptedEngine:
    """A memory engine whose answers are late, missing or wrong for some names."""

    def __init__(self) -> None:
        self._engine = MemoryEngine(clock=trio.current_time)
        self.listened: Collection[str] = ()
        # A read answers with what was stored so many seconds ago.
        self.read_delays: dict[str, float] = {}
        self.refresh_delay = 0.0
        self.errors: dict[str, Exception] = {}
        self.chunks: list[list[str]] = []
        self.concurrent = self.most_concurrent = 0
        self.is_silent = False

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        self.listened = users

        def report(name: str, record: Record) -> None:
            if not self.is_silent and name in users:
                listener(name, record)

        self._engine.listen(report, users)

    def rewind(self, name: str, record: Record) -> None:
        """Go back to an earlier record, as a store does that lost writes."""
        self._engine._records[name] = record

    async def read(self, name: str) -> Record:
        record = await self._engine.read(name)
        await trio.sleep(self.read_delays.get(name, 0.0))
        if error := self.errors.get(name):
            raise error
        return record

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        names = [name for name, operation in work if isinstance(operation, Refresh)]
        if names:
            self.chunks.append(names)
            self.concurrent += 1
            self.most_concurrent = max(self.concurrent, self.most_concurrent)
            await trio.sleep(self.refresh_delay)
            self.concurrent -= 1
        return [await self._apply(name, operation) for name, operation in work]

    async def _apply(self, name: str, operation: Operation) -> ApplyResult:
        if isinstance(operation, Refresh) and (error := self.errors.get(name)):
            if not isinstance(error, EngineUnavailable):
                raise error
            return error
        (result,) = await self._engine.apply([(name, operation)])
        return result

    def stored(self, name: str) -> list[str]:
        """Return the titles that are stored for *name*, without a look."""
        items = self._engine._record(name).mailbox.items.values()
        return [decode_content(item.content).title for item in items]

    def __getattr__(self, name: str):
        return getattr(self._engine, name)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def hub(engine, nursery) -> Hub:
    hub = Hub(engine, clock=trio.current_time)
    await nursery.start(hub.run)
    return hub


async def settle() -> None:
    """Let the hub do what it can do now."""
    await trio.testing.wait_all_tasks_blocked()


def titles(channel: UserChannel) -> list[str]:
    items = channel.record.mailbox.items.values()
    return [decode_content(item.content).title for item in items]


def refreshes(engine: ScriptedEngine) -> Counter[str]:
    return Counter(name for chunk in engine.chunks for name in chunk)


def sample(metrics: Metrics, name: str) -> float:
    lines = metrics.text().decode().splitlines()
    return next(float(x.split()[1]) for x in lines if x.startswith(f"{name} "))


# Who gets what is published


async def test_broadcast_reaches_open_streams(autojump_clock, hub, engine):
    """A broadcast arrives where a stream is open, and writes no other mailbox."""
    alice, bob = [await hub.channel(user) for user in ("alice", "bob")]
    await hub.apply("carol", note("hers"))
    await settle()
    await hub.apply("#all", note("news"))
    await settle()

    assert ["news"] == titles(alice) == titles(bob)
    assert ["hers"] == engine.stored("carol")
    assert {"alice": 1, "bob": 1} == refreshes(engine)


async def test_retraction_of_a_broadcast_reaches_open_streams(autojump_clock, hub):
    """What leaves a topic leaves the open streams."""
    channel = await hub.channel("alice")
    await hub.apply("#all", note("news", source="s"))
    await settle()
    before = titles(channel)
    await hub.apply("#all", Retract(source="s"))
    await settle()

    assert (["news"], []) == (before, titles(channel))


async def test_topic_reaches_its_followers_only(autojump_clock, hub, engine):
    """An item of a topic arrives at the open streams of its followers."""
    alice, bob = [await hub.channel(user) for user in ("alice", "bob")]
    await hub.apply("alice", Subscribe(topic="team"))
    await hub.apply("#team", note("standup"))
    await settle()

    assert (["standup"], []) == (titles(alice), titles(bob))
    assert {"alice": 1} == refreshes(engine)


async def test_stream_sees_a_broadcast(autojump_clock, hub):
    """The events of an open stream have the broadcast as an item of the user."""
    channel = await hub.channel("alice")
    subscriber = hub.subscribe(channel, View("items"), SubscribeRequest())
    subscriber.data_to_send(trio.current_time())
    await hub.apply("#all", note("news"))
    await settle()
    sent = b"".join(subscriber.data_to_send(trio.current_time()))

    assert b"event: change" in sent
    assert b'"topic":"all"' in sent


async def test_long_poll_sees_a_broadcast(autojump_clock, world):
    """A request that waits for a change of the badge ends with a broadcast."""
    before = await world.user().request("GET", "/v1/badge")
    answers = []

    async def poll() -> None:
        etag = {"If-None-Match": before.headers["etag"]}
        client = world.user().with_headers(etag)
        answers.append(body(await client.request("GET", "/v1/badge?wait=30")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await trio.sleep(5)
        await world.service.hub.apply("#all", note("news"))

    assert 1 == answers[0]["unread"]
    assert 5.0 > trio.current_time() - 5


async def test_topic_is_watched_while_a_channel_follows_it(autojump_clock, hub, engine):
    """The hub listens to a topic from the first follower with a stream to the last."""
    await hub.apply("alice", Subscribe(topic="team"))
    listened = ["#team" in engine.listened]
    alice, bob = [await hub.channel(user) for user in ("alice", "bob")]
    listened.append("#team" in engine.listened)
    await hub.apply("bob", Subscribe(topic="team"))
    await hub.apply("alice", Unsubscribe(topic="team"))
    await settle()
    listened.append("#team" in engine.listened)
    followers = hub._topics.followers(hub._topics.by_name["#team"])
    del bob
    await settle()
    gc.collect()
    listened.append("#team" in engine.listened)

    assert [False, True, True, False] == listened
    assert ["bob"] == followers
    assert [] == titles(alice)


async def test_topic_all_is_always_watched(hub, engine):
    """The hub listens to the topic of all users without a stream, too."""
    assert "#all" in engine.listened


# No wake-up is lost


async def test_broadcast_while_a_user_is_read(autojump_clock, hub, engine):
    """A broadcast after a read of the user, and before its answer, arrives."""
    await hub.channel("bob")
    await hub.apply("#all", note("old"))
    engine.read_delays["alice"] = 1.0
    channels = []

    async def attend() -> None:
        channels.append(await hub.channel("alice"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attend)
        await trio.sleep(0.5)
        await hub.apply("#all", note("news"))
    await settle()

    assert ["old", "news"] == titles(channels[0])


@pytest.mark.parametrize("published_at", [0.5, 1.5])
async def test_publish_around_the_first_read_of_a_topic(
    published_at, autojump_clock, hub, engine
):
    """What is published while the user is read, or while the topic is, arrives."""
    await hub.apply("alice", Subscribe(topic="team"))
    engine.read_delays |= {"alice": 1.0, "#team": 1.0}
    channels = []

    async def attend() -> None:
        channels.append(await hub.channel("alice"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attend)
        await trio.sleep(published_at)
        await hub.apply("#team", note("standup"))
    await trio.sleep(3)

    assert ["standup"] == titles(channels[0])


async def test_publish_while_a_topic_is_followed(autojump_clock, hub, engine):
    """What is published while a new follower's topic is read, arrives."""
    channel = await hub.channel("alice")
    engine.read_delays["#team"] = 1.0
    await hub.apply("alice", Subscribe(topic="team"))
    await trio.sleep(0.5)
    await hub.apply("#team", note("standup"))
    await trio.sleep(2)

    assert ["standup"] == titles(channel)


async def test_report_that_was_lost(autojump_clock, hub, engine):
    """A stream that opens brings its user up to date without a report."""
    await hub.channel("bob")
    engine.is_silent = True
    await hub.apply("#all", note("news"))
    engine.is_silent = False

    assert ["news"] == titles(await hub.channel("alice"))


async def test_late_report_of_a_topic(autojump_clock, hub, engine):
    """An old report of a topic leads to a read, and to no new epoch."""
    channel = await hub.channel("alice")
    await hub.apply("#all", note("a"))
    older = await engine.read("#all")
    await hub.apply("#all", note("b"))
    await settle()
    for record in (older, Record(older.mailbox)):
        hub._on_change("#all", record)
        await settle()

    assert ["a", "b"] == titles(channel)
    assert older.mailbox.epoch == (await engine.read("#all")).mailbox.epoch


async def test_topic_of_a_rewound_store(autojump_clock, hub, engine):
    """Followers keep what the topic still has, and get what comes then."""
    channel = await hub.channel("alice")
    await hub.apply("#all", note("a"))
    older = await engine.read("#all")
    await hub.apply("#all", note("lost"))
    await settle()
    engine.rewind("#all", older)
    hub._on_change("#all", older)
    await settle()
    await hub.apply("#all", note("b"))
    await settle()

    assert ["a", "b"] == titles(channel)
    assert older.mailbox.epoch != (await engine.read("#all")).mailbox.epoch


# Chunks


async def channels_of(hub: Hub, count: int) -> list[UserChannel]:
    return [await hub.channel(f"user-{number}") for number in range(count)]


async def test_one_chunk_at_a_time(autojump_clock, hub, engine):
    """Followers are refreshed in chunks, one after the other, each of them once."""
    channels = await channels_of(hub, 2 * CHUNK + 10)
    engine.refresh_delay = 1.0
    await hub.apply("#all", note("news"))
    await trio.sleep(10)

    assert [CHUNK, CHUNK, 10] == [len(chunk) for chunk in engine.chunks]
    assert 1 == engine.most_concurrent
    assert {1} == set(refreshes(engine).values())
    assert {("news",)} == {tuple(titles(channel)) for channel in channels}


async def test_publish_during_a_sweep(autojump_clock, hub, engine):
    """What is published during a sweep is pulled with the rest, in one write."""
    channels = await channels_of(hub, 3 * CHUNK)
    engine.refresh_delay = 1.0
    await hub.apply("#all", note("a"))
    await trio.sleep(1.5)
    await hub.apply("#all", note("b"))
    await trio.sleep(9)
    first, *_, last = engine.chunks

    # The first chunk had been refreshed before. It waits until the sweep is over.
    assert 4 == len(engine.chunks)
    assert set(first) == set(last)
    assert {("a", "b")} == {tuple(titles(channel)) for channel in channels}


async def test_small_topic_does_not_wait_for_a_big_one(autojump_clock, hub, engine):
    """Topics take turns: few followers of one do not wait for many of another."""
    channels = await channels_of(hub, 4 * CHUNK)
    await hub.apply("user-0", Subscribe(topic="team"))
    await settle()
    engine.refresh_delay = 1.0
    await hub.apply("#all", note("news"))
    await trio.sleep(0.5)
    await hub.apply("#team", note("standup"))
    await trio.sleep(2)

    assert ["news", "standup"] == titles(channels[0])
    assert 2 * CHUNK < hub.sweep.followers_behind


async def test_user_whose_streams_ended_is_not_written(autojump_clock, hub, engine):
    """A user whose streams end before the turn pulls with the next read."""
    channels = await channels_of(hub, 2 * CHUNK)
    engine.refresh_delay = 1.0
    await hub.apply("#all", note("news"))
    await trio.sleep(0.5)
    channels.clear()
    await trio.sleep(5)

    assert [CHUNK] == [len(chunk) for chunk in engine.chunks]
    assert 0 == hub.sweep.followers_behind


async def test_end_in_the_middle_of_a_sweep(autojump_clock, engine):
    """Each follower has pulled or has not, and gets the rest at the next start."""
    hub = Hub(engine, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        channels = await channels_of(hub, 2 * CHUNK)
        engine.refresh_delay = 1.0
        await hub.apply("#all", note("a"))
        await hub.apply("#all", note("b"))
        await trio.sleep(1.5)
        nursery.cancel_scope.cancel()
    stored = Counter(tuple(engine.stored(channel.user)) for channel in channels)

    assert {("a", "b"): CHUNK, (): CHUNK} == stored
    successor = Hub(engine, clock=trio.current_time)
    for channel in channels:
        again = await successor.channel(channel.user)

        assert ["a", "b"] == titles(again)
        assert 2 == again.record.mailbox.v


async def test_comparison_lends_the_loop_out(autojump_clock, hub, engine):
    """Other tasks run while many channels are compared with a topic."""
    channels = await channels_of(hub, 8 * COMPARISONS)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while not engine.chunks and turns < 1_000:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await hub.apply("#all", note("news"))
        await settle()

    assert 8 <= turns < 1_000
    assert ["news"] == titles(channels[-1])


# Failures


async def test_failed_follower_is_refreshed_later(autojump_clock, hub, engine):
    """A follower that failed is tried again; others do not wait for it."""
    channels = await channels_of(hub, 2 * CHUNK)
    engine.errors["user-200"] = EngineUnavailable("away")
    await hub.apply("#all", note("news"))
    await settle()
    behind = [channel.user for channel in channels if not titles(channel)]

    assert ["user-200"] == behind
    assert 1 == hub.sweep.followers_behind
    await hub.apply("#all", note("more"))
    await settle()

    assert ["news", "more"] == titles(channels[0])
    del engine.errors["user-200"]
    await trio.sleep(RETRY_AFTER + 0.1)

    assert ["news", "more"] == titles(channels[200])
    assert 0 == hub.sweep.followers_behind


async def test_failed_follower_does_not_wait_for_a_long_sweep(
    autojump_clock, hub, engine
):
    """A retry is due after `RETRY_AFTER`, also while others are refreshed."""
    channels = await channels_of(hub, 8 * CHUNK)
    engine.refresh_delay = 1.0
    last = channels[-1]
    engine.errors[last.user] = EngineUnavailable("away")
    await hub.apply("#all", note("news"))
    await trio.sleep(1.5)
    before = titles(last)
    engine.errors.clear()
    await trio.sleep(RETRY_AFTER + 1.0)

    assert ([], ["news"]) == (before, titles(last))
    assert CHUNK < hub.sweep.followers_behind


async def test_sweep_survives_any_error(autojump_clock, hub, engine):
    """An error that no engine should raise delays a sweep, and does not end it."""
    channel = await hub.channel("alice")
    engine.errors["alice"] = RecursionError()
    with capture_logs() as lines:
        await hub.apply("#all", note("news"))
        await settle()
    engine.errors.clear()
    await trio.sleep(RETRY_AFTER + 0.1)

    assert ["sweep failed"] == [line["event"] for line in lines]
    assert ["news"] == titles(channel)


async def test_damaged_follower_is_left_alone(autojump_clock, hub, engine):
    """A mailbox that cannot be decoded is not tried again every two seconds."""
    await hub.apply("alice", note("hers"))
    channel = await hub.channel("alice")
    engine.errors["alice"] = MailboxDamaged("damaged")
    await hub.apply("#all", note("news"))
    await trio.sleep(5 * RETRY_AFTER)

    assert {"alice": 1} == refreshes(engine)
    assert (["hers"], 0) == (titles(channel), hub.sweep.followers_behind)


@pytest.mark.parametrize("error", [EngineUnavailable("away"), RecursionError()])
async def test_topic_that_cannot_be_read(error, autojump_clock, hub, engine):
    """A topic that could not be read is read later, and its followers pull then."""
    await hub.apply("alice", Subscribe(topic="team"))
    engine.errors["#team"] = error
    channel = await hub.channel("alice")
    await settle()
    engine.is_silent = True
    await hub.apply("#team", note("standup"))
    await trio.sleep(2.5 * RETRY_AFTER)
    engine.is_silent = False
    engine.errors.clear()
    before = titles(channel)
    await trio.sleep(RETRY_AFTER + 0.1)

    assert ([], ["standup"]) == (before, titles(channel))


async def test_damaged_topic_is_read_once(autojump_clock, hub, engine):
    """A topic that cannot be decoded is taken when the engine reports it again."""
    await hub.apply("alice", Subscribe(topic="team"))
    engine.errors["#team"] = MailboxDamaged("damaged")
    channel = await hub.channel("alice")
    await trio.sleep(3 * RETRY_AFTER)
    await hub.apply("#team", note("standup"))
    await settle()

    assert ["standup"] == titles(channel)


# Time


async def test_scheduled_broadcast_appears_on_time(autojump_clock, hub):
    """An item with `at` appears in open streams at its time, and ends on time."""
    channel = await hub.channel("alice")
    await hub.apply("#all", note("lunch", at=5.0, ttl=3.0))
    seen = []
    for until in (4.9, 5.1, 7.9, 8.1):
        await trio.sleep_until(until)
        seen.append(titles(channel))

    assert [[], ["lunch"], ["lunch"], []] == seen


async def test_scheduled_broadcast_without_streams(autojump_clock, hub, engine):
    """No mailbox is written on time where nothing is open; a later read has it."""
    await hub.channel("bob")
    gc.collect()
    await hub.apply("#all", note("lunch", at=5.0))
    await trio.sleep(9)

    assert [] == engine.chunks
    channel = await hub.channel("alice")

    assert ["lunch"] == titles(channel)
    await hub.apply("#all", note("dinner", at=20.0))
    await trio.sleep(12)

    assert ["lunch", "dinner"] == titles(channel)


async def test_time_of_a_topic_that_was_known_before(autojump_clock, hub, engine):
    """A scheduled item appears at a stream that was opened after it was scheduled."""
    await hub.apply("#all", note("lunch", at=5.0))
    channel = await hub.channel("alice")
    await trio.sleep(5.1)

    assert ["lunch"] == titles(channel)


# Metrics and logs


async def test_metrics_of_a_sweep(autojump_clock, hub, engine):
    """The items pulled, the followers behind and the duration are exported."""
    channels = await channels_of(hub, 2 * CHUNK)
    engine.refresh_delay = 1.0
    await hub.apply("#all", note("a"))
    await hub.apply("#all", note("b"))
    await trio.sleep(1.5)
    behind = hub.sweep.followers_behind
    with capture_logs() as lines:
        await trio.sleep(3)

    assert (CHUNK, 0) == (behind, hub.sweep.followers_behind)
    assert 4 * CHUNK == sample(hub.metrics, "roundel_pulled_total")
    assert 1 == sample(hub.metrics, "roundel_sweep_seconds_count")
    assert 2.0 == pytest.approx(sample(hub.metrics, "roundel_sweep_seconds_sum"))
    assert [
        {
            "event": "sweep finished",
            "log_level": "info",
            "topic": "all",
            "followers": len(channels),
            "duration_s": 2.0,
        }
    ] == lines
    assert LONG_SWEEP <= 2.0


async def test_publish_that_changes_no_follower_is_no_sweep(autojump_clock, hub):
    """A topic whose news no follower wants is compared, and not swept."""
    await hub.apply("#team", note("old", ttl=5.0))
    await hub.apply("alice", Subscribe(topic="team", since="now"))
    await hub.channel("alice")
    await hub.apply("#team", Retract(everything=True))
    await settle()

    assert 0 == sample(hub.metrics, "roundel_sweep_seconds_count")
