"""The sweep: brings followers with open streams up to date after a topic changed.

A publish to a topic writes the mailbox of the topic alone, however many users follow
it. A follower's mailbox pulls from the topic when it is read. An open stream must not
wait for a read, so the sweep applies `Refresh` to the mailboxes behind open streams.

No wake-up is lost. The hub first watches a topic, then reads it, and then compares it
with the records of the followers' channels. It compares them again after each change of
the topic, and when a channel is made or follows another topic. The comparison is pure
and takes 2 to 20 µs, depending on the number of items.

Followers that are behind are refreshed in chunks, one chunk at a time, so that other
operations get their turn. All topics share the chunks: the three followers of one topic
do not wait for the 20,000 of a second topic. Changes of a topic during its sweep are
compared when the sweep is over: a follower pulls everything that is new in one write.
So frequent changes make sweeps later, and not longer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from math import inf
from typing import Final, NoReturn, TypeAlias, final

import attrs
import structlog
import trio

from roundel_adapters.wakeup import Wakeup

from ..domain.mailbox import Mailbox
from ..domain.names import topic_of
from ..domain.operations import Refresh
from ..domain.record import Record
from ..engines.base import (
    RETRY_AFTER,
    ApplyResult,
    Engine,
    EngineUnavailable,
    MailboxDamaged,
)
from ..telemetry.metrics import Metrics
from .channel import TopicChannel, UserChannel
from .refresh_queue import FinishedSweep, RefreshQueue
from .topics import WatchedTopics

CHUNK: Final = 128
"""Number of followers that are refreshed at a time."""

COMPARISONS: Final = 128
"""Number of followers that are compared between two checkpoints."""

LONG_SWEEP: Final = 1.0
"""Duration in seconds from which the end of a sweep is logged."""

ReadRecord: TypeAlias = Callable[[str], Awaitable[Record]]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@final
@attrs.define(eq=False)
class Sweep:
    """Refreshes the followers of *topics* on this node that are behind.

    *read* returns the record of a mailbox as of now. *schedule* is called with the name
    of a mailbox and the time at which it is due.
    """

    _engine: Engine
    _topics: WatchedTopics
    _read: ReadRecord = attrs.field(kw_only=True)
    _schedule: Callable[[str, float], None] = attrs.field(kw_only=True)
    _metrics: Metrics = attrs.field(kw_only=True)
    _work: Wakeup = attrs.field(factory=Wakeup, init=False)
    # Names of topics to be read, and of topics that could not be read.
    _unread: set[str] = attrs.field(factory=set, init=False)
    _unreadable: set[str] = attrs.field(factory=set, init=False)
    # Names of topics to be compared, and the times of their changes.
    _changed: dict[str, float] = attrs.field(factory=dict, init=False)
    _behind: RefreshQueue = attrs.field(factory=RefreshQueue, init=False)
    _retry_at: float = attrs.field(default=inf, init=False)

    @property
    def followers_behind(self) -> int:
        """The number of followers that were found behind and are not refreshed yet."""
        return len(self._behind)

    def follow(self, channel: UserChannel) -> None:
        """Watch the topics of a *channel* that was made, and compare it with them."""
        for topic in self._topics.follow(channel):
            if topic.record is None:
                self._unread.add(topic.name)
            if topic.is_ahead_of(channel):
                now = trio.current_time()
                self._behind.add(topic.name, [channel.user], started_at=now)
        self._work.notify()

    def on_user_change(self, channel: UserChannel) -> None:
        """Watch other topics if the user of *channel* follows other ones now."""
        if not self._topics.is_current(channel):
            self.follow(channel)

    def on_topic_change(self, topic: TopicChannel, record: Record) -> None:
        """Take the *record* that the engine reported for *topic*."""
        known = topic.record
        if known is not None and not _is_successor(record, known):
            # The report is late, or the store lost versions.
            self._unread.add(topic.name)
            self._work.notify()
        self._take(topic, record)

    def _take(self, topic: TopicChannel, record: Record) -> None:
        known = topic.record
        if known is not None and record.is_before(known):
            return
        topic.record = record
        self._schedule(topic.name, record.mailbox.due_at)
        if known is None or _version(known.mailbox) != _version(record.mailbox):
            self._changed.setdefault(topic.name, trio.current_time())
            self._work.notify()

    async def run(self) -> NoReturn:
        """Read topics and refresh their followers until cancelled."""
        while True:
            await self._wait_for_work()
            await self._read_topics()
            for name in [*self._changed]:
                if not self._behind.is_sweeping(name):
                    await self._compare(name)
            await self._refresh_chunk()

    async def _wait_for_work(self) -> None:
        while True:
            if trio.current_time() >= self._retry_at:
                self._retry_at = inf
                self._unread |= self._unreadable
                self._unreadable.clear()
                self._behind.retry()
            if self._unread or self._changed or self._behind.is_ready:
                return
            with trio.move_on_after(max(0.0, self._retry_at - trio.current_time())):
                await self._work.wait()

    def _retry_later(self) -> None:
        self._retry_at = min(self._retry_at, trio.current_time() + RETRY_AFTER)

    async def _read_topics(self) -> None:
        names = [self._unread.pop() for _ in range(min(CHUNK, len(self._unread)))]
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(self._read_topic, name)

    async def _read_topic(self, name: str) -> None:
        topic = self._topics.by_name.get(name)
        if topic is None:
            return
        try:
            record = await self._read(name)
        except MailboxDamaged:
            # The engine logged it, and reports the record after a repair.
            return
        except Exception as error:
            if not isinstance(error, EngineUnavailable):
                # This task serves all users, so it must not end for one topic.
                log.exception("topic not read", topic=name)
            self._unreadable.add(name)
            self._retry_later()
        else:
            self._take(topic, record)

    async def _compare(self, name: str) -> None:
        """Find the followers of the topic mailbox *name* that are behind."""
        # First: the topic may change again while this waits.
        started_at = self._changed.pop(name)
        topic = self._topics.by_name.get(name)
        if topic is None:
            return
        behind = []
        for number, user in enumerate(self._topics.followers(topic), 1):
            if self._is_behind(user, topic):
                behind.append(user)
            if number % COMPARISONS == 0:
                await trio.lowlevel.checkpoint()
        if behind:
            self._behind.add(name, behind, started_at=started_at)

    def _is_behind(self, user: str, topic: TopicChannel) -> bool:
        # A function: no variable of the caller holds the channel while that waits.
        channel = self._topics.channels.get(user)
        return channel is not None and topic.is_ahead_of(channel)

    async def _refresh_chunk(self) -> None:
        chunk = self._behind.take(CHUNK)
        seen = dict(self._seen_versions(chunk))
        failed = set()
        for user, result in zip(seen, await self._refresh([*seen]), strict=True):
            if not isinstance(result, Exception):
                self._metrics.pulled.add(count=_pulled(result.mailbox, seen[user]))
            elif not isinstance(result, MailboxDamaged):
                failed.add(user)
        if failed:
            self._retry_later()
        for sweep in self._behind.end_chunk(chunk, failed):
            self._finish(sweep)

    def _seen_versions(self, users: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Yield the users that have streams still, and the versions in their channels.

        The mailbox of another user pulls when it is read.
        """
        for user in users:
            channel = self._topics.channels.get(user)
            if channel is not None:
                yield user, channel.record.mailbox.v

    async def _refresh(self, users: Sequence[str]) -> Sequence[ApplyResult]:
        if not users:
            return []
        try:
            return await self._engine.apply([(user, Refresh()) for user in users])
        except Exception as error:
            if not isinstance(error, EngineUnavailable):
                # This task serves all users, so it must not end for one of them.
                log.exception("sweep failed")
            return [EngineUnavailable(str(error)) for _ in users]

    def _finish(self, sweep: FinishedSweep) -> None:
        seconds = trio.current_time() - sweep.started_at
        self._metrics.sweep_seconds.observe(seconds)
        if seconds >= LONG_SWEEP:
            log.info(
                "sweep finished",
                topic=topic_of(sweep.topic),
                followers=sweep.followers,
                duration_s=round(seconds, 3),
            )


def _version(mailbox: Mailbox) -> tuple[str, int]:
    return mailbox.epoch, mailbox.v


def _is_successor(record: Record, known: Record) -> bool:
    return record.mailbox.epoch == known.mailbox.epoch and not record.is_before(known)


def _pulled(mailbox: Mailbox, seen: int) -> int:
    """Return the number of items that *mailbox* pulled after the version *seen*."""
    return sum(
        item.topic is not None and item.seq > seen for item in mailbox.items.values()
    )
