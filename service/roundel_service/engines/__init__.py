"""Where mailboxes live: one interface, and an engine for each kind of place.

The reducer in `roundel_service.mailbox` says what a mailbox becomes; an engine makes
that durable and shared, and assigns the version in the same atomic step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, final

import attrs

from ..items import Operation
from ..mailbox import Applied, Change, Mailbox


@final
@attrs.frozen
class Record:
    """A *mailbox*, and the latest *changes* that led to it, oldest first.

    The changes are without a hole; how many are kept is the engine's bound.
    """

    mailbox: Mailbox
    changes: tuple[Change, ...] = ()

    def after(self, applied: Applied, *, ring: int) -> Record:
        """Return the record with *applied*, keeping at most *ring* changes."""
        changes = self.changes
        if applied.change is not None:
            changes = (*changes, applied.change)[-ring:] if ring else ()
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
        """Apply *operation*; when this returns, the engine's promise holds for it."""
        ...

    @property
    def deadline(self) -> float:
        """When the next item expires, in seconds since 1970; ``inf`` is never."""
        ...

    async def expire(self) -> None:
        """Let every item go whose time is over."""
        ...
