"""The engine that keeps everything in this process, and nothing beyond it."""

from __future__ import annotations

import heapq
import secrets
import time
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from math import inf
from typing import final

import trio

from ..items import Limits
from ..mailbox import Applied, Mailbox, apply
from ..operations import Expire, Operation, Retract
from . import Listener, Record

MAX_CLAIMS = 1_000_000
"""How many claimed keys are kept at the most."""

PAGE = 1_000
"""How many mailboxes a walk looks at before it lets others run."""

SPARE = 1_000
"""How many times the heap may hold beyond two for each user."""


@final
class MemoryEngine:
    """Mailboxes in memory; their epochs are new in every process.

    *limits* bounds a mailbox, *ring* the changes that can be replayed to a reader.
    *clock* returns seconds since 1970, *key* makes the epochs. Beyond *max_claims*
    claimed keys the oldest goes early.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        ring: int = 256,
        clock: Callable[[], float] = time.time,
        key: bytes | None = None,
        max_claims: int = MAX_CLAIMS,
    ) -> None:
        self._limits = limits or Limits()
        self._ring = ring
        self._clock = clock
        self._key = key or secrets.token_bytes(32)
        self._records: dict[str, Record] = {}
        self._listeners: list[Listener] = []
        # When each user's next item expires, and the same as a heap. The heap may
        # hold times that are out of date; they find nothing to expire.
        self._armed: dict[str, float] = {}
        self._due: list[tuple[float, str]] = []
        # Unlike a dict's, its first key is found at once also where many went before.
        self._claims: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._max_claims = max_claims
        # The users as they came, and at which of them the last page ended.
        self._users: list[str] = []
        self._walk: tuple[str, int] = ("", -1)

    def listen(self, listener: Listener) -> None:
        """Tell *listener* of every change from now on."""
        self._listeners.append(listener)

    async def read(self, user: str) -> Record:
        """Return the user's record as of now: what is over is expired first."""
        self._expire(user, self._clock())
        return self._record(user)

    async def apply(self, user: str, operation: Operation) -> Applied:
        """Apply *operation*, after what is over was expired."""
        now = self._clock()
        self._expire(user, now)
        return self._apply(user, operation, now)

    async def holders(self, retract: Retract) -> list[str]:
        """Return the users who hold an item that *retract* selects."""
        users = []
        for number, (user, record) in enumerate(list(self._records.items()), 1):
            if any(map(retract.selects, record.mailbox.items.values())):
                users.append(user)
            await _let_others_run(number)
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

    @property
    def deadline(self) -> float:
        """When the next item may expire, in seconds since 1970; ``inf`` is never."""
        return self._due[0][0] if self._due else inf

    async def expire(self) -> None:
        """Let every item go whose time is over."""
        now = self._clock()
        number = 0
        while self._due and self._due[0][0] <= now:
            self._expire(heapq.heappop(self._due)[1], now)
            number += 1
            await _let_others_run(number)

    def _expire(self, user: str, now: float) -> None:
        if self._armed.get(user, inf) <= now:
            del self._armed[user]
            self._apply(user, Expire(), now)
            # If the time was out of date, nothing has changed, and what comes next is
            # not armed.
            self._arm(user, self._record(user).mailbox.deadline)

    def _apply(self, user: str, operation: Operation, now: float) -> Applied:
        before = self._record(user)
        applied = apply(before.mailbox, operation, now=now, limits=self._limits)
        if applied.mailbox is not before.mailbox:
            if user not in self._records:
                self._users.append(user)
            self._records[user] = before.after(applied, ring=self._ring)
            self._arm(user, applied.mailbox.deadline)
            for listener in self._listeners:
                listener(user, self._records[user])
        return applied

    def _arm(self, user: str, deadline: float) -> None:
        if deadline < self._armed.get(user, inf):
            self._armed[user] = deadline
            heapq.heappush(self._due, (deadline, user))
            if len(self._due) > 2 * len(self._armed) + SPARE:
                self._due = [(until, name) for name, until in self._armed.items()]
                heapq.heapify(self._due)

    def _record(self, user: str) -> Record:
        # A mailbox that was only looked at is made anew each time and costs nothing.
        return self._records.get(user) or Record(Mailbox(epoch=self._epoch(user)))

    def _epoch(self, user: str) -> str:
        digest = blake2b(user.encode(), key=self._key, digest_size=9).digest()
        return urlsafe_b64encode(digest).decode()


async def _let_others_run(number: int) -> None:
    # A walk over many mailboxes must not keep the streams waiting.
    if number % PAGE == 0:
        await trio.lowlevel.checkpoint()
