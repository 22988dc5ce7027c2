"""The service checks itself: every badge is counted again, slowly, for ever.

A badge that has drifted from its items is the one thing that must not happen here. So
one task walks over all mailboxes and counts each by a fold of its own, which shares no
code with `roundel_service.domain.badge`: a mistake has to be made twice to go unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn, Protocol, TypeAlias, final

import structlog
import trio

from ..domain.badge import Badge
from ..domain.items import ExternalCount, Item
from ..domain.record import Record
from ..telemetry.metrics import Metrics

LAG = 60.0
"""For how many seconds the hub may be behind a remote engine before it is wrong."""

REST = 60.0
"""For how many seconds the audit paused at the most, and after an engine has failed."""

SHARE = 50
"""The audit paused so many times as long as it works."""

MAX_BEHIND = 1_000
"""How many users the audit remembers whose hub was behind."""

Numbers: TypeAlias = dict[str, Any]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class RecordReader(Protocol):
    """What the audit needs of an engine."""

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return the next names after that one, in a stable order; none at the end."""
        ...

    async def read(self, user: str) -> Record:
        """Return the user's record as of now."""
        ...


class DeliveredBadges(Protocol):
    """What the audit needs of the hub."""

    def delivered_badge(self, user: str) -> Badge | None:
        """Return the badge that the user's open streams are told, if there are any."""
        ...


def recount(
    items: Iterable[Item], gauges: Mapping[str, ExternalCount], more: bool
) -> Numbers:
    """Return the numbers of the badge in the contract's form, counted one by one."""
    unread: dict[str, int] = {}
    unseen: dict[str, int] = {}
    for category, gauge in gauges.items():
        unread[category] = gauge.count
    for item in items:
        if item.read or item.archived:
            continue
        unread[item.category] = unread.get(item.category, 0) + 1
        if not item.seen:
            unseen[item.category] = unseen.get(item.category, 0) + 1
    every = sum(unread.values())
    by = {
        category: {"unread": count, "unseen": unseen.get(category, 0)}
        for category, count in unread.items()
        if count != 0
    }
    return {
        "unread": every,
        "unseen": sum(unseen.values()),
        "more": more and every > 0,
        "by": by,
    }


@final
class Audit:
    """Walks over all mailboxes, at most *page* of them every *tick* seconds.

    Where they are slow to read it rests longer, but never more than `REST`.

    Each is compared with the badge that its mailbox folds, with that in its latest
    change, and with what the hub tells its streams. A badge that is wrong is counted
    in *metrics* and logged, each time it is found.
    """

    def __init__(
        self,
        mailboxes: RecordReader,
        teller: DeliveredBadges,
        metrics: Metrics,
        *,
        page: int = 100,
        tick: float = 1.0,
    ) -> None:
        self._mailboxes = mailboxes
        self._delivered_badges = teller
        self._metrics = metrics
        self._page = page
        self._tick = tick
        self._after: str | None = None
        self._behind: dict[str, tuple[str, float]] = {}

    async def run(self) -> NoReturn:
        """Walk again and again; runs until cancelled."""
        while True:
            began = trio.current_time()
            try:
                await self._audit_page()
            except Exception:
                # An engine that is away must not end the service.
                log.warning("audit paused", exc_info=True)
                rest = REST
            else:
                # Mailboxes that are not at hand take the time of those in use.
                rest = min(REST, SHARE * (trio.current_time() - began))
            await trio.sleep(rest + self._tick)

    async def _audit_page(self) -> None:
        users = await self._mailboxes.users(self._after, self._page)
        if not users:
            self._after = None
        for user in users:
            # One that cannot be read is passed by, or it would stop the walk for ever.
            self._after = user
            await self._audit(user)
            # Nobody has to wait for more than one mailbox.
            await trio.lowlevel.checkpoint()

    async def _audit(self, user: str) -> None:
        record = await self._mailboxes.read(user)
        mailbox = record.mailbox
        counted = {
            "epoch": mailbox.epoch,
            "v": mailbox.v,
            **recount(mailbox.items.values(), mailbox.gauges, mailbox.more),
        }
        for where, badge in self._badges(user, record):
            if _numbers(badge) != counted:
                self._metrics.mismatch()
                _report(user, where, counted, _numbers(badge))
        self._metrics.audited(1)

    def _badges(self, user: str, record: Record) -> Iterator[tuple[str, Badge]]:
        """Yield each badge that has to be right by now, and who says it."""
        mailbox = record.mailbox
        yield "mailbox", mailbox.badge
        if record.changes:
            latest = record.changes[-1]
            # After a user was forgotten, the latest change may be of the epoch before.
            if (latest.badge.epoch, latest.v) == (mailbox.epoch, mailbox.v):
                yield "change", latest.badge
        told = self._delivered_badges.delivered_badge(user)
        if told is None or (told.epoch, told.v) == (mailbox.epoch, mailbox.v):
            self._behind.pop(user, None)
        elif not self._is_stuck(user, told):
            return
        if told is not None:
            yield "hub", told

    def _is_stuck(self, user: str, told: Badge) -> bool:
        """Tell whether the hub has been at that other version for too long."""
        now = trio.current_time()
        etag, since = self._behind.get(user, ("", now))
        if etag == told.etag:
            return now - since >= LAG
        if etag or len(self._behind) < MAX_BEHIND:
            self._behind[user] = told.etag, now
        return False


def _numbers(badge: Badge) -> Numbers:
    by = {
        category: {"unread": count.unread, "unseen": count.unseen}
        for category, count in badge.by.items()
    }
    return {
        "epoch": badge.epoch,
        "v": badge.v,
        "unread": badge.unread,
        "unseen": badge.unseen,
        "more": badge.more,
        "by": by,
    }


def _report(user: str, where: str, counted: Numbers, told: Numbers) -> None:
    at = {"epoch": counted["epoch"], "v": counted["v"]}
    both = {"counted": _row(counted), "told": _row(told)}
    log.error("badge mismatch", user=user, **at, where=where, **both)


def _row(numbers: Numbers) -> Numbers:
    # A category may be named like a secret; as a value it is not taken for one.
    by = [[name, *count.values()] for name, count in sorted(numbers["by"].items())]
    return {**numbers, "by": by}
