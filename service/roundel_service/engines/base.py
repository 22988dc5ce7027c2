"""The interface of an engine, which stores the records of all users.

The reducer in `roundel_service.domain.mailbox` computes the next state. The engine
makes it durable and shared, and assigns the version in the same atomic step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, TypeAlias, final

import trio

from ..domain.mailbox import Applied
from ..domain.operations import Operation, Retract
from ..domain.record import Record
from ..domain.refusals import OperationRefused

RETRY_AFTER: Final = 2.0
"""Delay in seconds before a failed engine is tried again."""

USER_TTL: Final = 90 * 86_400.0
"""Default time in seconds after which a shared engine removes an idle mailbox."""


class EngineUnavailable(Exception):  # noqa: N818, named after the condition
    """The engine did not answer; whether an operation was applied is unknown."""


@final
class MailboxDamaged(EngineUnavailable):
    """The stored mailbox of one user cannot be decoded; the operation had no effect.

    Other mailboxes are served, and `DeleteUser` replaces the damaged one.
    """


ChangeListener: TypeAlias = Callable[[str, Record], None]
"""Called with a user and the record after a change; may be called without one."""

UserOperation: TypeAlias = tuple[str, Operation]
"""A user name, and an operation on the user's mailbox."""

ApplyResult: TypeAlias = Applied | OperationRefused | EngineUnavailable
"""The result of one operation."""


class Engine(Protocol):
    """Stores records by user name, and those of topics by the mailbox name of a topic.

    A topic is a mailbox that no user has. A user's mailbox pulls from the topics that
    it follows when the user is read or changed: the engine hands their records to
    `Record.apply()` or `Record.refresh()`. So a broadcast writes one mailbox.

    A mailbox that was never written is empty, at version 0 of an epoch that no other
    user has. Calls that need the store raise `EngineUnavailable` in bounded time if it
    does not answer.
    """

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Call *listener* after each change of *users*, a live collection.

        The engine may call it for other users, twice for a change, and once for
        several changes.
        """
        ...

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the background tasks until cancelled; all other calls need them."""
        ...

    async def check(self) -> None:
        """Raise `EngineUnavailable` with the reason if calls would fail now."""
        ...

    async def read(self, user: str) -> Record:
        """Return the user's record as of now.

        Due items have expired or appeared, and new items of topics are pulled; both
        are stored first.
        """
        ...

    async def peek(self, name: str) -> Record:
        """Return the stored record of a user or topic, without a change."""
        ...

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        """Apply operations, in order for each user; return the result of each.

        Each mailbox is brought up to date first. Unless `needs_topics()` is true for
        the operation, topics that are not in memory may be left out.
        Applied operations are as durable as the engine guarantees when this returns.
        A rejected operation changes nothing.
        """
        ...

    async def holders(self, retract: Retract) -> list[str]:
        """Return the users with an item that *retract* selects, and possibly others."""
        ...

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return up to *limit* users after *after*, in a stable order.

        The list is empty at the end.
        """
        ...

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Set *key* to *value* for *ttl* seconds if it has no value; return its value.

        Of several concurrent calls, exactly one sets its value.
        """
        ...

    async def claimed(self, key: str) -> str | None:
        """Return the value of *key*, or `None`."""
        ...

    async def secret(self) -> bytes:
        """Return the store's random secret of 32 bytes or more.

        The first call of a store creates it. All nodes get the same one, and so do
        later engines if the store is durable. A store that refuses writes returns the
        secret that it has. Calls are cheap: an engine may cache it for a minute.
        """
        ...

    @property
    def is_shared(self) -> bool:
        """Whether several nodes can use the store at once."""
        ...

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        """Report this node's number of *streams* by user, valid for *ttl* seconds.

        Returns the sums of the other nodes' latest reports, in the same order. Report
        and read are one atomic step: of two concurrent nodes, one sees the other's
        report. If a user's result is `EngineUnavailable`, it is unknown whether the
        report was stored.
        """
        ...
