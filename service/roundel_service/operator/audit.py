"""The audit: recounts every badge, one mailbox at a time, while the service runs.

One task walks over all mailboxes. It compares an independent count of the items with
the badge of the mailbox, the badge of its latest change, and the badge that the hub
delivers. A wrong badge is counted and logged each time it is found.

The hub may be behind a remote engine for a moment. Its badge is wrong only if it stays
at one outdated version for `MAX_LAG`.

Pace: at most one page per tick. After a slow page the audit pauses `PAUSE_FACTOR` times
as long as the page took, since it competes with requests for disk or network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NoReturn, final

import attrs
import structlog
import trio

from ..domain.badge import Badge
from ..domain.record import Record
from ..domain.recount import Counts, counts_of, recount
from ..engines.base import Engine, MailboxDamaged
from ..telemetry.metrics import Metrics

MAX_LAG = 60.0
"""Time that the hub may stay at an outdated version, in seconds."""

MAX_PAUSE = 60.0
"""Maximum pause of the audit, and the pause after an engine failed, in seconds."""

PAUSE_FACTOR = 50
"""Pause after a page, as a multiple of the time that the page took."""

MAX_BEHIND = 1_000
"""Maximum number of users whose hub is behind that the audit remembers."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


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
        users = await self._engine.users(self._after, self._page)
        if not users:
            self._after = None
        for user in users:
            # Before the read: a mailbox that cannot be read must not stop the audit.
            self._after = user
            # The engine has logged a damaged mailbox, and others can be read.
            with suppress(MailboxDamaged):
                await self._audit_user(user)
            # A request waits for one mailbox at most, not for a page.
            await trio.lowlevel.checkpoint()

    async def _audit_user(self, user: str) -> None:
        record = await self._engine.read(user)
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


def _loggable(counts: Counts) -> Counts:
    # As a key, a category named like a secret would be redacted; as a value it is not.
    by = [[name, *count.values()] for name, count in sorted(counts["by"].items())]
    return {**counts, "by": by}
