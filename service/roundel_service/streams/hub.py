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

from roundel import CloseMessage
from roundel_adapters.timer_queue import TimerQueue
from roundel_adapters.wakeup import Wakeup

from ..domain.badge import Badge
from ..domain.changes import Removed
from ..domain.mailbox import Applied
from ..domain.operations import DeleteUser, Expire, Notify, Operation, Retract
from ..domain.record import Record
from ..engines.base import RETRY_AFTER, Engine, EngineUnavailable, Result, UserOperation
from ..telemetry import logs
from ..telemetry.metrics import Metrics
from . import events as frames
from .channel import UserChannel, View
from .events import CloseReason
from .lease import StreamLease
from .presence import StreamPresence, StreamSlot
from .subscribe import StreamTimeouts, SubscribeRequest, open_subscriber
from .subscriber import Subscriber

RETRY_FLOOR = 1_000
"""The shortest reconnection time that a planned end asks for, in milliseconds."""

ACCEPTS_A_SECOND = 500
"""How many streams a process can take back in a second, for spreading them."""


@final
@attrs.frozen(kw_only=True)
class StreamLimits:
    """How many *streams* are served here at once, and how many of one user.

    *per_user* is for all nodes together, where the engine is shared.
    """

    streams: int = 20_000
    per_user: int = 32


