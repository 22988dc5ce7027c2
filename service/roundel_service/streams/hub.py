"""The hub: connects an engine to the open streams of its users."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import random
from secrets import token_urlsafe
from typing import Any, final
from weakref import WeakValueDictionary

import attrs
import trio

from ..domain.badge import Badge
from ..domain.mailbox import Applied
from ..domain.names import is_topic_mailbox
from ..domain.operations import (
    DeleteUser,
    Notify,
    Operation,
    Retract,
    SetGauge,
    StartNewEpoch,
)
from ..domain.record import Record
from ..engines.base import (
    ApplyResult,
    Engine,
    EngineUnavailable,
    UserOperation,
)
from ..telemetry.metrics import Metrics
from .active_refresh import ActiveRefresh
from .channel import UserChannel
from .presence import StreamPresence, StreamSlot
from .registry import StreamLease, StreamLimits, StreamRegistry
from .retraction import Retracted, retract_from
from .subscribe import StreamTimeouts, SubscribeRequest, open_subscriber
from .subscriber import Subscriber
from .sweep import Sweep
from .topics import WatchedTopics
from .view_history import View


@final
@attrs.define
class _PendingRead:
    """Counts *readers* that wait for a user's record, and holds the newest change."""

    readers: int = 0
    record: Record | None = None


