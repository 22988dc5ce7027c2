"""The hub with an engine whose notifications are old or lost."""

from __future__ import annotations

from itertools import count
from random import Random

from roundel import Parser, Stream
from roundel_service.domain.content import encode_content
from roundel_service.domain.operations import Mark, Notify, UserOps
from roundel_service.domain.record import RecordLimits
from roundel_service.engines.memory import MemoryEngine
from roundel_service.streams.channel import UserChannel
from roundel_service.streams.hub import Hub
from roundel_service.streams.view_history import View

from .faults import Fault, FaultyEngine
from .server import METRICS

CHANGE_LOG_SIZE = 6


async def notify(engine, number: int) -> None:
    new = Notify(id=f"i{number}", category="dm", content=encode_content("t"))
    await engine.apply([("alice", new)])


def read_events(stream: Stream) -> list[tuple[str, str]]:
    """Return the events that are due."""
    chunks = []
    while more := stream.data_to_send(0.0):
        chunks += more
    return [(e.type, e.data) for e in Parser().receive_data(b"".join(chunks))]


async def test_stream_beyond_the_change_log_gets_a_snapshot(autojump_clock):
    """A stream that lags beyond the change log gets a snapshot, never a gap."""
    engine = MemoryEngine(RecordLimits(change_log_size=CHANGE_LOG_SIZE))
    channel = UserChannel(
        "alice", await engine.read("alice"), change_log_size=CHANGE_LOG_SIZE
    )
    view_history = channel.view_history(View("items"))
    stream = Stream(view_history.history, now=0.0)
    read_events(stream)
    for number in range(CHANGE_LOG_SIZE + 2):
        await notify(engine, number)
    channel.update(await engine.read("alice"))

    assert ["snapshot"] == [kind for kind, _ in read_events(stream)]


async def test_older_state_has_no_effect(autojump_clock):
    """A notification with an older state has no effect."""
    engine = MemoryEngine(RecordLimits(change_log_size=CHANGE_LOG_SIZE))
    channel = UserChannel(
        "alice", await engine.read("alice"), change_log_size=CHANGE_LOG_SIZE
    )
    view_history = channel.view_history(View("badge"))
    stream = Stream(view_history.history, now=0.0)
    await notify(engine, 1)
    first = await engine.read("alice")
    await notify(engine, 2)
    channel.update(await engine.read("alice"))
    read_events(stream)
    channel.update(first)
    marks = (Mark(flags={"read": True}, ids=frozenset({"i1"})),)
    await engine.apply([("alice", UserOps(ops=marks, op_id="o"))])
    channel.update(await engine.read("alice"))

    assert ["badge"] == [kind for kind, _ in read_events(stream)]


async def test_channel_is_current_after_a_lost_notification(autojump_clock):
    """The hub returns a current channel, even if notifications were lost."""
    losing_seed = next(seed for seed in count() if Random(seed).random() < 0.05)
    engine = FaultyEngine(
        MemoryEngine(RecordLimits(change_log_size=CHANGE_LOG_SIZE)),
        lambda user, record: None,
        users={"alice"},
        random=Random(losing_seed),
        faults=frozenset({Fault.LOSS}),
        change_log_size=CHANGE_LOG_SIZE,
    )
    hub = Hub(engine, change_log_size=CHANGE_LOG_SIZE, metrics=METRICS)
    channel = await hub.channel("alice")
    await notify(engine, 1)

    assert channel is await hub.channel("alice")
    assert 1 == channel.badge.unread
