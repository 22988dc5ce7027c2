"""Where mailboxes live: one interface, and an engine for each kind of place.

The reducer in `roundel_service.domain.mailbox` says what a mailbox becomes; an engine
makes that durable and shared, and assigns the version in the same atomic step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias, final

import attrs
import trio

from ..domain.badge import Badge
from ..domain.change_log import Ring
from ..domain.changes import Change
from ..domain.items import Limits
from ..domain.mailbox import Applied, Mailbox, apply
from ..domain.mailbox_builder import TooManyCategories
from ..domain.operations import Expire, Operation, Retract

RETRY_AFTER = 2.0
"""After how many seconds to try an engine again that did not do its work."""


@final
class Unavailable(Exception):  # noqa: N818, it says what there is
    """The engine cannot promise it now: whether it was done is not known."""


@final
@attrs.frozen(kw_only=True)
class Rules:
    """What bounds a record: the *limits* of the mailbox, and *ring* changes."""

    limits: Limits = attrs.field(factory=Limits)
    ring: int = 256


_NO_CHANGES = Ring()


def _ring(changes: Iterable[Change]) -> Ring:
    # Asked in this way since it is asked for each record.
    return changes if type(changes) is Ring else Ring(changes)


@final
@attrs.frozen
class Record:
    """A *mailbox*, and the latest *changes* that led to it, oldest first.

    The changes are without a hole; how many are kept is bounded by `Rules`.
    """

    mailbox: Mailbox
    changes: Ring = attrs.field(default=_NO_CHANGES, converter=_ring)

    @property
    def badge(self) -> Badge:
        """The badge now; that of the latest change, where there is one."""
        return self.changes.newest.badge if self.changes else self.mailbox.badge

    def expired(self, *, now: float, rules: Rules) -> Record:
        """Return the record without what is over *now*, in seconds since 1970."""
        if self.mailbox.expires_at > now:
            return self
        return self.applied(Expire(), now=now, rules=rules)[0]

    def applied(
        self, operation: Operation, *, now: float, rules: Rules
    ) -> tuple[Record, Applied]:
        """Return what *operation* makes of the record, and what it answers.

        Raises `TooManyCategories`.
        """
        applied = apply(self.mailbox, operation, now=now, limits=rules.limits)
        if applied.mailbox is self.mailbox:
            return self, applied
        if applied.mailbox.epoch != self.mailbox.epoch:
            return Record(applied.mailbox), applied
        changes = self.changes
        if applied.change is not None:
            changes = changes.after((applied.change,), keep=rules.ring)
        return Record(applied.mailbox, changes), applied


Listener: TypeAlias = Callable[[str, Record], None]
"""Is told a user's name and record after a change, or again after no change."""

Work: TypeAlias = tuple[str, Operation]
"""An operation on the mailbox of the user who is named."""

Result: TypeAlias = Applied | TooManyCategories | Unavailable
"""What became of one piece of work."""


class Engine(Protocol):
    """Keeps mailboxes by the name of their user.

    A mailbox that was never written to exists all the same, empty, at version 0 of
    an epoch of its own; no other user's is equal to it. Whatever has to do with the
    outside raises `Unavailable` in bounded time if that does not answer.
    """

    def listen(self, listener: Listener, users: Collection[str]) -> None:
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
        """Raise `Unavailable`, and why, if what is asked now would not be done."""
        ...

    async def read(self, user: str) -> Record:
        """Return the user's record as of now: what is over is expired first."""
        ...

    async def apply(self, work: Sequence[Work]) -> list[Result]:
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
        """Whether other nodes may serve streams of the same users: then `attend()`."""
        ...

    async def attend(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | Unavailable]:
        """Say how many *streams* of each user this node serves, for *ttl* seconds.

        Returns how many the other nodes have said, each when it last did, of each
        user in that order. To say and to hear is one atomic step: of two nodes that
        do so at once, one hears of the other. Of what is unavailable it is not known
        whether it was said.
        """
        ...