@final
class Hub:
    """Connects *engine* to the open streams: each change is delivered to its user.

    *clock* returns seconds since 1970. *change_log_size* bounds the changes that a
    stream can replay. `run()` must run as long as streams are served.
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
        self.metrics: Metrics = metrics or Metrics()
        self._timeouts = timeouts or StreamTimeouts()
        self._change_log_size = change_log_size
        self._random = random
        limits = limits or StreamLimits()
        # Only subscribers and pending calls reference a channel, so none can leak.
        self._channels: WeakValueDictionary[str, UserChannel] = WeakValueDictionary()
        self._pending_reads: dict[str, _PendingRead] = {}
        self._nursery: trio.Nursery | None = None
        self._topics = WatchedTopics(self._channels)
        self._refresh = ActiveRefresh(engine, self._is_delivered, clock=clock)
        self.sweep: Sweep = Sweep(
            engine,
            self._topics,
            read=self._read,
            schedule=self._refresh.schedule,
            metrics=self.metrics,
        )
        self.presence: StreamPresence | None = (
            StreamPresence(engine, self._streams_of, limit=limits.per_user)
            if engine.is_shared
            else None
        )
        self._registry = StreamRegistry(
            limits,
            self.presence,
            retry=self._timeouts.retry,
            random=random,
            metrics=self.metrics,
        )
        # Users with a channel, users whose channel is about to be created, and topics.
        names: ChainMap[str, Any] = ChainMap(
            self._channels, self._pending_reads, self._topics.by_name
        )
        engine.listen(self._on_change, names)

    @property
    def streams(self) -> int:
        """The number of streams that are served."""
        return len(self._registry)

    def delivered_badge(self, user: str) -> Badge | None:
        """Return the badge that the unfiltered streams of *user* deliver, if any."""
        channel = self._channels.get(user)
        return channel.delivered_badge if channel else None

    async def apply(self, user: str, operation: Operation) -> Applied:
        """Apply *operation* to the mailbox of *user* and deliver the change.

        Raises `OperationRefused` and `EngineUnavailable`.
        """
        (result,) = await self.apply_all([(user, operation)])
        if isinstance(result, Exception):
            raise result
        return result

    async def apply_all(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        """Apply the operations of *work* in order; a rejected one stops no other."""
        started_at = time.perf_counter()
        results = await self.engine.apply(work)
        seconds = time.perf_counter() - started_at
        for (_, operation), result in zip(work, results, strict=True):
            if isinstance(result, Exception):
                continue
            if isinstance(operation, Notify):
                self.metrics.publish_seconds.observe(seconds)
            elif isinstance(operation, SetGauge) and result.ignored:
                self.metrics.gauge_updates_ignored.add()
        return results

    async def retract(self, retract: Retract, mailbox: str | None) -> Retracted:
        """Retract items from *mailbox*, or from those of all users and topics.

        Raises `EngineUnavailable` if the engine failed; a second call retracts the
        remaining items. A damaged mailbox is passed over unless it is *mailbox*.
        """
        if mailbox is None:
            holders = await self.engine.holders(retract)
            return await retract_from(holders, retract, self.apply_all)
        retracted = Retracted()
        retracted.add(mailbox, await self.apply(mailbox, retract))
        return retracted

    async def delete_user(self, user: str) -> Applied:
        """Delete the contents of the mailbox of *user* and start a new epoch."""
        return await self.apply(user, DeleteUser(token_urlsafe(9)))

    async def channel(self, user: str) -> UserChannel:
        """Return the channel of *user*, which lives as long as it is referenced."""
        pending = self._pending_reads.setdefault(user, _PendingRead())
        pending.readers += 1
        try:
            record = await self._read(user)
        finally:
            pending.readers -= 1
            if not pending.readers:
                del self._pending_reads[user]
        channel = self._channels.get(user)
        if channel is None:
            # A remote engine may report a change before it returns an older record.
            record = pending.record or record
            channel = UserChannel(user, record, change_log_size=self._change_log_size)
            self._channels[user] = channel
        else:
            # The engine may have lost a notification.
            channel.update(record)
        self._refresh.schedule(user, record.mailbox.due_at)
        self.sweep.follow(channel)
        return channel

    async def _read(self, name: str) -> Record:
        """Read the record of a user or topic.

        Starts a new epoch if the store lost versions.
        """
        # No variable holds the channel: while this waits, it must not stay alive.
        channels = self._topics.by_name if is_topic_mailbox(name) else self._channels
        shown: Record | None = getattr(channels.get(name), "record", None)
        record = await self.engine.read(name)
        if shown is None or not record.is_before(shown):
            return record
        # Clients have seen the lost versions, and must not meet them again.
        await self.apply(name, StartNewEpoch(token_urlsafe(9)))
        return await self.engine.read(name)

    async def _compare(self, user: str) -> None:
        """Compare the channel of *user* with the store."""
        with suppress(EngineUnavailable):
            await self.channel(user)

    def _is_delivered(self, name: str) -> bool:
        return name in self._channels or self._topics.has_followers(name)

    def _on_change(self, user: str, record: Record) -> None:
        if topic := self._topics.by_name.get(user):
            self.sweep.on_topic_change(topic, record)
            return
        if pending := self._pending_reads.get(user):
            pending.record = record
        if channel := self._channels.get(user):
            if record.is_before(channel.record) and self._nursery is not None:
                # Either the notification is late, or the store lost versions.
                self._nursery.start_soon(self._compare, user)
            channel.update(record)
            self._refresh.schedule(user, record.mailbox.due_at)
            self.sweep.on_user_change(channel)

    def subscribe(
        self, channel: UserChannel, view: View, request: SubscribeRequest
    ) -> Subscriber:
        """Create a subscriber of *channel*; it ends when its credential expires."""
        max_age = self._timeouts.max_age * (0.8 + 0.2 * self._random())
        return open_subscriber(
            channel,
            view,
            request,
            timeouts=attrs.evolve(self._timeouts, max_age=max_age),
            close_message=self._registry.close_message,
            metrics=self.metrics,
        )

    def lease(
        self, subscriber: Subscriber, slot: StreamSlot | None = None
    ) -> StreamLease:
        """Return the context in which *subscriber* counts as served.

        With `presence`, a granted *slot* is required.
        """
        return StreamLease(self._registry, subscriber, slot)

    @asynccontextmanager
    async def count_poll(self, channel: UserChannel) -> AsyncGenerator[bool, None]:
        """Count a long poll with the user's streams; yield whether it may wait."""
        slot = None
        if self.presence is not None:
            try:
                slot = await self.presence.reserve(channel.user)
            except EngineUnavailable:
                yield False
                return
        # The slot counts at the other nodes as long as it is referenced.
        with self._registry.count_poll(channel) as has_room:
            yield has_room and (slot is None or slot.granted)

    async def count_streams(self, user: str) -> int:
        """Return how many streams and long polls of *user* are open, at all nodes.

        Raises `EngineUnavailable` if the other nodes are not known.
        """
        if self.presence is not None:
            return await self.presence.count(user)
        channel = self._channels.get(user)
        return len(channel.subscribers) + channel.polls if channel else 0

    def _streams_of(self, user: str) -> int:
        channel = self._channels.get(user)
        return len(channel.subscribers) if channel else 0

    def rejection_body(self) -> bytes:
        """Return the whole body of a stream that is rejected and may retry later."""
        self.metrics.streams_rejected.add()
        self.metrics.events_sent.add("bye")
        return self._registry.close_message("shed").encode()

    @property
    def is_draining(self) -> bool:
        """Whether all streams were ended and new ones are rejected."""
        return self._registry.is_draining

    def drain(self) -> None:
        """End all streams and reject new ones; reconnections are spread over time."""
        self._registry.drain()
        # Requests that wait for a change return too.
        for channel in list(self._channels.values()):
            channel.wakeup.notify()

    def start(self, task: Callable[[], Awaitable[None]]) -> None:
        """Start *task* in the nursery of `run()`."""
        assert self._nursery is not None, "expected Hub.run() to be running"
        self._nursery.start_soon(task)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run active refresh, sweeps and presence until cancelled."""
        async with trio.open_nursery() as self._nursery:
            if self.presence is not None:
                self._nursery.start_soon(self.presence.run)
            self._nursery.start_soon(self._refresh.run)
            self._nursery.start_soon(self.sweep.run)
            task_status.started()
