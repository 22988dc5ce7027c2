"""What a mailbox knows of the topics that its user follows.

A topic is a mailbox, and a subscription is a cursor into it: its position says up to
which version of which epoch the topic's items were pulled. A failover may undo the last
versions of a topic, and a new epoch uses their numbers again. So a topic remembers
where its earlier epochs ended, and a position names the latest epochs that it has seen.
From both, `pulled_upto()` finds the version of the current epoch that was pulled. This
is Kafka's truncation by leader epoch (KIP-101, KIP-320).
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias, final

from msgspec import Struct

POSITION_EPOCHS = 4
"""Maximum number of epochs in a position."""

EPOCH_HISTORY = 64
"""Maximum number of earlier epochs that a mailbox remembers."""

EpochEnd: TypeAlias = tuple[str, int]
"""An epoch, and a version in it."""

Position: TypeAlias = tuple[EpochEnd, ...]
"""The latest epochs of a topic, oldest first, each with the version pulled last."""

Since: TypeAlias = float | Literal["now", "start"]
"""What is pulled: from now on, everything, or from a time in seconds since 1970."""

SubscriptionSource: TypeAlias = Literal["default", "producer", "token"]


class TopicHead(Protocol):
    """The latest version of a topic's mailbox, and where its earlier epochs ended."""

    @property
    def epoch(self) -> str:
        """The current epoch."""
        ...

    @property
    def v(self) -> int:
        """The latest version."""
        ...

    @property
    def epoch_history(self) -> tuple[EpochEnd, ...]:
        """The earlier epochs, oldest first."""
        ...


@final
class Muted(Struct, frozen=True, gc=False, kw_only=True):
    """The *categories* and *topics* whose items the badge does not count."""

    categories: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Return whether anything is muted."""
        return bool(self.categories or self.topics)

    def covers(self, category: str, topic: str | None) -> bool:
        """Return whether items of *category* from *topic* are muted."""
        return category in self.categories or topic in self.topics


NOTHING_MUTED = Muted()


@final
class Subscription(Struct, frozen=True, gc=False, kw_only=True):
    """A subscription: its *position*, what it is *since*, and what made it (*by*)."""

    position: Position
    since: Since
    by: SubscriptionSource

    def pulled_upto(self, topic: TopicHead) -> int | None:
        """Return the version of *topic* that was pulled; `None` if it has no news."""
        epoch, v = self.position[-1]
        if topic.epoch == epoch:
            return None if topic.v <= v else v
        if any(topic.epoch == older for older, _ in self.position):
            return None  # An old read of the topic.
        ends = dict((*topic.epoch_history, (topic.epoch, topic.v)))
        pulled = (min(v, ends[e]) for e, v in reversed(self.position) if e in ends)
        return next(pulled, 0)

    def includes(self, created_at: float) -> bool:
        """Return whether items created at *created_at* are pulled."""
        return isinstance(self.since, str) or created_at >= self.since


def head(topic: TopicHead) -> Position:
    """Return the position behind everything that *topic* has had."""
    return (*topic.epoch_history, (topic.epoch, topic.v))[-POSITION_EPOCHS:]


def start(topic: TopicHead) -> Position:
    """Return the position before everything that *topic* has had."""
    oldest = topic.epoch_history[0][0] if topic.epoch_history else topic.epoch
    return ((oldest, 0),)


def subscribe(topic: TopicHead, since: Since, by: SubscriptionSource) -> Subscription:
    """Return a new subscription to *topic*."""
    position = head(topic) if since == "now" else start(topic)
    return Subscription(position=position, since=since, by=by)
