"""The memory engine: all records are in this process and end with it."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import final

import trio

from ..domain.mailbox import Mailbox
from ..domain.names import ALL_MAILBOX, is_topic_mailbox
from ..domain.operations import Operation, Refresh, Retract
from ..domain.record import Record, RecordLimits, names_topics
from ..domain.refusals import OperationRefused
from .base import ApplyResult, ChangeListener, EngineUnavailable, UserOperation
from .epochs import first_epoch

MAX_CLAIMS = 1_000_000
"""Maximum number of claims; beyond it the oldest is removed early."""

SCAN_BATCH = 1_000
"""Number of records that a scan examines between two checkpoints."""

YIELD_AFTER = 50
"""Number of operations between two checkpoints."""


@final
class MemoryEngine:
    """Stores records in memory; each process has new epochs.

    *clock* returns seconds since 1970. Epochs are derived from *key*, which is random
    by default.
    """

    is_shared = False

    def __init__(
        self,
        limits: RecordLimits | None = None,
        *,
        clock: Callable[[], float] = time.time,
        key: bytes | None = None,
        max_claims: int = MAX_CLAIMS,
    ) -> None:
        self._limits = limits or RecordLimits()
        self._clock = clock
        self._key = key or secrets.token_bytes(32)
        self._secret = secrets.token_bytes(32)
        self._records: dict[str, Record] = {}
        self._listeners: list[ChangeListener] = []
        # Oldest first. A dict takes O(n) to find its first key after n deletions.
        self._claims: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._max_claims = max_claims
        # In the order of their first change.
        self._users: list[str] = []
        # The last user of the latest page, and its index, so that a scan is O(n).
        self._last_on_page: tuple[str, int] = ("", -1)

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Call *listener* after each change of any user."""
        self._listeners.append(listener)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Wait until cancelled: this engine has no background tasks."""
        task_status.started()
        await trio.sleep_forever()

    async def check(self) -> None:
        """Do nothing: memory is always available."""

    async def read(self, user: str) -> Record:
        """Return the user's record as of now."""
        return self._current(user, self._clock())

    async def peek(self, name: str) -> Record:
        """Return the stored record, without a change."""
        return self._record(name)

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        """Apply operations in order; return the result of each."""
        results: list[ApplyResult] = []
        for number, (user, operation) in enumerate(work, 1):
            results.append(self._apply(user, operation))
            if number % YIELD_AFTER == 0:
                await trio.lowlevel.checkpoint()
        return results

    def _apply(self, user: str, operation: Operation) -> ApplyResult:
        now, before, limits = self._clock(), self._record(user), self._limits.of(user)
        topics = self._topics(user, before, operation, now)
        try:
            after, applied = before.apply(
                operation, now=now, limits=limits, topics=topics
            )
        except OperationRefused as error:
            self._current(user, now)
            return error
        self._store(user, before, after)
        return applied

    def _current(self, name: str, now: float) -> Record:
        """Return the record of a user or topic as of *now*, and store it."""
        before = self._record(name)
        topics = self._topics(name, before, Refresh(), now)
        record = before.refresh(now=now, limits=self._limits.of(name), topics=topics)
        self._store(name, before, record)
        return record

    def _record(self, name: str) -> Record:
        # An unwritten mailbox is not stored: reads must not take memory.
        return self._records.get(name) or Record(
            Mailbox(epoch=first_epoch(self._key, name))
        )

    def _topics(
        self, name: str, record: Record, operation: Operation, now: float
    ) -> dict[str, Record]:
        """Return the topics from which *record* pulls, as of *now*."""
        if is_topic_mailbox(name) or not self._may_pull(record, operation):
            return {}
        return {topic: self._current(topic, now) for topic in record.topics(operation)}

    def _may_pull(self, record: Record, operation: Operation) -> bool:
        """Return whether a topic is followed that has been written, or is named.

        To look at an unwritten topic takes a fifth of the time of a notification.
        """
        if ALL_MAILBOX in self._records or record.mailbox.subscriptions:
            return True
        return names_topics(operation)

    def _store(self, user: str, before: Record, record: Record) -> None:
        if record is before:
            return
        if user not in self._records:
            self._users.append(user)
        self._records[user] = record
        for listener in self._listeners:
            listener(user, record)

    async def holders(self, retract: Retract) -> list[str]:
        """Return the users with an item that *retract* selects."""
        users = []
        for number, (user, record) in enumerate(list(self._records.items()), 1):
            if record.holds(retract):
                users.append(user)
            if number % SCAN_BATCH == 0:
                await trio.lowlevel.checkpoint()
        return users

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return up to *limit* users after *after*, ordered by their first change."""
        start = 0 if after is None else self._index_of(after) + 1
        page = self._users[start : start + limit]
        if page:
            self._last_on_page = (page[-1], start + len(page) - 1)
        return page

    def _index_of(self, user: str) -> int:
        if user == self._last_on_page[0]:
            return self._last_on_page[1]
        return self._users.index(user) if user in self._records else -1

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Set *key* to *value* if it has no value; return its value."""
        now = self._clock()
        current = await self.claimed(key)
        if current is not None:
            return current
        self._claims.pop(key, None)
        self._claims[key] = (value, now + ttl)
        self._evict_claims(now)
        return value

    def _evict_claims(self, now: float) -> None:
        while self._claims:
            _, expires_at = next(iter(self._claims.values()))
            if expires_at > now and len(self._claims) <= self._max_claims:
                return
            self._claims.popitem(last=False)

    async def claimed(self, key: str) -> str | None:
        """Return the value of *key*, or `None`."""
        value, expires_at = self._claims.get(key, ("", 0.0))
        return value if expires_at > self._clock() else None

    async def secret(self) -> bytes:
        """Return the secret of this engine, which ends with the process."""
        return self._secret

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        """Return zeros: the engine has no other nodes."""
        return [0] * len(streams)
