"""The audit: recounts every badge, one mailbox at a time, while the service runs.

One task walks over all mailboxes, those of topics too. It compares an independent count
of the items with three badges: that of the mailbox, that of its latest change, and the
one that the hub delivers. It also looks for copies of items that their topic has no
longer. A wrong badge is counted and logged each time it is found.

The audit peeks: it sees what is stored. A read would pull from topics, and so the walk
would write a broadcast into every mailbox.

The hub may be behind a remote engine for a moment. Its badge is wrong only if it stays
at one outdated version for `MAX_LAG`.

Pace: at most one page per tick. After a slow page the audit pauses `PAUSE_FACTOR` times
as long as the page took, since it competes with requests for disk or network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from typing import NoReturn, final

import attrs
import structlog
import trio

from ..domain.badge import Badge
from ..domain.mailbox import Mailbox
from ..domain.names import topic_mailbox
from ..domain.record import Record
from ..engines.base import Engine, MailboxDamaged
from ..telemetry.metrics import Metrics
from .recount import Counts, counts_of, recount

MAX_LAG = 60.0
"""Time that the hub may stay at an outdated version, in seconds."""

MAX_PAUSE = 60.0
"""Maximum pause of the audit, and the pause after an engine failed, in seconds."""

PAUSE_FACTOR = 50
"""Pause after a page, as a multiple of the time that the page took."""

MAX_TOPICS = 100
"""Maximum number of topics that the audit remembers during a page."""

MAX_BEHIND = 1_000
"""Maximum number of users whose hub is behind that the audit remembers."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@final
@attrs.frozen
class _TopicItems:
    """The *ids* of the items that a topic has at one version."""

    version: tuple[str, int]
    ids: frozenset[str]

    @classmethod
    def of(cls, topic: Mailbox) -> _TopicItems:
        return cls((topic.epoch, topic.v), frozenset(topic.items))


@final
@attrs.define
class Audit:
    """Compares the badges of all mailboxes, *page* of them every *tick* seconds.

    *delivered_badge* returns the badge that the open streams of a user deliver, if any.
    """

    _engine: Engine
    _delivered_badge: Callable[[str], Badge | None]
    _metrics: Metrics
    _page: int = attrs.field(default=100, kw_only=True)
    _tick: float = attrs.field(default=1.0, kw_only=True)
    _after: str | None = attrs.field(default=None, init=False)
    # Users whose hub is behind: the badge's ETag, and when it was seen first.
    _behind: dict[str, tuple[str, float]] = attrs.field(factory=dict, init=False)

    async def run(self) -> NoReturn:
        """Audit page after page until cancelled."""
        while True:
            started_at = trio.current_time()
            try:
                await self._audit_page()
            except Exception:
                # An unavailable engine must not end the service.
                log.warning("audit paused", exc_info=True)
                pause = MAX_PAUSE
            else:
                elapsed = trio.current_time() - started_at
                pause = min(MAX_PAUSE, PAUSE_FACTOR * elapsed)
            await trio.sleep(pause + self._tick)

    async def _audit_page(self) -> None:
        topics: dict[str, _TopicItems] = {}
        users = await self._engine.users(self._after, self._page)
        if not users:
            self._after = None
        for user in users:
            # Before the read: a mailbox that cannot be read must not stop the audit.
            self._after = user
            # The engine has logged a damaged mailbox, and others can be read.
            with suppress(MailboxDamaged):
                await self._audit_user(user, topics)
            # A request waits for one mailbox at most, not for a page.
            await trio.lowlevel.checkpoint()

    async def _audit_user(self, user: str, topics: dict[str, _TopicItems]) -> None:
        record = await self._engine.peek(user)
        mailbox = record.mailbox
        counts = recount(
            mailbox.items.values(), mailbox.gauges, mailbox.more, mailbox.muted
        )
        for where, badge in self._current_badges(user, record):
            is_current = (badge.epoch, badge.v) == (mailbox.epoch, mailbox.v)
            if not is_current or counts_of(badge) != counts:
                self._metrics.audit_mismatch.add()
                found = {"epoch": badge.epoch, "v": badge.v}
                log.error(
                    "badge mismatch",
                    user=user,
                    epoch=mailbox.epoch,
                    v=mailbox.v,
                    where=where,
                    expected=_loggable(counts),
                    actual={**found, **_loggable(counts_of(badge))},
                )
        self._metrics.audit_checked.add()
        for topic, copies in _copies(mailbox).items():
            orphans = copies - await self._originals(mailbox, topic, topics, copies)
            if orphans:
                self._metrics.audit_mismatch.add()
                log.error(
                    "copies without originals",
                    user=user,
                    epoch=mailbox.epoch,
                    v=mailbox.v,
                    topic=topic,
                    items=sorted(orphans),
                )

    async def _originals(
        self,
        mailbox: Mailbox,
        topic: str,
        topics: dict[str, _TopicItems],
        copies: frozenset[str],
    ) -> frozenset[str]:
        """Return the items of *topic* whose copies *mailbox* may have.

        These are all *copies* if the mailbox has yet to pull from the topic.
        """
        subscription = mailbox.subscriptions.get(topic)
        if subscription is None:
            return frozenset()
        if (items := topics.get(topic)) is None:
            # A request waits for one mailbox at most.
            await trio.lowlevel.checkpoint()
            try:
                record = await self._engine.peek(topic_mailbox(topic))
            except MailboxDamaged:
                return copies
            if len(topics) >= MAX_TOPICS:
                topics.clear()
            items = topics[topic] = _TopicItems.of(record.mailbox)
        is_pulled = items.version == subscription.position[-1]
        return items.ids if is_pulled else copies

    def _current_badges(self, user: str, record: Record) -> Iterator[tuple[str, Badge]]:
        """Yield each badge that must be current, and where it comes from."""
        mailbox = record.mailbox
        yield "mailbox", mailbox.badge
        if record.changes:
            latest = record.changes[-1]
            # After a user was deleted, the latest change may be of the epoch before.
            if (latest.badge.epoch, latest.v) == (mailbox.epoch, mailbox.v):
                yield "change", latest.badge
        delivered = self._delivered_badge(user)
        if delivered is None:
            self._behind.pop(user, None)
        elif (delivered.epoch, delivered.v) == (mailbox.epoch, mailbox.v):
            self._behind.pop(user, None)
            yield "hub", delivered
        elif self._is_stuck(user, delivered):
            yield "hub", delivered

    def _is_stuck(self, user: str, delivered: Badge) -> bool:
        """Return whether the hub has stayed at an outdated version for too long."""
        now = trio.current_time()
        etag, since = self._behind.get(user, ("", now))
        if etag == delivered.etag:
            return now - since >= MAX_LAG
        if etag or len(self._behind) < MAX_BEHIND:
            self._behind[user] = delivered.etag, now
        return False


def _copies(mailbox: Mailbox) -> dict[str, frozenset[str]]:
    """Return the ids of the items that were pulled from topics, by topic."""
    copies = defaultdict[str, set[str]](set)
    waiting = (each.item for each in mailbox.waiting.values())
    for item in chain(mailbox.items.values(), waiting):
        if item.topic is not None:
            copies[item.topic].add(item.id)
    return {topic: frozenset(ids) for topic, ids in copies.items()}


def _loggable(counts: Counts) -> Counts:
    # As a key, a category named like a secret would be redacted; as a value it is not.
    by = [[name, *count.values()] for name, count in sorted(counts["by"].items())]
    return {**counts, "by": by}
