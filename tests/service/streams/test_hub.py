"""The hub: active expiry, and an engine that is unavailable."""

from __future__ import annotations

import gc
from collections.abc import Collection, Sequence
from weakref import ref

import pytest
import trio
from msgspec.structs import astuple, replace

from roundel_service.domain.mailbox import Applied
from roundel_service.domain.operations import Retract
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
from roundel_service.streams.view_history import View
from support.mailboxes import note


class UnreliableEngine:
    """A memory engine that can be made unavailable or slow."""

    def __init__(self) -> None:
        self._engine = MemoryEngine(clock=trio.current_time)
        self.is_unavailable = False
        self.applied: list[str] = []
        self.listened: Collection[str] = ()
        self.read_delay = 0.0

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        self.listener, self.listened = listener, users
        self._engine.listen(listener, users)

    def rewind(self, user: str, record: Record) -> None:
        """Go back to an earlier record, as a store does that lost writes."""
        self._engine._records[user] = record

    async def read(self, user: str) -> Record:
        await trio.sleep(self.read_delay)
        if self.is_unavailable:
            raise EngineUnavailable("away")
        return await self._engine.read(user)

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        self.applied += [type(operation).__name__ for _, operation in work]
        if self.is_unavailable:
            return [EngineUnavailable("away") for _ in work]
        return await self._engine.apply(work)

    def __getattr__(self, name: str):
        return getattr(self._engine, name)


@pytest.fixture
def engine() -> UnreliableEngine:
    return UnreliableEngine()


@pytest.fixture
async def hub(engine, nursery) -> Hub:
    hub = Hub(engine, clock=trio.current_time)
    await nursery.start(hub.run)
    return hub


def unread(channel: UserChannel) -> int:
    return channel.badge.unread


async def test_active_expiry(autojump_clock, hub):
    """Each item of a user with a channel expires on time."""
    channel = await hub.channel("alice")
    await hub.apply_all([("alice", note("a", ttl=9)), ("alice", note("b", ttl=5))])
    seen = []
    for _ in range(4):
        seen.append((trio.current_time(), unread(channel)))
        await trio.sleep(3.5)

    assert [(0.0, 2), (3.5, 2), (7.0, 1), (10.5, 0)] == seen


async def test_active_expiry_after_the_clock_was_set(autojump_clock, nursery):
    """An item that is due since the system clock went forward expires in a minute."""
    forward = 0.0

    def clock() -> float:
        return trio.current_time() + forward

    hub = Hub(MemoryEngine(clock=clock), clock=clock)
    await nursery.start(hub.run)
    channel = await hub.channel("alice")
    await hub.apply("alice", note("a", ttl=3_600))
    await trio.sleep(1)
    forward = 3_600.0
    await trio.sleep(60)

    assert 0 == unread(channel)


async def test_no_active_expiry_without_a_channel(autojump_clock, hub, engine):
    """Items of a user without a channel expire when the mailbox is read."""
    channel = await hub.channel("bob")
    await hub.apply_all([("alice", note("a", ttl=5)), ("bob", note("b", ttl=5))])
    del channel
    await trio.sleep(9)

    assert ["Notify", "Notify"] == engine.applied
    assert unread(await hub.channel("alice")) == 0


async def test_expiry_after_an_early_removal(autojump_clock, hub, engine):
    """An item that was removed early does not prevent the expiry of the next one."""
    channel = await hub.channel("alice")
    await hub.apply_all(
        [
            ("alice", note("a", ttl=5, source="s")),
            ("alice", note("b", ttl=9)),
            ("alice", Retract(source="s")),
        ]
    )
    await trio.sleep(20)

    assert ["Refresh", "Refresh"] == engine.applied[3:]
    assert unread(channel) == 0


async def test_expiry_after_a_deletion(autojump_clock, hub):
    """An item of a deleted mailbox does not prevent the expiry of a later one."""
    channel = await hub.channel("alice")
    await hub.apply("alice", note("a", ttl=5))
    await hub.delete_user("alice")
    await hub.apply("alice", note("b", ttl=9))
    await trio.sleep(8)
    before = unread(channel)
    await trio.sleep(2)

    assert (1, 0) == (before, unread(channel))


async def test_expiry_is_retried(autojump_clock, hub, engine):
    """The hub retries an expiry that failed, after `RETRY_AFTER`."""
    channel = await hub.channel("alice")
    await hub.apply("alice", note("a", ttl=5))
    engine.is_unavailable = True
    await trio.sleep(5 + 2.5 * RETRY_AFTER)
    before = unread(channel)
    engine.is_unavailable = False
    await trio.sleep(RETRY_AFTER)

    assert ["Notify", *["Refresh"] * 4] == engine.applied
    assert (1, 0) == (before, unread(channel))


async def test_calls_fail_while_the_engine_is_unavailable(autojump_clock, hub, engine):
    """Each operation raises or returns `EngineUnavailable`."""
    engine.is_unavailable = True
    with pytest.raises(EngineUnavailable):
        await hub.apply("alice", note("a"))
    with pytest.raises(EngineUnavailable):
        await hub.retract(Retract(source="s"), "alice")
    results = await hub.apply_all([("alice", note("a")), ("bob", note("b"))])

    assert [EngineUnavailable, EngineUnavailable] == [
        type(result) for result in results
    ]


