"""The engine that keeps everything in this process, and nothing beyond it."""

from __future__ import annotations

import heapq
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import blake2b
from math import inf
from typing import final

from ..items import Expire, Operation
from ..mailbox import Applied, Limits, Mailbox, apply
from . import Listener, Record


@final
class MemoryEngine:
    """Mailboxes in memory; their epochs are new in every process.

    *limits* bounds a mailbox, *ring* the changes that can be replayed to a reader.
    *clock* returns seconds since 1970, *key* makes the epochs.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        ring: int = 256,
        clock: Callable[[], float] = time.time,
        key: bytes | None = None,
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

    @property
    def deadline(self) -> float:
        """When the next item may expire, in seconds since 1970; ``inf`` is never."""
        return self._due[0][0] if self._due else inf

    async def expire(self) -> None:
        """Let every item go whose time is over."""
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            self._expire(heapq.heappop(self._due)[1], now)

    def _expire(self, user: str, now: float) -> None:
        if self._armed.get(user, inf) <= now:
            del self._armed[user]
            self._apply(user, Expire(), now)

    def _apply(self, user: str, operation: Operation, now: float) -> Applied:
        before = self._record(user)
        applied = apply(before.mailbox, operation, now=now, limits=self._limits)
        if applied.mailbox is not before.mailbox:
            self._records[user] = before.after(applied, ring=self._ring)
        if applied.change is not None:
            self._arm(user, applied.mailbox.deadline)
            for listener in self._listeners:
                listener(user, self._records[user])
        return applied

    def _arm(self, user: str, deadline: float) -> None:
        if deadline < self._armed.get(user, inf):
            self._armed[user] = deadline
            heapq.heappush(self._due, (deadline, user))

    def _record(self, user: str) -> Record:
        # A mailbox that was only looked at is made anew each time and costs nothing.
        return self._records.get(user) or Record(Mailbox(epoch=self._epoch(user)))

    def _epoch(self, user: str) -> str:
        digest = blake2b(user.encode(), key=self._key, digest_size=9).digest()
        return urlsafe_b64encode(digest).decode()
