"""Where mailboxes live: one interface, and an engine for each kind of place.

The reducer in `roundel_service.mailbox` says what a mailbox becomes; an engine makes
that durable and shared, and assigns the version in the same atomic step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, final

import attrs

from ..badge import Badge
from ..changes import Change
from ..mailbox import Applied, Mailbox
from ..operations import Operation, Retract


@final
@attrs.frozen
class Record:
    """A *mailbox*, and the latest *changes* that led to it, oldest first.

    The changes are without a hole; how many are kept is the engine's bound.
    """

    mailbox: Mailbox
    changes: tuple[Change, ...] = ()

    @property
    def badge(self) -> Badge:
        """The badge now; that of the latest change, where there is one."""
        return self.changes[-1].badge if self.changes else self.mailbox.badge

    def after(self, applied: Applied, *, ring: int) -> Record:
        """Return the record with *applied*, keeping at most *ring* changes."""
        if applied.mailbox.epoch != self.mailbox.epoch:
            return Record(applied.mailbox)
        changes = self.changes
        if applied.change is not None:
            changes = (*changes, applied.change)[-ring:]
        return Record(applied.mailbox, changes)


Listener: TypeAlias = Callable[[str, Record], None]
"""Is told a user's name and record after a change, or again after no change."""


class Engine(Protocol):
    """Keeps mailboxes by the name of their user.

    A mailbox that was never written to exists all the same, empty, at version 0 of
    an epoch of its own; no other user's is equal to it.
    """

    def listen(self, listener: Listener) -> None:
        """Tell *listener* of every change from now on."""
        ...

    async def read(self, user: str) -> Record:
        """Return the user's record as of now: what is over is expired first."""
        ...

    async def apply(self, user: str, operation: Operation) -> Applied:
        """Apply *operation*; when this returns, the engine's promise holds for it.

        Raises what the reducer raises, and has then changed nothing.
        """
        ...

    async def holders(self, retract: Retract) -> list[str]:
        """Return the users who hold an item that *retract* selects."""
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
    def deadline(self) -> float:
        """When the next item expires, in seconds since 1970; ``inf`` is never."""
        ...

    async def expire(self) -> None:
        """Let every item go whose time is over."""
        ...