async def test_users_without_streams_are_not_listened_to(autojump_clock, hub, engine):
    """The hub listens to a user from the first pending read to the last reference."""
    engine.read_delay, listened = 1.0, []
    with trio.move_on_after(0.5):
        await hub.channel("alice")
    listened.append("alice" in engine.listened)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.channel, "alice")
        await trio.sleep(0.5)
        nursery.start_soon(hub.channel, "alice")
        await trio.sleep(0.75)
        listened.append("alice" in engine.listened)
    listened.append("alice" in engine.listened)
    channel = await hub.channel("alice")
    listened.append("alice" in engine.listened)
    del channel
    engine.is_unavailable = True
    with pytest.raises(EngineUnavailable):
        await hub.channel("alice")
    listened.append("alice" in engine.listened)

    assert [False, True, False, True, False] == listened


@pytest.mark.parametrize("is_notified", [True, False])
async def test_rewound_store(is_notified, autojump_clock, hub, engine):
    """Versions that streams have told are never told again with other content."""
    channel = await hub.channel("alice")
    await hub.apply("alice", note("a"))
    older = channel.record
    await hub.apply_all([("alice", note("b")), ("alice", note("c"))])
    newest = channel.record.mailbox
    engine.rewind("alice", older)
    if is_notified:
        await hub.apply("alice", note("d"))
    else:
        assert channel is await hub.channel("alice")
    await trio.sleep(1)

    assert newest.epoch != channel.record.mailbox.epoch
    assert channel.record == await engine.read("alice")


async def test_late_notification(autojump_clock, hub, engine):
    """A notification that is late does not start a new epoch."""
    channel = await hub.channel("alice")
    await hub.apply("alice", note("a"))
    older = channel.record
    await hub.apply("alice", note("b"))
    newest = channel.record
    engine.listener("alice", older)
    await trio.sleep(1)

    assert newest == channel.record == await engine.read("alice")


class TracedResult(Applied, frozen=True, gc=True, weakref=True):
    """A result that can be referenced weakly."""


class CountingEngine:
    """A memory engine that counts the results of `apply()` that are still held."""

    def __init__(self, damaged: Collection[str] = ()) -> None:
        self._engine = MemoryEngine(clock=trio.current_time)
        self._damaged = damaged
        self._results: list[ref[Applied]] = []
        self.held: list[int] = []

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        gc.collect()
        self._results = [result for result in self._results if result() is not None]
        self.held.append(len(self._results) + len(work))
        results = [
            TracedResult(*astuple(each)) for each in await self._engine.apply(work)
        ]
        self._results += [ref(each) for each in results]
        return [
            MailboxDamaged("damaged") if user in self._damaged else result
            for (user, _), result in zip(work, results, strict=True)
        ]

    def __getattr__(self, name: str):
        return getattr(self._engine, name)


async def test_retraction_from_many_users_is_bounded(autojump_clock):
    """A retraction holds the results of one page, however many users it has."""
    engine = CountingEngine()
    hub = Hub(engine, clock=trio.current_time)
    for start in range(0, 1_100, 100):
        users = [f"user-{number}" for number in range(start, start + 100)]
        await engine.apply([(user, note("a", source="s")) for user in users])
    engine.held.clear()
    removed = await hub.retract(Retract(source="s"), None)

    assert (1_100, 1_100) == (removed.removed, removed.users)
    assert 3 == len(engine.held)
    assert 500 >= max(engine.held)


async def test_retraction_passes_over_a_damaged_mailbox(autojump_clock):
    """The others are changed; a damaged one is an error only if it is named."""
    engine = CountingEngine(damaged={"bob"})
    hub = Hub(engine, clock=trio.current_time)
    users = ("alice", "bob", "carol")
    await engine.apply([(user, note("a", source="s")) for user in users])
    removed = await hub.retract(Retract(source="s"), None)

    assert (2, 2) == (removed.removed, removed.users)
    with pytest.raises(MailboxDamaged):
        await hub.retract(Retract(source="s"), "bob")


async def test_expiry_survives_any_error(autojump_clock, hub, engine, monkeypatch):
    """An error that no engine should raise delays expiry, and does not end the hub."""
    channel = await hub.channel("alice")
    await hub.apply("alice", note("a", ttl=5))

    async def fail(work):
        raise RecursionError

    monkeypatch.setattr(engine, "apply", fail)
    await trio.sleep(6)
    monkeypatch.undo()
    await trio.sleep(RETRY_AFTER)

    assert unread(channel) == 0


async def test_epoch_that_was_changed_by_hand(autojump_clock, hub, engine):
    """Streams of an epoch shorter than the next one end, and new ones begin."""
    await hub.apply("alice", note("a"))
    record = await engine.read("alice")
    short = replace(record.mailbox, epoch="e")
    engine.rewind("alice", Record(short))
    channel = await hub.channel("alice")
    subscriber = hub.subscribe(channel, View("items"), SubscribeRequest())
    with hub.lease(subscriber):
        await hub.delete_user("alice")
        await hub.apply("alice", note("b"))
        await hub.apply("alice", note("c"))

        assert "shed" == subscriber.close_reason

    again = hub.subscribe(channel, View("items"), SubscribeRequest())

    assert b"snapshot" in b"".join(again.data_to_send(trio.current_time()))
    assert 2 == unread(channel)
