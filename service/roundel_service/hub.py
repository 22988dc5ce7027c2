"""Users with open streams: their lanes, and who is woken when a mailbox changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from random import random
from typing import Literal, TypeAlias, final
from weakref import WeakValueDictionary

import attrs
import trio

from roundel import Event, History, LastWords, Outcome, Resume, Stream
from roundel_adapters.bell import Bell

from . import frames
from .badge import Badge
from .engines import Engine, Record
from .items import Operation
from .mailbox import Applied

Level: TypeAlias = Literal["badge", "items"]

RETRY_FLOOR = 1_000
"""The shortest reconnection time that a planned end asks for, in milliseconds."""

ACCEPTS_A_SECOND = 500
"""How many streams a process can take back in a second, for spreading them."""


@final
@attrs.frozen(kw_only=True)
class Timing:
    """Of every stream, in seconds: *ping* when idle, *max_age* before it is ended."""

    ping: float = 25.0
    max_age: float = 600.0


@final
class Channel:
    """What the streams of one user share; it lives as long as one of them does."""

    __slots__ = ("__weakref__", "_badge", "_lanes", "_ring", "bell", "record")

    def __init__(self, record: Record, *, ring: int) -> None:
        self.record = record
        self.bell = Bell()
        self._ring = ring
        self._badge = record.mailbox.badge
        self._lanes: dict[Level, History] = {}

    @property
    def badge(self) -> Badge:
        """The badge as it is now."""
        return self._badge

    def lane(self, level: Level) -> History:
        """Return the lane of *level*, made from the record when first needed."""
        if level not in self._lanes:
            make = self._badge_lane if level == "badge" else self._items_lane
            self._lanes[level] = make()
        return self._lanes[level]

    def _badge_lane(self) -> History:
        return History(
            self._badge.epoch,
            offset=self._badge.v,
            snapshot=partial(frames.badge_event, self._badge),
            capacity=0,
        )

    def _items_lane(self) -> History:
        mailbox, changes = self.record.mailbox, self.record.changes
        snapshot = partial(frames.snapshot_event, mailbox)
        if not changes:
            offset = mailbox.v
            return History(
                mailbox.epoch, offset=offset, snapshot=snapshot, capacity=self._ring
            )
        lane = History(
            mailbox.epoch, offset=changes[0].v - 1, capacity=self._ring
        )  # fmt: skip
        for change in changes:
            lane.append(
                partial(frames.change_event, change),
                offset=change.v,
                snapshot=snapshot if change is changes[-1] else None,
                now=trio.current_time(),
            )
        return lane

    def update(self, record: Record) -> None:
        """Take the mailbox's new state, tell it to the lanes and wake the streams."""
        before, self.record = self.record.mailbox, record
        if record.mailbox.epoch != before.epoch:
            self._begin_epoch()
        elif record.mailbox.v > before.v:
            self._update_badge()
            self._update_items()
        self.bell.ring()

    def _begin_epoch(self) -> None:
        mailbox = self.record.mailbox
        self._badge = mailbox.badge
        snapshots = {
            "badge": partial(frames.badge_event, self._badge),
            "items": partial(frames.snapshot_event, mailbox),
        }
        for level, lane in self._lanes.items():
            lane.reset(mailbox.epoch, offset=mailbox.v, snapshot=snapshots[level])

    def _update_badge(self) -> None:
        before, self._badge = self._badge, self.record.mailbox.badge
        if lane := self._lanes.get("badge"):
            event = partial(frames.badge_event, self._badge)
            if self._badge.shows_the_same(before):
                lane.advance(offset=self._badge.v, snapshot=event)
            else:
                lane.append(event, offset=self._badge.v, now=trio.current_time())

    def _update_items(self) -> None:
        if lane := self._lanes.get("items"):
            snapshot = partial(frames.snapshot_event, self.record.mailbox)
            for change in self.record.changes:
                if change.v > lane.head.offset:
                    lane.append(
                        partial(frames.change_event, change),
                        offset=change.v,
                        snapshot=snapshot,
                        now=trio.current_time(),
                    )


@final
class Hub:
    """Binds the engine to the streams: whoever reads is told whatever is written.

    *clock* returns seconds since 1970, *ring* is how many changes a user's streams
    can be replayed.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        timing: Timing | None = None,
        ring: int = 256,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self._timing = timing or Timing()
        self._ring = ring
        self._random = random
        # A channel is kept by the streams that read it and by nothing else, so that
        # no path, however it ends, can leave one behind.
        self._channels: WeakValueDictionary[str, Channel] = WeakValueDictionary()
        self._streams: dict[Stream, Channel] = {}
        self._alarm = inf
        self._rearm = Bell()
        self._draining = False
        engine.listen(self._on_change)

    def _on_change(self, user: str, record: Record) -> None:
        if channel := self._channels.get(user):
            channel.update(record)

    @property
    def streams(self) -> int:
        """How many streams are being served."""
        return len(self._streams)

    async def apply(self, user: str, operation: Operation) -> Applied:
        """Apply *operation* to the mailbox of *user*; its streams are told."""
        applied = await self.engine.apply(user, operation)
        if self.engine.deadline < self._alarm:
            self._rearm.ring()
        return applied

    async def channel(self, user: str) -> Channel:
        """Return the channel of *user*, which lives while you keep it."""
        record = await self.engine.read(user)
        channel = self._channels.get(user)
        if channel is None:
            channel = self._channels[user] = Channel(record, ring=self._ring)
        return channel

    def open(
        self,
        channel: Channel,
        level: Level,
        *,
        last_event_id: str | None,
        expires_in: float = inf,
    ) -> Stream:
        """Make the stream of one reader; it never outlives its proof of identity."""
        timing = self._timing
        max_age = timing.max_age * (0.8 + 0.2 * self._random())
        why = "max_age" if max_age <= expires_in else "expired"

        def hello(resume: Resume) -> Event:
            return frames.hello_event(resume, ping=timing.ping, expires_in=expires_in)

        return Stream(
            channel.lane(level),
            now=trio.current_time(),
            last_event_id=last_event_id,
            hello=hello,
            gap=_gap,
            ping=frames.ping_event,
            heartbeat=timing.ping,
            max_age=min(max_age, expires_in),
            last_words=self._last_words(why, streams=1),
        )

    @contextmanager
    def serving(self, stream: Stream, channel: Channel) -> Iterator[None]:
        """Count *stream* as served; the hub then says its last words at a drain."""
        self._streams[stream] = channel
        if self._draining:
            stream.close(self._last_words("drain", streams=len(self._streams)))
        try:
            yield
        finally:
            del self._streams[stream]

    def drain(self) -> None:
        """End every stream, now and from now on, and spread their return."""
        self._draining = True
        for stream, channel in self._streams.items():
            stream.close(self._last_words("drain", streams=len(self._streams)))
            channel.bell.ring()

    def _last_words(self, why: str, *, streams: int) -> LastWords:
        spread = 1_000 * streams / ACCEPTS_A_SECOND
        return frames.last_words(why, round(RETRY_FLOOR + spread * self._random()))

    async def run(self) -> None:
        """Let items expire when their time comes; runs until cancelled."""
        while True:
            self._alarm = self.engine.deadline
            with trio.move_on_after(max(0.0, self._alarm - self.clock())):
                await self._rearm.wait()
            await self.engine.expire()


def _gap(lane: str, outcome: Outcome) -> Event | None:
    # A snapshot speaks for itself; another epoch has to be announced.
    return frames.RESET if outcome == "reset" else None