@final
class _PendingRead:
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
        timeouts: StreamTimeouts | None = None,
        limits: StreamLimits | None = None,
        change_log_size: int = 256,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random,
        metrics: Metrics | None = None,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.metrics = metrics or Metrics()
        self._timeouts = timeouts or StreamTimeouts()
        self._limits = limits or StreamLimits()
        self._change_log_size = change_log_size
        self._random = random
        # A channel is kept by the streams that read it and by nothing else, so that
        # no path, however it ends, can leave one behind.
        self._channels: WeakValueDictionary[str, UserChannel] = WeakValueDictionary()
        self._pending_reads: dict[str, _PendingRead] = {}
        self._subscribers: set[Subscriber] = set()
        self._nursery: trio.Nursery | None = None
        self._expiries: TimerQueue[str] = TimerQueue()
        self._expiry_changed = Wakeup()
        self.is_draining = False
        self.presence = (
            StreamPresence(engine, self._served, cap=self._limits.per_user)
            if engine.is_shared
            else None
        )
        # Those with a channel, and those who are about to have one.
        users: ChainMap[str, Any] = ChainMap(self._channels, self._pending_reads)
        engine.listen(self._on_change, users)

    @property
    def streams(self) -> int:
        """How many streams are being served."""
        return len(self._subscribers)

    def delivered_badge(self, user: str) -> Badge | None:
        """Return the whole badge that the streams of *user* are told, if there are."""
        channel = self._channels.get(user)
        return channel.delivered_badge if channel else None

    async def apply(self, user: str, operation: Operation) -> Applied:
        """Apply *operation* to the mailbox of *user*; its streams are told.

        Raises `TooManyCategories` and `EngineUnavailable`.
        """
        (result,) = await self.apply_all([(user, operation)])
        if isinstance(result, Exception):
            raise result
        return result

    async def apply_all(self, work: Sequence[UserOperation]) -> list[Result]:
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
                self.metrics.gauge_update_ignored()
        return results

    async def retract(self, retract: Retract, user: str | None) -> tuple[int, int]:
        """Take items back from *user*, or from all; return how many of how many.

        Raises `EngineUnavailable` if one could not be asked; again, it finds the rest.
        """
        holders = [user] if user else await self.engine.holders(retract)
        removed = []
        for result in await self.apply_all([(holder, retract) for holder in holders]):
            if isinstance(result, Exception):
                raise result
            removed.append(_removed(result))
        return sum(removed), sum(map(bool, removed))

    async def delete_user(self, user: str) -> Applied:
        """Forget what the mailbox of *user* held; another epoch begins."""
        return await self.apply(user, DeleteUser(token_urlsafe(9)))

    async def channel(self, user: str) -> UserChannel:
        """Return the channel of *user*, which lives while you keep it."""
        news = self._pending_reads.setdefault(user, _PendingRead())
        news.readers += 1
        try:
            record = await self.engine.read(user)
        finally:
            news.readers -= 1
            if not news.readers:
                del self._pending_reads[user]
        channel = self._channels.get(user)
        if channel is None:
            # An engine elsewhere tells of changes while its answer is on the way.
            latest = news.record or record
            channel = UserChannel(user, latest, change_log_size=self._change_log_size)
            self._channels[user] = channel
            self._schedule_expiry(user, latest)
        else:
            # A wake-up may have been lost.
            self._update(channel, record)
        return channel

    def _on_change(self, user: str, record: Record) -> None:
        if news := self._pending_reads.get(user):
            news.record = record
        if channel := self._channels.get(user):
            self._update(channel, record)

    def _update(self, channel: UserChannel, record: Record) -> None:
        was_ended_at = channel.record.mailbox.ended_at
        channel.update(record)
        self._schedule_expiry(channel.user, record)
        if channel.record.mailbox.ended_at != was_ended_at:
            for reader in channel.subscribers:
                reader.end("revoked")

    def _schedule_expiry(self, user: str, record: Record) -> None:
        # Only those who are looking have to see at once that an item has expired: for
        # all others that is found out when somebody looks.
        if self._expiries.set(user, record.mailbox.expires_at):
            self._expiry_changed.notify()

    def subscribe(
        self, channel: UserChannel, view: View, request: SubscribeRequest
    ) -> Subscriber:
        """Make the stream of one reader; it never outlives its proof of identity."""
        max_age = self._timeouts.max_age * (0.8 + 0.2 * self._random())
        return open_subscriber(
            channel,
            view,
            request,
            timeouts=attrs.evolve(self._timeouts, max_age=max_age),
            close_message=self._close_message,
            metrics=self.metrics,
        )

    def lease(
        self, subscriber: Subscriber, slot: StreamSlot | None = None
    ) -> AbstractContextManager[None]:
        """Count *reader* as served, or end it at once where there is no room for it.

        Where there is an *attendance*, it needs a free *seat* there.
        """
        return StreamLease(self._on_stream_start, self._on_stream_end, subscriber, slot)

    def _served(self, user: str) -> int:
        channel = self._channels.get(user)
        return len(channel.subscribers) if channel else 0

    def _on_stream_start(self, reader: Subscriber) -> None:
        channel = reader.channel
        if self.is_draining:
            reader.end("drain")
        elif reader.ended_at != channel.record.mailbox.ended_at:
            # It was let in before, so that it is one of those that were ended.
            reader.end("revoked")
        elif not self._has_room(channel):
            reader.end("shed")
        if reader.close_reason is None:
            # Those who are sent away take no place: they are gone in a moment.
            self._subscribers.add(reader)
            channel.subscribers.add(reader)

    def _has_room(self, channel: UserChannel) -> bool:
        return (
            len(self._subscribers) < self._limits.streams
            and len(channel.subscribers) < self._limits.per_user
        )

    def _on_stream_end(self, reader: Subscriber, seconds: float) -> None:
        self._subscribers.discard(reader)
        reader.channel.subscribers.discard(reader)
        if self.presence is not None:
            self.presence.look(reader.channel.user)
        stuck = reader.is_stuck(trio.current_time())
        why = reader.close_reason or ("slow" if stuck else "gone")
        if why == "shed":
            self.metrics.stream_rejected()
        self.metrics.stream_ended(why, seconds)
        logs.stream_line(
            user=reader.channel.user,
            level=reader.level,
            reason=why,
            seconds=seconds,
            events_sent=reader.events_sent,
            versions_skipped=reader.versions_skipped,
            request_id=reader.request_id,
        )

    def rejection_body(self) -> bytes:
        """Return all that a stream says to somebody who can only come later."""
        self.metrics.stream_rejected()
        self.metrics.events_sent("bye")
        return self._close_message("shed").encode()

    def drain(self) -> None:
        """End every stream, now and from now on, and spread their return."""
        self.is_draining = True
        for reader in self._subscribers:
            reader.end("drain")
        # Those who wait for a change without a stream are not held up either.
        for channel in list(self._channels.values()):
            channel.wakeup.notify()

    def _close_message(self, why: CloseReason) -> CloseMessage:
        # Those who are moved together come back one by one, as fast as can be served.
        moved = len(self._subscribers) if why in ("drain", "shed") else 1
        spread = 1_000 * moved / ACCEPTS_A_SECOND
        return frames.close_message(why, round(RETRY_FLOOR + spread * self._random()))

    def start(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run *task* beside the streams, for as long as `run()` does."""
        assert self._nursery is not None, "Hub.run() has to run beside the streams"
        self._nursery.start_soon(task)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Let items expire when their time comes; runs until cancelled."""
        async with trio.open_nursery() as self._nursery:
            if self.presence is not None:
                self._nursery.start_soon(self.presence.run)
            task_status.started()
            while True:
                with trio.move_on_after(max(0.0, self._expiries.next - self.clock())):
                    await self._expiry_changed.wait()
                await self._expire()

    async def _expire(self) -> None:
        now = self.clock()
        due = [user for user in self._expiries.due(now) if user in self._channels]
        work = [(user, Expire()) for user in due]
        try:
            results = await self.engine.apply(work)
        except EngineUnavailable:
            results = [EngineUnavailable() for _ in work]
        for user, result in zip(due, results, strict=True):
            if isinstance(result, Exception):
                self._expiries.set(user, now + RETRY_AFTER)


def _removed(applied: Applied) -> int:
    steps = applied.change.steps if applied.change else ()
    return sum(len(step.ids) for step in steps if isinstance(step, Removed))
