"""Groups operations into batches of transactions, for each primary on its own.

An operation waits in the queue of its user's primary, or in the one for its topics. All
waiting operations of a user become one transaction; a user has at most one transaction
at a time. A batch is up to 128 users' transactions, and up to two batches run for each
queue. So a primary that does not answer delays only its own users.

An operation fails when it has waited for `RETRY_TIMEOUT` seconds without progress at
its primary. Once started, it fails after another `RETRY_TIMEOUT`. So a result takes at
most about 6 seconds.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Container, Hashable, Sequence
from functools import partial
from itertools import islice
from typing import Final, final

import attrs
import trio

from roundel_adapters.wakeup import Wakeup

from ...domain.operations import Operation
from ..base import EngineUnavailable
from .pending import MailboxTransaction, OperationResult, PendingOperation
from .store import RETRY_TIMEOUT

MAX_BATCH: Final = 128
"""Maximum number of users in one batch."""

MAX_CONCURRENT: Final = 2
"""Maximum number of concurrent batches, so that store and node work in parallel."""

NOT_RUNNING = "the engine is not running"


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


@final
@attrs.define(eq=False)
class OperationScheduler:
    """Runs operations in batches.

    *key* maps a user to a queue, one or more for each primary. *begin* creates a user's
    transaction, and *run_transactions* runs transactions until all have results.
    """

    _key: Callable[[str], Hashable]
    _begin: Callable[[str, list[PendingOperation]], MailboxTransaction]
    _run_transactions: Callable[[Sequence[MailboxTransaction]], Awaitable[None]]
    _queues: defaultdict[Hashable, PendingQueue] = attrs.field(
        factory=partial(defaultdict, PendingQueue), init=False
    )
    _busy: set[str] = attrs.field(factory=set, init=False)
    _wakeup: Wakeup = attrs.field(factory=Wakeup, init=False)
    _is_closed: bool = attrs.field(default=False, init=False)

    async def submit(
        self, work: Sequence[tuple[str, Operation | None]]
    ) -> list[OperationResult]:
        """Run operations, in order for each user; `None` reads the record."""
        if self._is_closed:
            return [EngineUnavailable(NOT_RUNNING) for _ in work]
        now = trio.current_time()
        pending = [PendingOperation(user, operation, now) for user, operation in work]
        for operation in pending:
            self._queue(operation.user).add(operation)
        self._wakeup.notify()
        return [await operation.wait() for operation in pending]

    def is_busy(self, user: str) -> bool:
        """Return whether a transaction of *user* is running."""
        return user in self._busy

    def record_progress(self, user: str) -> None:
        """Record that the primary of *user* answers."""
        self._queue(user).progress_at = trio.current_time()

    def _queue(self, user: str) -> PendingQueue:
        return self._queues[self._key(user)]

    async def run(self) -> None:
        """Run batches until cancelled; then all waiting operations fail."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._fail_stalled)
                while True:
                    for queue in list(self._queues.values()):
                        while batch := self._next_batch(queue):
                            nursery.start_soon(self._run_batch, queue, batch)
                    await self._wakeup.wait()
        finally:
            self._is_closed = True
            for queue in self._queues.values():
                queue.fail_before(trio.current_time(), NOT_RUNNING)

    def _next_batch(self, queue: PendingQueue) -> list[MailboxTransaction]:
        by_user = queue.next_batch(self._busy)
        self._busy.update(by_user)
        queue.running += bool(by_user)
        return [self._begin(user, pending) for user, pending in by_user.items()]

    async def _run_batch(
        self, queue: PendingQueue, batch: Sequence[MailboxTransaction]
    ) -> None:
        try:
            await self._run_transactions(batch)
        finally:
            self._busy.difference_update(transaction.user for transaction in batch)
            queue.running -= 1
            self._wakeup.notify()

    async def _fail_stalled(self) -> None:
        while True:
            await trio.sleep(RETRY_TIMEOUT / 10)
            since = trio.current_time() - RETRY_TIMEOUT
            for queue in self._queues.values():
                if queue.progress_at < since:
                    queue.fail_before(since, "the store: queue timed out")
