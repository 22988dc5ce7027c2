"""The record: the state that an engine stores for one user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from msgspec import Struct
from msgspec.structs import replace

from .append import append_item
from .badge import Badge
from .change_log import ChangeLog
from .idempotency import find_result
from .items import MailboxLimits
from .mailbox import Applied, Mailbox, apply
from .names import ALL, ALL_MAILBOX, is_topic_mailbox, topic_mailbox, topic_of
from .operations import (
    Appear,
    ClaimTopics,
    DeleteUser,
    Expire,
    Notify,
    Operation,
    Pull,
    Refresh,
    Retract,
    StartNewEpoch,
    Subscribe,
    Unsubscribe,
    UserOps,
    VersionOperation,
)
from .pull import pulls
from .subscriptions import Subscription, head, subscribe
from .waiting import due, waits_of

_SUBSCRIPTION_OPERATIONS = (Subscribe, Unsubscribe, ClaimTopics)
_ONLY_ALL = frozenset((ALL_MAILBOX,))


def names_topics(operation: Operation) -> bool:
    """Return whether *operation* names topics that the user may not follow yet."""
    return isinstance(operation, (Subscribe, ClaimTopics))


def needs_topics(operation: Operation) -> bool:
    """Return whether *operation* must see all topics of the mailbox, as of now.

    Other operations pull from the topics that the engine has in memory.
    """
    return isinstance(operation, (Refresh, DeleteUser, *_SUBSCRIPTION_OPERATIONS))


@final
class RecordLimits(Struct, frozen=True, gc=False, kw_only=True):
    """The limits of a record: of its mailbox, and of the length of its change log.

    A topic has the limits *topic*; by default it holds half of what a mailbox holds, so
    that it cannot evict everything that is personal.
    """

    mailbox: MailboxLimits = MailboxLimits()
    change_log_size: int = 256
    topic: MailboxLimits | None = None

    def of(self, name: str) -> RecordLimits:
        """Return the limits of the mailbox *name*, which may be that of a topic."""
        if not is_topic_mailbox(name):
            return self
        limits = self.mailbox
        half = replace(limits, items=max(1, limits.items // 2), bytes=limits.bytes // 2)
        return replace(self, mailbox=self.topic or half)


_NO_CHANGES = ChangeLog()


@final
class Record(Struct, frozen=True, gc=False):
    """A *mailbox* and the latest *changes* that led to it, oldest first.

    The changes have consecutive versions. `RecordLimits` bounds their number.
    """

    mailbox: Mailbox
    changes: ChangeLog = _NO_CHANGES

    @property
    def badge(self) -> Badge:
        """The current badge, taken from the latest change if there is one."""
        return self.changes.newest.badge if self.changes else self.mailbox.badge

    def is_before(self, other: Record) -> bool:
        """Return whether this is an earlier version in the epoch of *other*."""
        mine, others = self.mailbox, other.mailbox
        return mine.epoch == others.epoch and mine.v < others.v

    def topics(self, operation: Operation) -> frozenset[str]:
        """Return the topic mailboxes from which this mailbox pulls with *operation*."""
        if not self.mailbox.subscriptions and not names_topics(operation):
            return _ONLY_ALL
        names = {ALL, *self.mailbox.subscriptions}
        match operation:
            case Subscribe(topic=topic):
                names.add(topic)
            case ClaimTopics(topics=topics):
                names.update(topics)
        return frozenset(map(topic_mailbox, names))

    def holds(self, retract: Retract) -> bool:
        """Return whether *retract* selects an item, which may be one that waits."""
        waiting = (each.item for each in self.mailbox.waiting.values())
        return any(map(retract.selects, (*self.mailbox.items.values(), *waiting)))

    def is_due(self, now: float) -> bool:
        """Return whether an item expires or appears by *now*."""
        return self.mailbox.due_at <= now

    def is_behind(self, topics: Mapping[str, Record]) -> bool:
        """Return whether *topics*, by mailbox name, have news for this mailbox."""
        return any(
            next(_pulls(self.mailbox, name, topic), None) is not None
            for name, topic in _followed(self.mailbox, topics)
        )

    def refresh(
        self,
        *,
        now: float,
        limits: RecordLimits,
        topics: Mapping[str, Record] | None = None,
    ) -> Record:
        """Return the record as of *now*, as `apply()` finds it."""
        return self._without_due(now, limits)._pull(topics or {}, now, limits)

    def apply(
        self,
        operation: Operation,
        *,
        now: float,
        limits: RecordLimits,
        topics: Mapping[str, Record] | None = None,
    ) -> tuple[Record, Applied]:
        """Return the record after *operation*, and the result of the operation.

        The record is refreshed first: items that are due at *now*, in seconds since
        1970, and new items of *topics*. These are the records of topic mailboxes by
        name, as of now. Without `needs_topics()`, some that `topics()` names may be
        missing. Raises `OperationRefused`.
        """
        topics = topics or {}
        if isinstance(operation, Notify):
            return self._notify(operation, now, limits, topics)
        if isinstance(operation, (DeleteUser, StartNewEpoch)):
            return self._apply(operation, now, limits, topics)
        if not isinstance(operation, _SUBSCRIPTION_OPERATIONS):
            record = self.refresh(now=now, limits=limits, topics=topics)
            record, applied = record._apply_user_ops(operation, now, limits)
            if record is self or not topics:
                return record, applied
            after = record._with_new_epochs(topics)
            if after is not record:
                applied = replace(applied, mailbox=after.mailbox)
            return after, applied
        record = self._without_due(now, limits)
        # First, so that a new subscription decides what is pulled.
        record, applied = record._apply(operation, now, limits, topics)
        record = record._pull(topics, now, limits)
        if record is not self:
            record = record._with_new_epochs(topics)
        badge = record.mailbox.badge
        return record, replace(applied, mailbox=record.mailbox, badge=badge)

    def _notify(
        self,
        operation: Notify,
        now: float,
        limits: RecordLimits,
        topics: Mapping[str, Record],
    ) -> tuple[Record, Applied]:
        record = self
        if topics or self.mailbox.due_at <= now:
            record = self.refresh(now=now, limits=limits, topics=topics)
        applied = append_item(record.mailbox, operation, now=now, limits=limits.mailbox)
        if applied is None:
            return record._apply(operation, now, limits)
        return record._with(applied, limits), applied

    def _apply_user_ops(
        self, operation: Operation, now: float, limits: RecordLimits
    ) -> tuple[Record, Applied]:
        record = self
        if (
            isinstance(operation, UserOps)
            and find_result(self.mailbox.results, operation, now) is None
        ):
            waits = waits_of(operation)
            ids = {id_ for id_, until in waits.items() if until is None}
            for id_, waiting in self.mailbox.waiting.items():
                if id_ in ids and waiting.is_snoozed and id_ in record.mailbox.waiting:
                    appear = Appear(id=id_, by="user", op_id=operation.op_id)
                    record, _ = record._apply(appear, now, limits)
        return record._apply(operation, now, limits)

    def _without_due(self, now: float, limits: RecordLimits) -> Record:
        """Return the record after expiry, with the items that are to appear."""
        if not self.is_due(now):
            return self
        record, _ = self._apply(Expire(), now, limits)
        for id_ in due(record.mailbox.waiting, now):
            # An item that appears may replace another waiting item.
            if id_ in record.mailbox.waiting:
                record, _ = record._apply(Appear(id=id_), now, limits)
        return record

    def _pull(
        self, topics: Mapping[str, Record], now: float, limits: RecordLimits
    ) -> Record:
        """Return the record with what is new in *topics*.

        A position alone is not worth a write, unless something was missed before it.
        """
        record, positions, missed = self, dict[str, Subscription](), False
        for name, topic in _followed(self.mailbox, topics):
            subscription = _subscription(self.mailbox, name, topic)
            if subscription.pulled_upto(topic.mailbox) is None:
                continue
            for pull in _pulls(record.mailbox, name, topic):
                record, _ = record._apply(pull, now, limits)
                missed |= pull.is_incomplete
            positions[name] = replace(subscription, position=head(topic.mailbox))
        if not missed and record is self:
            return self
        return record._with_positions(positions)

    def _with_new_epochs(self, topics: Mapping[str, Record]) -> Record:
        """Return the record with positions in the current epochs of *topics*.

        After a failover a scheduled item may appear again, in a new epoch. A user who
        holds it and removes it now has seen that appearance too.
        """
        positions = {}
        for name, topic in _followed(self.mailbox, topics):
            held = self.mailbox.subscriptions.get(name)
            if held is None or held.position[-1][0] == topic.mailbox.epoch:
                continue
            if held.pulled_upto(topic.mailbox) is not None:
                positions[name] = replace(held, position=head(topic.mailbox))
        return self._with_positions(positions) if positions else self

    def _with_positions(self, positions: Mapping[str, Subscription]) -> Record:
        subscriptions = {**self.mailbox.subscriptions, **positions}
        return Record(replace(self.mailbox, subscriptions=subscriptions), self.changes)

    def _apply(
        self,
        operation: Operation | VersionOperation,
        now: float,
        limits: RecordLimits,
        topics: Mapping[str, Record] | None = None,
    ) -> tuple[Record, Applied]:
        by_topic = {
            topic_of(name): topic.mailbox for name, topic in (topics or {}).items()
        }
        applied = apply(
            self.mailbox, operation, now=now, limits=limits.mailbox, topics=by_topic
        )
        if applied.mailbox is self.mailbox:
            return self, applied
        if applied.mailbox.epoch != self.mailbox.epoch:
            return Record(applied.mailbox), applied
        return self._with(applied, limits), applied

    def _with(self, applied: Applied, limits: RecordLimits) -> Record:
        """Return the record with what was *applied* in its epoch."""
        changes = self.changes
        if applied.change is not None:
            changes = changes.append(applied.change, max_length=limits.change_log_size)
        return Record(applied.mailbox, changes)


def _followed(
    mailbox: Mailbox, topics: Mapping[str, Record]
) -> Iterator[tuple[str, Record]]:
    """Yield the topics that the user of *mailbox* follows and their records."""
    if not topics:
        return
    for name in sorted({ALL, *mailbox.subscriptions}):
        topic = topics.get(topic_mailbox(name))
        # A topic without a version has no item, but may have lost what was pulled.
        if topic is not None and (topic.mailbox.v or name in mailbox.subscriptions):
            yield name, topic


def _subscription(mailbox: Mailbox, name: str, topic: Record) -> Subscription:
    subscription = mailbox.subscriptions.get(name)
    return subscription or subscribe(topic.mailbox, "start", "default")


def _pulls(mailbox: Mailbox, name: str, topic: Record) -> Iterator[Pull]:
    subscription = _subscription(mailbox, name, topic)
    return pulls(mailbox, name, subscription, topic.mailbox, topic.changes)
