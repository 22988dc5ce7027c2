"""The engine that keeps everything in this process, and nothing beyond it."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import final

import trio

from ..domain.mailbox import Mailbox
from ..domain.mailbox_builder import TooManyCategories
from ..domain.operations import Operation, Retract
from ..domain.record import Record, RecordLimits
from .base import ApplyResult, ChangeListener, EngineUnavailable, UserOperation
from .epochs import first_epoch

MAX_CLAIMS = 1_000_000
"""How many claimed keys are kept at the most."""

SCAN_BATCH = 1_000
"""How many mailboxes a walk looks at before it lets others run."""

YIELD_AFTER = 50
"""How much work is done before others may run."""


@final
class MemoryEngine:
    """Mailboxes in memory; their epochs are new in every process.

    *clock* returns seconds since 1970, *key* makes the epochs. Beyond *max_claims*
    claimed keys the oldest goes early.
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
        self._records: dict[str, Record] = {}
        self._listeners: list[ChangeListener] = []
        # Unlike a dict's, its first key is found at once also where many went before.
        self._claims: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._max_claims = max_claims
        # The users as they came, and at which of them the last page ended.
        self._users: list[str] = []
        self._walk: tuple[str, int] = ("", -1)

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Tell *listener* of every change from now on, whoever's it is."""
        self._listeners.append(listener)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Wait to be cancelled: nothing goes on here between the calls."""
        task_status.started()
        await trio.sleep_forever()

    async def check(self) -> None:
        """Return: memory is always there."""

    async def read(self, user: str) -> Record:
        """Return the user's record as of now: what is over is expired first."""
        return self._current(user, self._clock())

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        """Do all of *work*, each after what is over was expired."""
        results: list[ApplyResult] = []
        for number, piece in enumerate(work, 1):
            results.append(self._apply(*piece))
            if number % YIELD_AFTER == 0:
                # Work on many mailboxes must not keep the streams waiting.
                await trio.lowlevel.checkpoint()
        return results

    def _apply(self, user: str, operation: Operation) -> ApplyResult:
        now = self._clock()
        before = self._current(user, now)
        try:
            after, applied = before.apply(operation, now=now, limits=self._limits)
        except TooManyCategories as error:
            return error
        self._keep(user, before, after)
        return applied

    def _current(self, user: str, now: float) -> Record:
        before = self._record(user)
        record = before.expire(now=now, limits=self._limits)
        self._keep(user, before, record)
        return record

    def _keep(self, user: str, before: Record, record: Record) -> None:
        if record is before:
            return
        if user not in self._records:
            self._users.append(user)
        self._records[user] = record
        for listener in self._listeners:
            listener(user, record)

    async def holders(self, retract: Retract) -> list[str]:
        """Return the users who hold an item that *retract* selects."""
        users = []
        for number, (user, record) in enumerate(list(self._records.items()), 1):
            if any(map(retract.selects, record.mailbox.items.values())):
                users.append(user)
            if number % SCAN_BATCH == 0:
                await trio.lowlevel.checkpoint()
        return users

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return the next users behind *after*, in the order of their first change."""
        start = 0 if after is None else self._place(after) + 1
        page = self._users[start : start + limit]
        if page:
            self._walk = (page[-1], start + len(page) - 1)
        return page

    def _place(self, user: str) -> int:
        # Whoever walks asks for the user at which the last page ended.
        if user == self._walk[0]:
            return self._walk[1]
        return self._users.index(user) if user in self._records else -1

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Keep *value* under *key* for *ttl* seconds, unless there is one already.

        Where there are too many keys, the oldest goes early.
        """
        now = self._clock()
        kept = await self.claimed(key)
        if kept is not None:
            return kept
        self._claims.pop(key, None)
        self._claims[key] = (value, now + ttl)
        self._forget_claims(now)
        return value

    def _forget_claims(self, now: float) -> None:
        while self._claims:
            _, until = next(iter(self._claims.values()))
            if until > now and len(self._claims) <= self._max_claims:
                return
            self._claims.popitem(last=False)

    async def claimed(self, key: str) -> str | None:
        """Return what is kept under *key*, if anything is."""
        value, until = self._claims.get(key, ("", 0.0))
        return value if until > self._clock() else None

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        """Return that there are no streams elsewhere: there is one process."""
        return [0] * len(streams)

    def _record(self, user: str) -> Record:
        # A mailbox that was only looked at is made anew each time and costs nothing.
        record = self._records.get(user)
        if record is None:
            record = Record(Mailbox(epoch=first_epoch(self._key, user)))
        return record
