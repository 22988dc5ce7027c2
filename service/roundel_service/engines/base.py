"""Where mailboxes live: one interface, and an engine for each kind of place.

The reducer in `roundel_service.domain.mailbox` says what a mailbox becomes; an engine
makes that durable and shared, and assigns the version in the same atomic step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, TypeAlias, final

import trio

from ..domain.mailbox import Applied
from ..domain.mailbox_builder import TooManyCategories
from ..domain.operations import Operation, Retract
from ..domain.record import Record

RETRY_AFTER: Final = 2.0
"""Delay in seconds before a failed engine is tried again."""

USER_TTL: Final = 90 * 86_400.0
"""Default time in seconds after which a shared engine removes an idle mailbox."""


@final
class EngineUnavailable(Exception):  # noqa: N818, it says what there is
    """The engine cannot promise it now: whether it was done is not known."""


ChangeListener: TypeAlias = Callable[[str, Record], None]
"""Is told a user's name and record after a change, or again after no change."""

UserOperation: TypeAlias = tuple[str, Operation]
"""An operation on the mailbox of the user who is named."""

ApplyResult: TypeAlias = Applied | TooManyCategories | EngineUnavailable
"""What became of one piece of work."""


class Engine(Protocol):
    """Keeps mailboxes by the name of their user.

    A mailbox that was never written to exists all the same, empty, at version 0 of
    an epoch of its own; no other user's is equal to it. Whatever has to do with the
    outside raises `EngineUnavailable` in bounded time if that does not answer.
    """

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Tell *listener* of the changes of *users*, a live collection, from now on.

        It may be told of others', of a change twice, and of several at once.
        """
        ...

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Do what goes on beside the calls, until cancelled; they need it."""
        ...

    async def check(self) -> None:
        """Raise `EngineUnavailable` with the reason if a call made now would fail."""
        ...

    async def read(self, user: str) -> Record:
        """Return the user's record as of now: what is over is expired first."""
        ...

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        """Do all of *work*, in its order for each user; return what became of each.

        When this returns, the engine's promise holds for all that was applied, and
        what was refused has changed nothing.
        """
        ...

    async def holders(self, retract: Retract) -> list[str]:
        """Return the users who hold an item that *retract* selects; maybe others."""
        ...

    async def users(self, after: str | None, limit: int) -> list[str]:
        """Return the next users behind *after*, in an order that stays, at most
        *limit*; none at the end."""
        ...

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        """Keep *value* under *key* for *ttl* seconds, unless there is one already.

        Returns what is kept: of many who claim, one gets the own value.
        """
        ...

    async def claimed(self, key: str) -> str | None:
        """Return what is kept under *key*, if anything is."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether other nodes may serve streams of the same users."""
        ...

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        """Say how many *streams* of each user this node serves, for *ttl* seconds.

        Returns how many the other nodes have said, each when it last did, of each
        user in that order. To say and to hear is one atomic step: of two nodes that
        do so at once, one hears of the other. Of what is unavailable it is not known
        whether it was said.
        """
        ...
