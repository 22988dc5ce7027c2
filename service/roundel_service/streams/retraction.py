"""Retracts items from one mailbox, or from every mailbox that has one.

A call is no transaction over all mailboxes: if the engine fails in the middle, a second
call retracts the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, final

import attrs

from ..domain.changes import Removed
from ..domain.mailbox import Applied
from ..domain.names import is_topic_mailbox
from ..domain.operations import Retract
from ..engines.base import ApplyResult, MailboxDamaged, UserOperation

RETRACT_PAGE = 500
"""Number of mailboxes that a retraction changes, and holds, at a time."""

ApplyAll: TypeAlias = Callable[[Sequence[UserOperation]], Awaitable[list[ApplyResult]]]


@final
@attrs.define
class Retracted:
    """Counts the items that were *removed* from lists, and that were *waiting*.

    *users* and *topics* are the numbers of mailboxes that had one.
    """

    removed: int = 0
    users: int = 0
    topics: int = 0
    waiting: int = 0

    def add(self, mailbox: str, applied: Applied) -> None:
        """Add what was retracted from *mailbox*."""
        steps = applied.change.steps if applied.change is not None else ()
        removed = sum(len(step.ids) for step in steps if isinstance(step, Removed))
        waiting = len(applied.waiting)
        if not removed and not waiting:
            return
        self.removed += removed
        self.waiting += waiting
        if is_topic_mailbox(mailbox):
            self.topics += 1
        else:
            self.users += 1


async def retract_from(
    mailboxes: Sequence[str], retract: Retract, apply_all: ApplyAll
) -> Retracted:
    """Retract items from *mailboxes*, in pages; a damaged mailbox is passed over.

    Raises `EngineUnavailable`.
    """
    retracted = Retracted()
    for start in range(0, len(mailboxes), RETRACT_PAGE):
        # Each result holds a whole mailbox, so no page outlives its turn.
        page = mailboxes[start : start + RETRACT_PAGE]
        results = await apply_all([(mailbox, retract) for mailbox in page])
        for mailbox, result in zip(page, results, strict=True):
            if isinstance(result, MailboxDamaged):
                continue
            if isinstance(result, Exception):
                raise result
            retracted.add(mailbox, result)
        del results, result
    return retracted
