"""Reports damaged mailboxes to the operator."""

from __future__ import annotations

from typing import Final, final

import structlog
import trio

from ..domain.mailbox import Mailbox
from ..domain.operations import DeleteUser, Disconnect, Operation
from ..lru_map import LruMap
from .base import MailboxDamaged
from .codec.errors import describe

DAMAGED: Final = (
    "the stored mailbox is damaged: restore a backup, or delete it "
    "(DELETE /v1/users/{user} or /v1/topics/{topic} of a producer)"
)
"""What callers see; only the log names the user and the reason."""

REPORT_INTERVAL: Final = 600.0
"""Minimum time in seconds between two log lines about the same mailbox."""

_MAX_REPORTED: Final = 1_000

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def needs_no_content(operation: Operation | None, salvaged: Mailbox) -> bool:
    """Return whether *operation* is possible on the rest of a damaged mailbox."""
    has_times = salvaged.epoch != ""
    return isinstance(operation, DeleteUser) or (
        isinstance(operation, Disconnect) and has_times
    )


@final
class DamageLog:
    """Logs each damaged mailbox, and again if it is still damaged later.

    Clients and the audit read a damaged mailbox again and again, so most reads must
    not be logged.
    """

    def __init__(self) -> None:
        self._reported: LruMap[str, float] = LruMap(_MAX_REPORTED)

    def record(self, user: str, error: Exception) -> MailboxDamaged:
        """Log that the mailbox of *user* is damaged; return the error for callers."""
        now = trio.current_time()
        last = self._reported.get(user)
        if last is None or now - last >= REPORT_INTERVAL:
            self._reported.put(user, now)
            # A name that is damaged itself may be no UTF-8.
            name = user.encode("utf-8", "backslashreplace").decode()
            log.error("mailbox damaged", user=name, reason=describe(error))
        return MailboxDamaged(DAMAGED)

    def forget(self, user: str) -> None:
        """Log the next damage of *user* at once, because the mailbox was replaced."""
        self._reported.discard(user)
