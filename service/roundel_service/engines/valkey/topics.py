"""The topics from which the mailboxes of a batch pull.

A mailbox pulls from the record of a topic, and the script then compares and writes this
mailbox alone. That is enough, because a pull compares states and is idempotent: a topic
that was read too early has no news, one read late has more, and of two nodes that pull
at once one writes and the other reduces again.

There is one exception. A position is from some epoch of the topic. A topic in another
epoch than that is believed only if it was read after the mailbox: an old read, from
before several failovers, would bring items that are long gone. So the reads have an
order here: *read_at* of a stored record is a number that was taken after it was read,
and *asked_at* of a topic one that was taken before.

Operations that need all topics, as of now, wait for a read of each, which is one for
the whole batch. The read is a transaction of the topic itself, so what is due in it
happens first, and a topic that the store may have rewound gets its new epoch. Other
operations use the topics that this node has in its cache.

A topic at a primary that does not answer delays the others once a second at most: they
are read without its news.
"""

from __future__ import annotations

from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Sequence,
    Set,
)
from functools import partial
from typing import Final, TypeAlias, final

import attrs
import trio

from ...domain.mailbox import Mailbox
from ...domain.names import is_topic_mailbox, topic_of
from ...domain.operations import Operation, Refresh
from ...domain.record import Record
from ...lru_map import LruMap
from .pending import MailboxTransaction, OperationResult, StoredRecord, next_number
from .reduction import Topics
from .store import COMMAND_TIMEOUT

_RETRY_AFTER: Final = 1.0
"""Time in seconds for which a topic that could not be read is not read again."""

_MAX_FAILED: Final = 1_000
"""Number of topics of which a failure is remembered."""

_READ_ATTEMPTS = 5
"""Maximum number of reads of a topic that another node changes at the same time."""

_NEW: Final = Record(Mailbox(epoch=""))
"""The place of a record that is not loaded yet."""

_REFRESH: Final = Refresh()

_Submit: TypeAlias = Callable[
    [Sequence[tuple[str, Operation | None]]], Awaitable[list[OperationResult]]
]


@final
@attrs.frozen
class ReadTopic:
    """A topic's *record* as of a read that began after *asked_at*."""

    record: Record
    asked_at: int


@final
@attrs.define(eq=False)
class TopicReader:
    """Reads topics: *submit* runs reads, whose records are then in *cache*."""

    _submit: _Submit
    _cache: LruMap[str, StoredRecord]
    _clock: Callable[[], float]
    _failed_at: LruMap[str, float] = attrs.field(
        factory=partial(LruMap, _MAX_FAILED), init=False
    )

    async def read(self, names: Collection[str]) -> dict[str, ReadTopic]:
        """Return the topics *names* as of now, without those that cannot be read."""
        read: dict[str, ReadTopic] = {}
        async with trio.open_nursery() as nursery:
            for name in names:
                if not self._has_just_failed(name):
                    nursery.start_soon(self._read, name, read)
        return read

    def _has_just_failed(self, name: str) -> bool:
        failed_at = self._failed_at.get(name)
        return failed_at is not None and trio.current_time() < failed_at + _RETRY_AFTER

    async def _read(self, name: str, read: dict[str, ReadTopic]) -> None:
        for _ in range(_READ_ATTEMPTS):
            asked_at = next_number()
            with self._cache.pinned([name]):
                record = await self._current(name)
                stored = self._cache.get(name)
            # The log of another node's write may have dropped the record meanwhile.
            if record is None or stored is not None:
                break
        if record is None:
            self._failed_at.put(name, trio.current_time())
            return
        self._failed_at.discard(name)
        # A store that refuses writes returns a record in an epoch that is not stored.
        epoch = record.mailbox.epoch
        if stored is not None and stored.record.mailbox.epoch == epoch:
            read[name] = ReadTopic(record, asked_at)

    async def _current(self, name: str) -> Record | None:
        with trio.move_on_after(COMMAND_TIMEOUT):
            (result,) = await self._submit([(name, None)])
            return result if isinstance(result, Record) else None
        return None

    def at_hand(self, name: str, follower: StoredRecord) -> Record | None:
        """Return the topic *name* from the cache, if *follower* may pull from it."""
        stored = self._cache.get(name)
        if (
            stored is None
            or stored.needs_new_epoch
            or stored.record.is_due(self._clock())
            or _is_in_other_epoch(name, stored.record, follower)
        ):
            return None
        return stored.record


@final
@attrs.define(eq=False)
class BatchTopics:
    """The topics of one batch of transactions, read by *reader*."""

    _reader: TopicReader
    _read: dict[str, ReadTopic] = attrs.field(factory=dict, init=False)
    _asked: set[str] = attrs.field(factory=set, init=False)

    async def load(self, transactions: Iterable[MailboxTransaction]) -> None:
        """Read what *transactions* need and was not read yet, or too early."""
        names = set[str]()
        for transaction in transactions:
            stored = transaction.stored or transaction.cached
            record = _NEW if stored is None else stored.record
            names.update(
                name
                for name in _needed(transaction, record)
                if self._is_missing(name, stored)
            )
        if names:
            self._asked |= names
            self._read |= await self._reader.read(names)

    def _is_missing(self, name: str, follower: StoredRecord | None) -> bool:
        topic = self._read.get(name)
        if topic is None:
            return name not in self._asked
        return follower is not None and not _may_pull(name, topic, follower)

    def of(self, transaction: MailboxTransaction) -> Topics:
        """Return the topics from which the mailbox of *transaction* pulls."""
        follower = transaction.stored
        if follower is None or is_topic_mailbox(transaction.user):
            return {}
        if transaction.needs_topics:
            needed = _needed(transaction, follower.record)
            read = ((name, self._read.get(name)) for name in needed)
            return {
                name: topic.record
                for name, topic in read
                if topic is not None and _may_pull(name, topic, follower)
            }
        names = follower.record.topics(_REFRESH)
        at_hand = ((name, self._reader.at_hand(name, follower)) for name in names)
        return {name: record for name, record in at_hand if record is not None}


def _needed(transaction: MailboxTransaction, record: Record) -> Set[str]:
    """Return the topics that must be read for *transaction*."""
    if not transaction.needs_topics:
        return frozenset()
    operations = [each.operation or _REFRESH for each in transaction.operations]
    return frozenset[str]().union(*map(record.topics, operations))


def _may_pull(name: str, topic: ReadTopic, follower: StoredRecord) -> bool:
    is_later = topic.asked_at > follower.read_at
    return is_later or not _is_in_other_epoch(name, topic.record, follower)


def _is_in_other_epoch(name: str, topic: Record, follower: StoredRecord) -> bool:
    """Return whether *topic* is in another epoch than the position of *follower*."""
    subscriptions = follower.record.mailbox.subscriptions
    subscription = subscriptions.get(topic_of(name))
    if subscription is None:
        return False
    epoch, _ = subscription.position[-1]
    return epoch != topic.mailbox.epoch
