"""The hub beside its engine: expiry for those who look, and an engine that is away."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest
import trio

from roundel_service.domain.operations import Retract
from roundel_service.domain.record import Record
from roundel_service.engines.base import (
    RETRY_AFTER,
    ApplyResult,
    ChangeListener,
    EngineUnavailable,
    UserOperation,
)
from roundel_service.engines.memory import MemoryEngine
from roundel_service.streams.channel import UserChannel
from roundel_service.streams.hub import Hub
from support.mailboxes import note


class Flaky:
    """A memory engine that can be away; all else is the engine's."""

    def __init__(self) -> None:
        self._engine = MemoryEngine(clock=trio.current_time)
        self.is_away = False
        self.asked: list[str] = []
        self.watched: Collection[str] = ()
        self.read_takes = 0.0

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        self.watched = users
        self._engine.listen(listener, users)

    async def read(self, user: str) -> Record:
        await trio.sleep(self.read_takes)
        if self.is_away:
            raise EngineUnavailable("away")
        return await self._engine.read(user)

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        self.asked += [type(operation).__name__ for _, operation in work]
        if self.is_away:
            return [EngineUnavailable("away") for _ in work]
        return await self._engine.apply(work)

    def __getattr__(self, name: str):
        return getattr(self._engine, name)


@pytest.fixture
def engine() -> Flaky:
    return Flaky()


@pytest.fixture
async def hub(engine, nursery) -> Hub:
    hub = Hub(engine, clock=trio.current_time)
    await nursery.start(hub.run)
    return hub


def unread(channel: UserChannel) -> int:
    return channel.badge.unread


async def test_whoever_looks_sees_items_expire_in_their_time(autojump_clock, hub):
    """Each of two items goes at its second, with nobody asking."""
    channel = await hub.channel("alice")
    await hub.apply_all([("alice", note("a", ttl=9)), ("alice", note("b", ttl=5))])
    seen = []
    for _ in range(4):
        seen.append((trio.current_time(), unread(channel)))
        await trio.sleep(3.5)

    assert [(0.0, 2), (3.5, 2), (7.0, 1), (10.5, 0)] == seen


async def test_nobody_lets_items_expire_that_nobody_looks_at(
    autojump_clock, hub, engine
):
    """They are found out when somebody does: no work is done for them before."""
    channel = await hub.channel("bob")
    await hub.apply_all([("alice", note("a", ttl=5)), ("bob", note("b", ttl=5))])
    del channel
    await trio.sleep(9)

    assert ["Notify", "Notify"] == engine.asked
    assert unread(await hub.channel("alice")) == 0


async def test_item_that_went_before_its_time(autojump_clock, hub, engine):
    """Its alarm finds nothing, once, and the next item's still goes off."""
    channel = await hub.channel("alice")
    await hub.apply_all(
        [
            ("alice", note("a", ttl=5, source="s")),
            ("alice", note("b", ttl=9)),
            ("alice", Retract(source="s")),
        ]
    )
    await trio.sleep(20)

    assert ["Expire", "Expire"] == engine.asked[3:]
    assert unread(channel) == 0


async def test_items_expire_later_if_the_engine_is_away(autojump_clock, hub, engine):
    """The hub survives, asks again after a while, and what is over goes then."""
    channel = await hub.channel("alice")
    await hub.apply("alice", note("a", ttl=5))
    engine.is_away = True
    await trio.sleep(5 + 2.5 * RETRY_AFTER)
    before = unread(channel)
    engine.is_away = False
    await trio.sleep(RETRY_AFTER)

    assert ["Notify", *["Expire"] * 4] == engine.asked
    assert (1, 0) == (before, unread(channel))


async def test_call_fails_while_the_engine_is_away(autojump_clock, hub, engine):
    """Who asks is told so, of each mailbox; nothing is taken for done."""
    engine.is_away = True
    with pytest.raises(EngineUnavailable):
        await hub.apply("alice", note("a"))
    with pytest.raises(EngineUnavailable):
        await hub.retract(Retract(source="s"), "alice")
    results = await hub.apply_all([("alice", note("a")), ("bob", note("b"))])

    assert [EngineUnavailable, EngineUnavailable] == [
        type(result) for result in results
    ]


async def test_nobody_is_watched_for_whom_nobody_reads(autojump_clock, hub, engine):
    """From the first who opens to the last who goes, however each of them ends."""
    engine.read_takes, watched = 1.0, []
    with trio.move_on_after(0.5):
        await hub.channel("alice")
    watched.append("alice" in engine.watched)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.channel, "alice")
        await trio.sleep(0.5)
        nursery.start_soon(hub.channel, "alice")
        await trio.sleep(0.75)
        watched.append("alice" in engine.watched)
    watched.append("alice" in engine.watched)
    channel = await hub.channel("alice")
    watched.append("alice" in engine.watched)
    del channel
    engine.is_away = True
    with pytest.raises(EngineUnavailable):
        await hub.channel("alice")
    watched.append("alice" in engine.watched)

    assert [False, True, False, True, False] == watched
