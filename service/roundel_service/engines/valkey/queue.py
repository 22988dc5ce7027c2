"""The queue of operations that wait for one primary."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container
from itertools import islice
from typing import Final, final

import attrs

from ..base import EngineUnavailable
from .pending import PendingOperation

MAX_BATCH: Final = 128
"""Maximum number of users in one batch."""

MAX_CONCURRENT: Final = 2
"""Maximum number of concurrent batches, so that store and node work in parallel."""


@final
@attrs.define(eq=False)
class PendingQueue:
    """Operations by user, and the number of batches that are *running*.

    *progress_at* is when an operation was last completed, by trio's clock.
    """

    running: int = 0
    progress_at: float = 0.0
    # An OrderedDict finds its first key in O(1) after many deletions; a dict scans.
    _waiting: OrderedDict[str, list[PendingOperation]] = attrs.field(
        factory=OrderedDict, init=False
    )

    def add(self, operation: PendingOperation) -> None:
        """Add *operation* to the next batch that includes its user."""
        self._waiting.setdefault(operation.user, []).append(operation)

    def next_batch(self, busy: Container[str]) -> dict[str, list[PendingOperation]]:
        """Remove and return the operations of the next users who are not *busy*."""
        if self.running >= MAX_CONCURRENT:
            return {}
        idle = (user for user in self._waiting if user not in busy)
        users = list(islice(idle, MAX_BATCH))
        return {user: self._waiting.pop(user) for user in users}

    def fail_before(self, since: float, reason: str) -> None:
        """Fail the users whose oldest operation was submitted before *since*."""
        for user, operations in list(self._waiting.items()):
            if operations[0].since <= since:
                for operation in self._waiting.pop(user):
                    operation.resolve(EngineUnavailable(reason))
