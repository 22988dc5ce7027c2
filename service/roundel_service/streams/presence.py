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

from roundel_adapters.wakeup import Bell

from ..engines.base import Engine, Unavailable

TTL = 60.0
"""After how many seconds is forgotten what a node has said and does not say again."""

RENEW = TTL / 3
"""After how many seconds a node says it again."""

AGAIN = 1.0
"""After how many seconds it is tried again to say what could not be said."""

PATIENCE = 5.0
"""For how many seconds a new stream waits to hear of those at other nodes."""

TOGETHER = 128
"""Of how many users is said at once, at the most."""


@final
class Seat:
    """The place of a stream that is about to begin, if there *is_free* one.

    It is counted for as long as somebody keeps it.
    """

    __slots__ = ("__weakref__", "answered", "failure", "is_free")

    def __init__(self) -> None:
        self.is_free = False
        self.answered = trio.Event()
        self.failure: Unavailable | None = None


@final
class Attendance:
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
        self._coming: dict[str, set[ref[Seat]]] = {}
        self._asking: dict[str, list[Seat]] = {}
        self._changed: set[str] = set()
        self._failed: set[str] = set()
        self._again = inf
        # What the others have been told, and when, in the order of that.
        self._said: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._bell = Bell()
        self._is_saying = False
        self._has_said = Bell()

    async def seat(self, user: str) -> Seat:
        """Take a place for one more stream of *user*; there may be none that is free.

        Raises `Unavailable`, at the latest after `PATIENCE`.
        """
        seat = Seat()
        if self._count(user) >= self._cap:
            return seat
        self._coming.setdefault(user, set()).add(ref(seat, partial(self._leave, user)))
        self._asking.setdefault(user, []).append(seat)
        self._bell.ring()
        with trio.move_on_after(PATIENCE) as scope:
            await seat.answered.wait()
        if scope.cancelled_caught:
            raise Unavailable(f"other nodes were not heard of within {PATIENCE:g} s")
        if seat.failure is not None:
            raise Unavailable(*seat.failure.args)
        return seat

    def look(self, user: str) -> None:
        """See to it that the others are told soon, if another number is served now."""
        if self._count(user) != self._told(user):
            self._changed.add(user)
            self._bell.ring()

    def _count(self, user: str) -> int:
        return self._served(user) + len(self._coming.get(user, ()))

    def _told(self, user: str) -> int:
        count, _ = self._said.get(user, (0, 0.0))
        return count

    def _leave(self, user: str, seat: ref[Seat]) -> None:
        coming = self._coming[user]
        coming.discard(seat)
        if not coming:
            del self._coming[user]
        self.look(user)

    async def run(self) -> None:
        """Say what there is to say, until cancelled."""
        while True:
            if users := self._next(trio.current_time()):
                self._is_saying = True
                await self._say(users)
                self._is_saying = False
                self._has_said.ring()
            else:
                with trio.move_on_at(self._deadline):
                    await self._bell.wait()

    async def settle(self) -> None:
        """Wait until the others are told what is served now, or cannot be."""
        while self._is_saying or self._changed:
            await self._has_said.wait()

    @property
    def _deadline(self) -> float:
        """When there is something to say even if nothing changes."""
        _, said_at = next(iter(self._said.values()), (0, inf))
        return min(said_at + RENEW, self._again)

    def _next(self, now: float) -> list[str]:
        """Return of whom to say something now; those who wait for it come first."""
        if now >= self._again:
            self._changed |= self._failed
            self._failed.clear()
            self._again = inf
        for user, (_, said_at) in islice(self._said.items(), TOGETHER):
            if said_at + RENEW > now:
                break
            self._changed.add(user)
        users = dict.fromkeys(islice(self._asking, TOGETHER))
        users.update(dict.fromkeys(islice(self._changed, TOGETHER - len(users))))
        return list(users)

    async def _say(self, users: list[str]) -> None:
        asking = [self._asking.pop(user, []) for user in users]
        self._changed.difference_update(users)
        self._failed.difference_update(users)
        counts = {user: self._count(user) for user in users}
        try:
            answers = await self._engine.attend(counts, ttl=TTL)
        except Unavailable as error:
            answers = [error for _ in users]
        now = trio.current_time()
        for user, seats, answer in zip(users, asking, answers, strict=True):
            if isinstance(answer, Unavailable):
                self._fail(user, seats, answer, now)
            else:
                self._hear(user, seats, counts[user], answer, now)
        if self._failed.issuperset(users):
            # Where nothing can be said, it is not tried for each of thousands.
            self._failed |= self._changed
            self._changed.clear()

    def _hear(
        self, user: str, seats: list[Seat], count: int, elsewhere: int, now: float
    ) -> None:
        self._note(user, count, now)
        room = self._cap - elsewhere - (count - len(seats))
        for place, seat in enumerate(seats):
            seat.is_free = place < room
            seat.answered.set()
        self.look(user)

    def _fail(
        self, user: str, seats: list[Seat], failure: Unavailable, now: float
    ) -> None:
        # The others may have been told, or not: it has to be said again in any case.
        self._failed.add(user)
        self._again = min(self._again, now + AGAIN)
        self._note(user, self._told(user), now)
        for seat in seats:
            seat.failure = failure
            seat.answered.set()

    def _note(self, user: str, count: int, now: float) -> None:
        self._said.pop(user, None)
        if count:
            self._said[user] = (count, now)
