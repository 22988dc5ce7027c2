"""Stream presence: enforces a user's stream limit over all nodes of an engine.

Each node reports to the engine how many streams it has of a user: the streams that it
serves and the slots that it has reserved. The engine stores the report and returns the
sum of the other nodes' latest reports, in one atomic step. A node grants the new slots
that fit beside that sum, and denies the others.

Invariant: the stored count of a node is never below the streams that it has granted.
The node reserves a slot before it reports, and one task sends all reports, one batch
after another. Two streams that open at once on two nodes may both be denied. They are
never both granted beyond the limit.

A slot counts as long as it is referenced. If the request ends before its stream starts,
the weak reference dies and the node reports the lower count.

A report expires after `TTL`, so the streams of a killed node are forgotten. A node
renews its reports every `RENEW_INTERVAL`. If a report fails, its waiting slots fail and
open streams stay open. The node retries the report after `RETRY_DELAY`.

Cost: a stream costs two reports (start and end), and one per `RENEW_INTERVAL` per user.
A batch is one call of the engine for up to `MAX_BATCH` users; waiting slots go first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, islice
from math import inf
from typing import NoReturn, final
from weakref import ref

import attrs
import trio
from attrs import field

from roundel_adapters.wakeup import Wakeup

from ..engines.base import Engine, EngineUnavailable

TTL = 60.0
"""Time to live of a report, in seconds."""

RENEW_INTERVAL = TTL / 3
"""Interval between reports of an unchanged count, in seconds."""

RETRY_DELAY = 1.0
"""Delay before a failed report is retried, in seconds."""

REPORT_TIMEOUT = 5.0
"""Timeout of a new stream for the counts of the other nodes, in seconds."""

MAX_BATCH = 128
"""Maximum number of users in one report."""


@final
@attrs.define(eq=False)
class StreamSlot:
    """A reservation for a stream that is about to start, if it was *granted*.

    The slot counts as a stream as long as it is referenced.
    """

    granted: bool = False
    resolved: trio.Event = attrs.field(factory=trio.Event)
    failure: EngineUnavailable | None = None


@final
@attrs.define(eq=False)
class _StreamCount:
    """A question for the number of *streams* of a user."""

    streams: int = 0
    resolved: trio.Event = attrs.field(factory=trio.Event)
    failure: EngineUnavailable | None = None


@final
@attrs.define(eq=False)
class StreamPresence:
    """Reports the streams of this node to *engine*, and grants at most *limit* a user.

    *streams_of* returns the number of streams that this node serves of a user. `run()`
    must run as long as slots are reserved.
    """

    _engine: Engine
    _streams_of: Callable[[str], int]
    _limit: int = field(kw_only=True)
    # Only requests reference a slot, so none can leak.
    _reserved: dict[str, set[ref[StreamSlot]]] = field(factory=dict, init=False)
    _waiting: dict[str, list[StreamSlot]] = field(factory=dict, init=False)
    _counts: dict[str, list[_StreamCount]] = field(factory=dict, init=False)
    _changed: set[str] = field(factory=set, init=False)
    _failed: set[str] = field(factory=set, init=False)
    _retry_at: float = field(default=inf, init=False)
    # The last report of each user: count and time, oldest first.
    _reported: dict[str, tuple[int, float]] = field(factory=dict, init=False)
    _wakeup: Wakeup = field(factory=Wakeup, init=False)
    _is_reporting: bool = field(default=False, init=False)
    _batch_done: Wakeup = field(factory=Wakeup, init=False)

    async def reserve(self, user: str) -> StreamSlot:
        """Reserve a slot for one more stream of *user*; it may not be granted.

        Raises `EngineUnavailable`, at the latest after `REPORT_TIMEOUT`.
        """
        slot = StreamSlot()
        if self._count(user) >= self._limit:
            return slot
        reference = ref(slot, partial(self._release, user))
        self._reserved.setdefault(user, set()).add(reference)
        self._waiting.setdefault(user, []).append(slot)
        self._wakeup.notify()
        await _wait_for(slot)
        return slot

    async def count(self, user: str) -> int:
        """Return the number of streams of *user*, at all nodes.

        Raises `EngineUnavailable`, at the latest after `REPORT_TIMEOUT`.
        """
        question = _StreamCount()
        self._counts.setdefault(user, []).append(question)
        self._wakeup.notify()
        await _wait_for(question)
        return question.streams

    def update(self, user: str) -> None:
        """Schedule a report of *user* if its count differs from the last report."""
        if self._count(user) != self._last_count(user):
            self._changed.add(user)
            self._wakeup.notify()

    def _count(self, user: str) -> int:
        return self._streams_of(user) + len(self._reserved.get(user, ()))

    def _last_count(self, user: str) -> int:
        count, _ = self._reported.get(user, (0, 0.0))
        return count

    def _release(self, user: str, slot: ref[StreamSlot]) -> None:
        reserved = self._reserved[user]
        reserved.discard(slot)
        if not reserved:
            del self._reserved[user]
        self.update(user)

    async def run(self) -> NoReturn:
        """Send the reports that are due, until cancelled."""
        while True:
            if users := self._next_batch(trio.current_time()):
                self._is_reporting = True
                await self._publish(users)
                self._is_reporting = False
                self._batch_done.notify()
            else:
                with trio.move_on_at(self._deadline):
                    await self._wakeup.wait()

    async def flush(self) -> None:
        """Wait until all changed counts are reported, or have failed."""
        while self._is_reporting or self._changed:
            await self._batch_done.wait()

    @property
    def _deadline(self) -> float:
        """The time of the next report if no count changes."""
        _, reported_at = next(iter(self._reported.values()), (0, inf))
        return min(reported_at + RENEW_INTERVAL, self._retry_at)

    def _next_batch(self, now: float) -> list[str]:
        """Return the users to report *now*; users with waiting slots come first."""
        if now >= self._retry_at:
            self._changed |= self._failed
            self._failed.clear()
            self._retry_at = inf
        for user, (_, reported_at) in islice(self._reported.items(), MAX_BATCH):
            if reported_at + RENEW_INTERVAL > now:
                break
            self._changed.add(user)
        asked = (user for user in self._counts if user not in self._waiting)
        changed = (
            user
            for user in self._changed
            if user not in self._waiting and user not in self._counts
        )
        return list(islice(chain(self._waiting, asked, changed), MAX_BATCH))

    async def _publish(self, users: list[str]) -> None:
        waiting = [self._waiting.pop(user, []) for user in users]
        asked = [self._counts.pop(user, []) for user in users]
        self._changed.difference_update(users)
        self._failed.difference_update(users)
        counts = {user: self._count(user) for user in users}
        try:
            results = await self._engine.report_presence(counts, ttl=TTL)
        except EngineUnavailable as error:
            results = [error for _ in users]
        now = trio.current_time()
        for user, slots, questions, result in zip(
            users, waiting, asked, results, strict=True
        ):
            if isinstance(result, EngineUnavailable):
                self._fail(user, [*slots, *questions], result, now)
            else:
                self._receive(user, slots, counts[user], result, now)
                for question in questions:
                    # The slots are of streams that have not started.
                    question.streams = result + counts[user] - len(slots)
                    question.resolved.set()
        if self._failed.issuperset(users):
            # The engine is unavailable: try one batch per RETRY_DELAY, not all users.
            self._failed |= self._changed
            self._changed.clear()

    def _receive(
        self, user: str, slots: list[StreamSlot], count: int, elsewhere: int, now: float
    ) -> None:
        self._record(user, count, now)
        room = self._limit - elsewhere - (count - len(slots))
        for index, slot in enumerate(slots):
            slot.granted = index < room
            slot.resolved.set()
        self.update(user)

    def _fail(
        self,
        user: str,
        slots: Sequence[StreamSlot | _StreamCount],
        failure: EngineUnavailable,
        now: float,
    ) -> None:
        # The engine may have stored the report or not, so it is repeated in any case.
        self._failed.add(user)
        self._retry_at = min(self._retry_at, now + RETRY_DELAY)
        self._record(user, self._last_count(user), now)
        for slot in slots:
            slot.failure = failure
            slot.resolved.set()

    def _record(self, user: str, count: int, now: float) -> None:
        self._reported.pop(user, None)
        if count:
            self._reported[user] = (count, now)


async def _wait_for(asked: StreamSlot | _StreamCount) -> None:
    """Wait for the report; raise `EngineUnavailable` if it failed."""
    with trio.move_on_after(REPORT_TIMEOUT) as scope:
        await asked.resolved.wait()
    if scope.cancelled_caught:
        raise EngineUnavailable(
            f"no stream counts of other nodes within {REPORT_TIMEOUT:g} s"
        )
    if asked.failure is not None:
        raise EngineUnavailable(*asked.failure.args)
