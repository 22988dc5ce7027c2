"""Binds the engine to the streams: whoever reads is told whatever is written."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from random import random
from secrets import token_urlsafe
from typing import Any, final
from weakref import WeakValueDictionary

import attrs
import trio

from roundel import LastWords
from roundel_adapters.wakeup import Bell

from ..domain.badge import Badge
from ..domain.changes import Removed
from ..domain.mailbox import Applied
from ..domain.operations import Expire, Forget, Notify, Operation, Retract
from ..engines.base import RETRY_AFTER, Engine, Record, Result, Unavailable, Work
from ..telemetry import logs
from ..telemetry.metrics import Metrics
from . import events as frames
from .channel import Channel, View
from .events import Why
from .expiry import Alarms
from .lease import Serving
from .presence import Attendance, Seat
from .subscribe import Opening, Timing, open_reader
from .subscriber import Reader

RETRY_FLOOR = 1_000
"""The shortest reconnection time that a planned end asks for, in milliseconds."""

ACCEPTS_A_SECOND = 500
"""How many streams a process can take back in a second, for spreading them."""


@final
@attrs.frozen(kw_only=True)
class Caps:
    """How many *streams* are served here at once, and how many of one user.

    *per_user* is for all nodes together, where the engine is shared.
    """

    streams: int = 20_000
    per_user: int = 32


@final
class _News:
    """The newest *record* of a user that came while *readers* were reading it."""

    __slots__ = ("readers", "record")

    def __init__(self) -> None:
        self.readers = 0
        self.record: Record | None = None


@final
class Hub:
    """Binds the engine to the streams: whoever reads is told whatever is written.

    *clock* returns seconds since 1970, *ring* is how many changes a user's streams
    can be replayed. `run()` has to run beside it.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        timing: Timing | None = None,
        caps: Caps | None = None,
        ring: int = 256,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random,
        metrics: Metrics | None = None,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.metrics = metrics or Metrics()
        self._timing = timing or Timing()
        self._caps = caps or Caps()
        self._ring = ring
        self._random = random
        # A channel is kept by the streams that read it and by nothing else, so that
        # no path, however it ends, can leave one behind.
        self._channels: WeakValueDictionary[str, Channel] = WeakValueDictionary()
        self._news: dict[str, _News] = {}
        self._readers: set[Reader] = set()
        self._nursery: trio.Nursery | None = None
        self._alarms = Alarms()
        self._rearm = Bell()
        self.is_draining = False
        self.attendance = (
            Attendance(engine, self._served, cap=self._caps.per_user)
            if engine.is_shared
            else None
        )
        # Those with a channel, and those who are about to have one.
        users: ChainMap[str, Any] = ChainMap(self._channels, self._news)
        engine.listen(self._on_change, users)

    @property
    def streams(self) -> int:
        """How many streams are being served."""
        return len(self._readers)

    def told(self, user: str) -> Badge | None:
        """Return the whole badge that the streams of *user* are told, if there are."""
        channel = self._channels.get(user)
        return channel.told if channel else None

    async def apply(self, user: str, operation: Operation) -> Applied:
        """Apply *operation* to the mailbox of *user*; its streams are told.

        Raises `TooManyCategories` and `Unavailable`.
        """
        (result,) = await self.apply_all([(user, operation)])
        if isinstance(result, Exception):
            raise result
        return result

    async def apply_all(self, work: Sequence[Work]) -> list[Result]:
        """Do all of *work*, in its order; what is refused stops nothing else."""
        began = time.perf_counter()
        results = await self.engine.apply(work)
        seconds = time.perf_counter() - began
        for (_, operation), result in zip(work, results, strict=True):
            if isinstance(result, Exception):
                continue
            if isinstance(operation, Notify):
                self.metrics.published(seconds)
            elif result.ignored:
                self.metrics.gauge_ignored()
        return results

    async def retract(self, retract: Retract, user: str | None) -> tuple[int, int]:
        """Take items back from *user*, or from all; return how many of how many.

        Raises `Unavailable` if one could not be asked; again, it finds the rest.
        """
        holders = [user] if user else await self.engine.holders(retract)
        removed = []
        for result in await self.apply_all([(holder, retract) for holder in holders]):
            if isinstance(result, Exception):
                raise result
            removed.append(_removed(result))
        return sum(removed), sum(map(bool, removed))

    async def forget(self, user: str) -> Applied:
        """Forget what the mailbox of *user* held; another epoch begins."""
        return await self.apply(user, Forget(token_urlsafe(9)))

    async def channel(self, user: str) -> Channel:
        """Return the channel of *user*, which lives while you keep it."""
        news = self._news.setdefault(user, _News())
        news.readers += 1
        try:
            record = await self.engine.read(user)
        finally:
            news.readers -= 1
            if not news.readers:
                del self._news[user]
        channel = self._channels.get(user)
        if channel is None:
            # An engine elsewhere tells of changes while its answer is on the way.
            latest = news.record or record
            channel = Channel(user, latest, ring=self._ring)
            self._channels[user] = channel
            self._arm(user, latest)
        else:
            # A wake-up may have been lost.
            self._update(channel, record)
        return channel

    def _on_change(self, user: str, record: Record) -> None:
        if news := self._news.get(user):
            news.record = record
        if channel := self._channels.get(user):
            self._update(channel, record)

    def _update(self, channel: Channel, record: Record) -> None:
        was_ended_at = channel.record.mailbox.ended_at
        channel.update(record)
        self._arm(channel.user, record)
        if channel.record.mailbox.ended_at != was_ended_at:
            for reader in channel.readers:
                reader.end("revoked")

    def _arm(self, user: str, record: Record) -> None:
        # Only those who are looking have to see at once that an item has expired: for
        # all others that is found out when somebody looks.
        if self._alarms.set(user, record.mailbox.expires_at):
            self._rearm.ring()

    def open(self, channel: Channel, view: View, opening: Opening) -> Reader:
        """Make the stream of one reader; it never outlives its proof of identity."""
        max_age = self._timing.max_age * (0.8 + 0.2 * self._random())
        return open_reader(
            channel,
            view,
            opening,
            timing=attrs.evolve(self._timing, max_age=max_age),
            last_words=self._last_words,
            metrics=self.metrics,
        )

    def serving(
        self, reader: Reader, seat: Seat | None = None
    ) -> AbstractContextManager[None]:
        """Count *reader* as served, or end it at once where there is no room for it.

        Where there is an *attendance*, it needs a free *seat* there.
        """
        return Serving(self._begun, self._ended, reader, seat)

    def _served(self, user: str) -> int:
        channel = self._channels.get(user)
        return len(channel.readers) if channel else 0

    def _begun(self, reader: Reader) -> None:
        channel = reader.channel
        if self.is_draining:
            reader.end("drain")
        elif reader.ended_at != channel.record.mailbox.ended_at:
            # It was let in before, so that it is one of those that were ended.
            reader.end("revoked")
        elif not self._has_room(channel):
            reader.end("shed")
        if reader.why is None:
            # Those who are sent away take no place: they are gone in a moment.
            self._readers.add(reader)
            channel.readers.add(reader)

    def _has_room(self, channel: Channel) -> bool:
        return (
            len(self._readers) < self._caps.streams
            and len(channel.readers) < self._caps.per_user
        )

    def _ended(self, reader: Reader, seconds: float) -> None:
        self._readers.discard(reader)
        reader.channel.readers.discard(reader)
        if self.attendance is not None:
            self.attendance.look(reader.channel.user)
        stuck = reader.is_stuck(trio.current_time())
        why = reader.why or ("slow" if stuck else "gone")
        if why == "shed":
            self.metrics.shed()
        self.metrics.stream_ended(why, seconds)
        logs.stream_line(
            user=reader.channel.user,
            level=reader.level,
            why=why,
            seconds=seconds,
            frames=reader.frames,
            skipped=reader.skipped,
            request_id=reader.request_id,
        )

    def shed(self) -> bytes:
        """Return all that a stream says to somebody who can only come later."""
        self.metrics.shed()
        self.metrics.frames("bye")
        return self._last_words("shed").encode()

    def drain(self) -> None:
        """End every stream, now and from now on, and spread their return."""
        self.is_draining = True
        for reader in self._readers:
            reader.end("drain")
        # Those who wait for a change without a stream are not held up either.
        for channel in list(self._channels.values()):
            channel.bell.ring()

    def _last_words(self, why: Why) -> LastWords:
        # Those who are moved together come back one by one, as fast as can be served.
        moved = len(self._readers) if why in ("drain", "shed") else 1
        spread = 1_000 * moved / ACCEPTS_A_SECOND
        return frames.last_words(why, round(RETRY_FLOOR + spread * self._random()))

    def start(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run *task* beside the streams, for as long as `run()` does."""
        assert self._nursery is not None, "Hub.run() has to run beside the streams"
        self._nursery.start_soon(task)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Let items expire when their time comes; runs until cancelled."""
        async with trio.open_nursery() as self._nursery:
            if self.attendance is not None:
                self._nursery.start_soon(self.attendance.run)
            task_status.started()
            while True:
                with trio.move_on_after(max(0.0, self._alarms.next - self.clock())):
                    await self._rearm.wait()
                await self._expire()

    async def _expire(self) -> None:
        now = self.clock()
        due = [user for user in self._alarms.due(now) if user in self._channels]
        work = [(user, Expire()) for user in due]
        try:
            results = await self.engine.apply(work)
        except Unavailable:
            results = [Unavailable() for _ in work]
        for user, result in zip(due, results, strict=True):
            if isinstance(result, Exception):
                self._alarms.set(user, now + RETRY_AFTER)


def _removed(applied: Applied) -> int:
    steps = applied.change.steps if applied.change else ()
    return sum(len(step.ids) for step in steps if isinstance(step, Removed))
