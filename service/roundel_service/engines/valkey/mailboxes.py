"""All that is asked of mailboxes: who waits, whose turn it is, and what is known.

A user's turns are taken one after the other, those of many users of a home together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Final, final

import trio

from roundel_adapters.wakeup import Bell

from ...domain.operations import Operation
from ..base import Record, Unavailable
from ..cache import CACHE_BYTES, Cache, weight
from . import rows
from .pending import Call, Held, Outcome, Piece, Turn, Writes
from .planner import Planner
from .queue import Lane
from .scripts import ID_SIZE
from .store import Store
from .transactions import PATIENCE, Turns

_AGAIN: Final = 0.5

Told = Callable[[str, Record], None]


@final
class Mailboxes:
    """Reads and writes mailboxes; *told* hears of those of watched users.

    *users* tells who is watched.
    """

    def __init__(
        self,
        store: Store,
        planner: Planner,
        *,
        told: Told,
        is_watched: Callable[[str], bool],
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.line_changed = Bell()
        self._store = store
        self._planner = planner
        self._told = told
        self._is_watched = is_watched
        self._cache: Cache[Held] = Cache(cache_bytes)
        self._writes = Writes()
        self._turns = Turns(store, planner, self._keep, self._writes)
        self._lanes: defaultdict[int, Lane] = defaultdict(Lane)
        self._busy: set[str] = set()
        self._bell = Bell()
        self._stale: set[str] = set()
        self._is_stale = Bell()
        self._is_over = False

    async def ask(
        self, work: Sequence[tuple[str, Operation | None]]
    ) -> Sequence[Outcome]:
        """Do all of *work*, in its order for each user; no operation is to read."""
        if self._is_over:
            return [Unavailable("the engine has ended") for _ in work]
        call, now = Call(len(work)), trio.current_time()
        pieces = [Piece(user, operation, call, now) for user, operation in work]
        for piece in pieces:
            self._lane(piece.user).add(piece)
        self._bell.ring()
        await call.wait()
        return [piece.outcome for piece in pieces if piece.outcome is not None]

    def _lane(self, user: str) -> Lane:
        return self._lanes[self._store.homes.home(self._planner.keys.user(user))]

    def refresh(self, users: Collection[str]) -> None:
        """Look up soon what *users*, who are watched, have."""
        self._stale.update(users)
        self._is_stale.ring()

    def hear(
        self, user: str, before: bytes, write: bytes, packed: bytes | None
    ) -> None:
        """Take note that the log has the *write* of somebody, after the one *before*.

        *packed* is what was written, if that was not too much to be logged.
        """
        held = self._cache.get(user)
        if write in self._writes or (held and held.at[:ID_SIZE] == write):
            return
        if not self._is_watched(user):
            self._cache.drop(user)
        elif (
            held is None
            or not held.is_whole
            or held.at[:ID_SIZE] != before
            or user in self._busy
            or packed is None
        ):
            self.refresh([user])
        else:
            ring = self._planner.rules.ring
            record = rows.advanced(held.record, packed, ring=ring)
            self._keep(user, held.after(record, write))

    async def run(self) -> None:
        """Take turns until cancelled; then nobody waits any more."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._give_up)
                nursery.start_soon(self._look_up)
                while True:
                    for lane in list(self._lanes.values()):
                        while turns := self._next(lane):
                            nursery.start_soon(self._take, lane, turns)
                    await self._bell.wait()
        finally:
            self._is_over = True
            for lane in self._lanes.values():
                lane.fail_before(trio.current_time(), "the engine has ended")

    def _next(self, lane: Lane) -> list[Turn]:
        turns = [self._turn(*whose) for whose in lane.next(self._busy).items()]
        self._busy.update(turn.user for turn in turns)
        lane.running += bool(turns)
        return turns

    def _turn(self, user: str, pieces: list[Piece]) -> Turn:
        known = self._cache.get(user)
        reads = any(piece.operation is None for piece in pieces)
        is_whole = reads or self._is_watched(user)
        if known is not None and not is_whole:
            # Most mailboxes are written to more often than they are looked at.
            known = known.without_changes()
        elif known is not None and not known.is_whole:
            known = None
        return Turn(user, pieces, is_whole, known, held=None if reads else known)

    async def _take(self, lane: Lane, turns: Sequence[Turn]) -> None:
        try:
            await self._turns.take(turns)
        finally:
            self._busy.difference_update(turn.user for turn in turns)
            lane.running -= 1
            self._bell.ring()
            self._forget([turn.user for turn in turns if turn.has_failed])

    def _forget(self, users: Collection[str]) -> None:
        # What was sent may still be done, and then who watches has to be told.
        for user in users:
            self._cache.drop(user)
        self.refresh([user for user in users if self._is_watched(user)])

    def _keep(self, user: str, held: Held) -> None:
        self._lane(user).progress = trio.current_time()
        known = self._cache.get(user)
        if known is held:
            return
        self._cache.put(user, held, weight(held.record))
        if held.is_lost:
            # Nobody is shown it: it goes on in another epoch first.
            self.line_changed.ring()
        elif known is not None and known.record is held.record:
            return
        elif held.is_whole:
            self._told(user, held.record)
        elif self._is_watched(user):
            self.refresh([user])

    async def _give_up(self) -> None:
        """Let nobody wait for long while nothing goes on."""
        while True:
            await trio.sleep(PATIENCE / 10)
            since = trio.current_time() - PATIENCE
            for lane in self._lanes.values():
                if lane.progress < since:
                    lane.fail_before(since, "the store: others are waiting for it")

    async def _look_up(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                if self._stale:
                    users, self._stale = self._stale, set()
                    nursery.start_soon(self._look_up_all, users)
                await self._is_stale.wait()

    async def _look_up_all(self, users: Collection[str]) -> None:
        watched = [user for user in users if self._is_watched(user)]
        outcomes = await self.ask([(user, None) for user in watched])
        failed = [
            user
            for user, outcome in zip(watched, outcomes, strict=True)
            if isinstance(outcome, Unavailable)
        ]
        if failed:
            await trio.sleep(_AGAIN)
            self.refresh(failed)
