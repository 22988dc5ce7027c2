"""What a hub makes of wake-ups that a remote engine might send: old, or too few."""

from __future__ import annotations

from itertools import count
from random import Random

from roundel import Parser, Stream
from roundel_service.domain.operations import Mark, MarkAll, Notify
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.memory import MemoryEngine
from roundel_service.streams.channel import UserChannel
from roundel_service.streams.hub import Hub
from roundel_service.streams.view_history import View

from .faults import Fault, Wakeups
from .server import METRICS

RING = 6


async def notify(engine, number: int) -> None:
    new = Notify(id=f"i{number}", category="dm", title="t")
    await engine.apply([("alice", new)])


def read_events(stream: Stream) -> list[tuple[str, str]]:
    """Return the frames that are due."""
    chunks = []
    while more := stream.data_to_send(0.0):
        chunks += more
    return [(e.type, e.data) for e in Parser().receive_data(b"".join(chunks))]


async def test_lane_behind_the_engines_ring_tells_the_snapshot(autojump_clock):
    """A stream that lags beyond the change log gets a snapshot, never a gap."""
    engine = MemoryEngine(RecordLimits(change_log_size=RING))
    channel = UserChannel("alice", await engine.read("alice"), change_log_size=RING)
    lane = channel.view_history(View("items"))
    stream = Stream(lane.history, now=0.0)
    read_events(stream)
    for number in range(RING + 2):
        await notify(engine, number)
    channel.update(await engine.read("alice"))

    assert ["snapshot"] == [kind for kind, _ in read_events(stream)]


async def test_old_news_change_nothing(autojump_clock):
    """A notification with an older state has no effect."""
    engine = MemoryEngine(RecordLimits(change_log_size=RING))
    channel = UserChannel("alice", await engine.read("alice"), change_log_size=RING)
    lane = channel.view_history(View("badge"))
    stream = Stream(lane.history, now=0.0)
    await notify(engine, 1)
    first = await engine.read("alice")
    await notify(engine, 2)
    channel.update(await engine.read("alice"))
    read_events(stream)
    channel.update(first)
    marks = (Mark(flags={"read": True}, ids=frozenset({"i1"})),)
    await engine.apply([("alice", MarkAll(marks=marks, op_id="o"))])
    channel.update(await engine.read("alice"))

    assert ["badge"] == [kind for kind, _ in read_events(stream)]


async def test_read_after_a_lost_wakeup_is_current(autojump_clock):
    """A channel that is asked for is as new as the engine, whatever was lost."""
    unlucky = next(seed for seed in count() if Random(seed).random() < 0.05)
    engine = Wakeups(
        MemoryEngine(RecordLimits(change_log_size=RING)),
        lambda user, record: None,
        users={"alice"},
        random=Random(unlucky),
        faults=frozenset({Fault.LOSS}),
        ring=RING,
    )
    hub = Hub(engine, change_log_size=RING, metrics=METRICS)
    kept = await hub.channel("alice")
    await notify(engine, 1)

    assert kept is await hub.channel("alice")
    assert 1 == kept.badge.unread
