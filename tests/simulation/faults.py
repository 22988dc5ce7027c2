"""The faults of a schedule, and an engine that injects them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from random import Random
from typing import Any, Protocol, final

import trio

from roundel_service.domain.operations import DeleteUser
from roundel_service.domain.record import Record
from roundel_service.engines.base import (
    ApplyResult,
    ChangeListener,
    Engine,
    MailboxDamaged,
    UserOperation,
)


class Fault(Enum):
    """One kind of fault, by its name in the table."""

    RACE = "snapshot/stream race"
    REPEAT = "duplicate delivery"
    REORDER = "two publishers reorder"
    CUT = "disconnects, ring of 6"
    LOSS = "5 % lost on the way"
    BYPASS = "bulk delete bypasses the hook"
    READ_TWICE = "read twice"
    EVICTED = "evicted key"
    DAMAGED = "damaged record"
    RESTART = "restarts"
    BROADCAST = "broadcasts"
    AWAY = "broadcasts while away"
    SNOOZE = "snooze"
    EDIT = "edits"
    MUTE = "mutes"
    FOLLOW = "follow and leave"
    TOPIC_EVICTED = "evicted key of a topic"


TOPIC_FAULTS = frozenset(
    {
        Fault.BROADCAST,
        Fault.AWAY,
        Fault.SNOOZE,
        Fault.EDIT,
        Fault.MUTE,
        Fault.FOLLOW,
        Fault.TOPIC_EVICTED,
    }
)
"""What happens in the second table; a schedule of the first has none of it."""


class Saboteur(Protocol):
    """Loses and damages the mailboxes of a real store, by the *name* of the store."""

    def lose(self, name: str, user: str) -> None:
        """Delete the mailbox of *user*."""
        ...

    def damage(self, name: str, user: str) -> None:
        """Make the mailbox of *user* undecodable."""
        ...


@final
class FaultyEngine:
    """An engine whose notifications are lost, repeated and late.

    It loses and damages mailboxes, as a store does.

    It still keeps three promises. `deliver_lost()` delivers each lost notification. A
    late notification carries the latest state. A notification is at most
    *change_log_size* changes late. *on_change* is called at once for each change.
    """

    def __init__(
        self,
        inner: Engine,
        on_change: Callable[[str, Record], None],
        *,
        users: Collection[str],
        random: Random,
        faults: frozenset[Fault],
        change_log_size: int,
    ) -> None:
        self._inner = inner
        self._change_log_size = change_log_size
        self._random = random
        self._faults = faults
        self._listeners: list[ChangeListener] = []
        self._latest: dict[str, Record] = {}
        self._undelivered = 0
        self._late: list[str] = []
        self._lost: set[str] = set()
        self._calls = 0
        self._idle = trio.Event()
        self._is_silent = False
        self._damaged: set[str] = set()
        self._on_engine_change = on_change
        inner.listen(self._report, users)

    def _report(self, user: str, record: Record) -> None:
        if not self._is_silent:
            self._on_engine_change(user, record)
            self._on_change(user, record)

    async def lose(self, user: str) -> Record:
        """Lose the mailbox of *user* without a notification; return what is left."""
        self._is_silent = True
        epoch = f"{self._random.getrandbits(48):012x}"
        await self._inner.apply([(user, DeleteUser(epoch))])
        record = await self._inner.read(user)
        self._is_silent = False
        return record

    def damage(self, user: str) -> None:
        """Make the mailbox of *user* undecodable until the user is deleted."""
        self._damaged.add(user)

    async def read(self, user: str) -> Record:
        """Return the record of *user*."""
        if user in self._damaged:
            raise MailboxDamaged
        return await self._inner.read(user)

    def _on_change(self, user: str, record: Record) -> None:
        self._latest[user] = record
        self._undelivered += 1
        if self._is_urgent:
            self._notify(user)
        elif self._injects(Fault.LOSS, 0.05):
            self._lost.add(user)
        elif self._injects(Fault.REORDER, 0.5):
            self._late.append(user)
        else:
            self._notify(user)
            if self._injects(Fault.REPEAT, 0.1):
                self._late.append(user)

    @property
    def _is_urgent(self) -> bool:
        """Return whether another change would overrun the change log."""
        return self._undelivered >= self._change_log_size

    def _injects(self, fault: Fault, rate: float) -> bool:
        return fault in self._faults and self._random.random() < rate

    def _notify(self, user: str) -> None:
        self._undelivered = 0
        for listener in self._listeners:
            listener(user, self._latest[user])

    def deliver_late(self) -> None:
        """Deliver the notifications in flight."""
        late, self._late = self._late, []
        for user in late:
            self._notify(user)

    def deliver_lost(self) -> None:
        """Deliver the lost notifications."""
        lost, self._lost = self._lost, set()
        for user in lost:
            self._notify(user)

    def stop_faults(self) -> None:
        """Stop all faults, and deliver the lost notifications."""
        self._faults = frozenset()
        self.deliver_late()
        self.deliver_lost()

    def restart(self) -> None:
        """Drop the listeners and the notifications in flight."""
        self._listeners.clear()
        self._late.clear()
        self._lost.clear()

    # There is one node at a time.
    is_shared = False

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Call *listener* after each change, with faults."""
        self._listeners.append(listener)

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        """Apply operations, and count the calls in progress."""
        for user, operation in work:
            if isinstance(operation, DeleteUser):
                self._damaged.discard(user)
            elif user in self._damaged:
                return [MailboxDamaged() for _ in work]
        self._calls += 1
        try:
            return await self._inner.apply(work)
        finally:
            self._calls -= 1
            self._idle.set()

    @property
    def is_busy(self) -> bool:
        """Return whether a call is in progress."""
        return self._calls > 0

    async def wait_for_work(self) -> None:
        """Wait for calls in progress, which take no virtual time."""
        self._idle = trio.Event()
        await self._idle.wait()

    def __getattr__(self, name: str) -> Any:
        """Forward all other calls to *inner*."""
        return getattr(self._inner, name)
