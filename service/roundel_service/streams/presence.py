"""Counts the streams of a user at all nodes, so that their cap holds for all together.

A node says how many of them it serves, those that are about to begin with them, and
hears in the same step how many the others have said. Who hears of too many lets none
of its new ones begin. So of two that come at once, at two nodes, both may be sent
away, but never are both let in. All is said by one task, one batch after the other:
what the others know of a user is never less than what was let in here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import islice
from math import inf
from typing import final
from weakref import ref

import trio

from roundel_adapters.wakeup import Wakeup

from ..engines.base import Engine, EngineUnavailable

TTL = 60.0
"""After how many seconds is forgotten what a node has said and does not say again."""

RENEW_INTERVAL = TTL / 3
"""After how many seconds a node says it again."""

RETRY_DELAY = 1.0
"""After how many seconds it is tried again to say what could not be said."""

REPORT_TIMEOUT = 5.0
"""For how many seconds a new stream waits to hear of those at other nodes."""

MAX_BATCH = 128
"""Of how many users is said at once, at the most."""


@final
class StreamSlot:
    """The place of a stream that is about to begin, if there *is_free* one.

    It is counted for as long as somebody keeps it.
    """

    __slots__ = ("__weakref__", "answered", "failure", "granted")

    def __init__(self) -> None:
        self.granted = False
        self.answered = trio.Event()
        self.failure: EngineUnavailable | None = None


@final
class StreamPresence:
    """Says at *engine* how many streams are *served* of each user, at most *cap*.

    `run()` has to run beside it.
    """

    def __init__(
        self, engine: Engine, served: Callable[[str], int], *, cap: int
    ) -> None:
        self._engine = engine
        self._served = served
        self._cap = cap
        # Kept by those who hold them and by nothing else, so that no path, however it
        # ends, can leave a place taken.
        self._coming: dict[str, set[ref[StreamSlot]]] = {}
        self._asking: dict[str, list[StreamSlot]] = {}
        self._changed: set[str] = set()
        self._failed: set[str] = set()
        self._again = inf
        # What the others have been told, and when, in the order of that.
        self._last_published: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._wakeup = Wakeup()
        self._is_publishing = False
        self._has_published = Wakeup()

    async def reserve(self, user: str) -> StreamSlot:
        """Take a place for one more stream of *user*; there may be none that is free.

        Raises `EngineUnavailable`, at the latest after `PATIENCE`.
        """
        seat = StreamSlot()
        if self._count(user) >= self._cap:
            return seat
        self._coming.setdefault(user, set()).add(ref(seat, partial(self._leave, user)))
        self._asking.setdefault(user, []).append(seat)
        self._wakeup.notify()
        with trio.move_on_after(REPORT_TIMEOUT) as scope:
            await seat.answered.wait()
        if scope.cancelled_caught:
            raise EngineUnavailable(
                f"other nodes were not heard of within {REPORT_TIMEOUT:g} s"
            )
        if seat.failure is not None:
            raise EngineUnavailable(*seat.failure.args)
        return seat

    def look(self, user: str) -> None:
        """See to it that the others are told soon, if another number is served now."""
        if self._count(user) != self._published(user):
            self._changed.add(user)
            self._wakeup.notify()

    def _count(self, user: str) -> int:
        return self._served(user) + len(self._coming.get(user, ()))

    def _published(self, user: str) -> int:
        count, _ = self._last_published.get(user, (0, 0.0))
        return count

    def _leave(self, user: str, seat: ref[StreamSlot]) -> None:
        coming = self._coming[user]
        coming.discard(seat)
        if not coming:
            del self._coming[user]
        self.look(user)

    async def run(self) -> None:
        """Say what there is to say, until cancelled."""
        while True:
            if users := self._next(trio.current_time()):
                self._is_publishing = True
                await self._publish(users)
                self._is_publishing = False
                self._has_published.notify()
            else:
                with trio.move_on_at(self._deadline):
                    await self._wakeup.wait()

    async def settle(self) -> None:
        """Wait until the others are told what is served now, or cannot be."""
        while self._is_publishing or self._changed:
            await self._has_published.wait()

    @property
    def _deadline(self) -> float:
        """When there is something to say even if nothing changes."""
        _, said_at = next(iter(self._last_published.values()), (0, inf))
        return min(said_at + RENEW_INTERVAL, self._again)

    def _next(self, now: float) -> list[str]:
        """Return of whom to say something now; those who wait for it come first."""
        if now >= self._again:
            self._changed |= self._failed
            self._failed.clear()
            self._again = inf
        for user, (_, said_at) in islice(self._last_published.items(), MAX_BATCH):
            if said_at + RENEW_INTERVAL > now:
                break
            self._changed.add(user)
        users = dict.fromkeys(islice(self._asking, MAX_BATCH))
        users.update(dict.fromkeys(islice(self._changed, MAX_BATCH - len(users))))
        return list(users)

    async def _publish(self, users: list[str]) -> None:
        asking = [self._asking.pop(user, []) for user in users]
        self._changed.difference_update(users)
        self._failed.difference_update(users)
        counts = {user: self._count(user) for user in users}
        try:
            answers = await self._engine.report_presence(counts, ttl=TTL)
        except EngineUnavailable as error:
            answers = [error for _ in users]
        now = trio.current_time()
        for user, seats, answer in zip(users, asking, answers, strict=True):
            if isinstance(answer, EngineUnavailable):
                self._fail(user, seats, answer, now)
            else:
                self._receive(user, seats, counts[user], answer, now)
        if self._failed.issuperset(users):
            # Where nothing can be said, it is not tried for each of thousands.
            self._failed |= self._changed
            self._changed.clear()

    def _receive(
        self, user: str, seats: list[StreamSlot], count: int, elsewhere: int, now: float
    ) -> None:
        self._record(user, count, now)
        room = self._cap - elsewhere - (count - len(seats))
        for place, seat in enumerate(seats):
            seat.granted = place < room
            seat.answered.set()
        self.look(user)

    def _fail(
        self, user: str, seats: list[StreamSlot], failure: EngineUnavailable, now: float
    ) -> None:
        # The others may have been told, or not: it has to be said again in any case.
        self._failed.add(user)
        self._again = min(self._again, now + RETRY_DELAY)
        self._record(user, self._published(user), now)
        for seat in seats:
            seat.failure = failure
            seat.answered.set()

    def _record(self, user: str, count: int, now: float) -> None:
        self._last_published.pop(user, None)
        if count:
            self._last_published[user] = (count, now)
