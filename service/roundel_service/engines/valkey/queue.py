"""The queue of operations that wait for one primary."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container
from typing import Final, final

from ..base import EngineUnavailable
from .pending import PendingOperation

MAX_BATCH: Final = 128
"""Maximum number of users in one batch."""

MAX_CONCURRENT: Final = 2
"""Maximum number of concurrent batches, so that store and node work in parallel."""


@final
class PendingQueue:
    """Operations by user, and the number of batches that are *running*.

    *progress_at* is when an operation was last completed, by trio's clock.
    """

    def __init__(self) -> None:
        self.running = 0
        self.progress_at = 0.0
        # An OrderedDict finds its first key in O(1) after many deletions; a dict scans.
        self._waiting: OrderedDict[str, list[PendingOperation]] = OrderedDict()

    def add(self, operation: PendingOperation) -> None:
        """Add *operation* to the next batch that includes its user."""
        self._waiting.setdefault(operation.user, []).append(operation)

    def next_batch(self, busy: Container[str]) -> dict[str, list[PendingOperation]]:
        """Remove and return the operations of the next users who are not *busy*."""
        if self.running >= MAX_CONCURRENT:
            return {}
        users: list[str] = []
        for user in self._waiting:
            if user not in busy:
                users.append(user)
                if len(users) == MAX_BATCH:
                    break
        return {user: self._waiting.pop(user) for user in users}

    def fail_before(self, since: float, reason: str) -> None:
        """Fail the users whose oldest operation was submitted before *since*."""
        for user, operations in list(self._waiting.items()):
            if operations[0].since <= since:
                for operation in self._waiting.pop(user):
                    operation.resolve(EngineUnavailable(reason))
