"""One user's mailbox, changed by one pure function.

`apply()` takes a mailbox, an operation and the time, and returns the mailbox after
it and the change to tell. Nothing else changes a mailbox. A change that somebody
could see makes exactly one version; an operation that changes nothing makes none.
Expiry and eviction are changes like any other. Nothing here adds to or subtracts
from a stored count: badges are folded from the items.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nextafter
from typing import final

import attrs

from .badge import Badge, badge_from_counts, fold
from .changes import Change
from .items import ExternalCount, Item, MailboxLimits, next_expiry, total_size
from .mailbox_builder import MailboxBuilder
from .operations import (
    DeleteUser,
    Disconnect,
    MarkAll,
    Notify,
    Operation,
    SetGauge,
    StartNewEpoch,
)

RETENTION = 86_400.0
"""For how many seconds an operation id, or that proofs were revoked, is remembered."""

MAX_OP_IDS = 1_000
"""How many operation ids a mailbox remembers at the most, of producers and of users."""


@final
@attrs.frozen(kw_only=True)
class IdempotentResult:
    """What was answered to an operation id, and when."""

    badge: Badge
    time: float
    item: str | None = None


@final
@attrs.frozen(kw_only=True)
class Mailbox:
    """The state of one user at version *v* of *epoch*; *items* oldest first.

    *more* says that unread items were evicted. Streams that were opened before
    *disconnected_at*, and tokens issued before *revoked_at*, are over. No item expires
    before *expires_at*; all are seconds since 1970, and ``inf`` is never.
    """

    epoch: str
    v: int = 0
    items: Mapping[str, Item] = attrs.field(factory=dict)
    gauges: Mapping[str, ExternalCount] = attrs.field(factory=dict)
    more: bool = False
    results: Mapping[str, IdempotentResult] = attrs.field(factory=dict)
    disconnected_at: float = 0.0
    revoked_at: float = 0.0
    # A bound, which is exact after `Expire` and whenever a mailbox is made of items.
    expires_at: float = attrs.field(
        default=attrs.Factory(lambda made: next_expiry(made.items.values()), True),
        eq=False,
    )
    size: int = attrs.field(
        default=attrs.Factory(lambda made: total_size(made.items.values()), True),
        eq=False,
    )
    """How many bytes the items count together."""

    @property
    def badge(self) -> Badge:
        """The badge at this version: the fold over the items, made anew."""
        by = fold(self.items.values(), self.gauges)
        return badge_from_counts(self.epoch, self.v, by, more=self.more)

    def is_revoked(self, issued_at: float, *, now: float) -> bool:
        """Tell whether a proof that was *issued_at* then has been revoked."""
        return issued_at < self.revoked_at and now < self.revoked_at + RETENTION


@final
@attrs.frozen
class Applied:
    """The *mailbox* after an operation, the *change* if there was one, the *badge*
    to answer and the *item* put in, which for a repeated operation are those of the
    first time. *ignored* says that a gauge was there as new as the one given."""

    mailbox: Mailbox
    change: Change | None
    badge: Badge
    item: str | None = None
    ignored: bool = False


def apply(
    mailbox: Mailbox, operation: Operation, *, now: float, limits: MailboxLimits
) -> Applied:
    """Apply *operation* at *now*, in seconds since 1970; pure.

    Raises `TooManyCategories` and changes nothing.
    """
    op_id = _op_id(operation)
    if op_id is not None:
        answer = mailbox.results.get(op_id)
        if answer is not None and answer.time > now - RETENTION:
            return Applied(mailbox, None, answer.badge, answer.item)
    match operation:
        case SetGauge(category=category, source_version=new):
            gauge = mailbox.gauges.get(category)
            if gauge is not None and new <= gauge.source_version:
                return Applied(mailbox, None, mailbox.badge, ignored=True)
        case Disconnect(revoke=revoke):
            ended = _ended(mailbox, now, revoke=revoke)
            return Applied(ended, None, ended.badge)
        case DeleteUser(epoch=epoch):
            forgotten = Mailbox(
                epoch=epoch,
                disconnected_at=mailbox.disconnected_at,
                revoked_at=mailbox.revoked_at,
            )
            return Applied(forgotten, None, forgotten.badge)
        case StartNewEpoch(epoch=epoch):
            renewed = attrs.evolve(mailbox, epoch=epoch, v=mailbox.v + 1)
            return Applied(renewed, None, renewed.badge)
    draft = MailboxBuilder(
        v=mailbox.v + 1,
        items=dict(mailbox.items),
        gauges=dict(mailbox.gauges),
        more=mailbox.more,
        expires_at=mailbox.expires_at,
        size=mailbox.size,
    )
    draft.apply(operation, now, limits)
    return _finish(draft, mailbox, operation, op_id, now)


def _ended(mailbox: Mailbox, now: float, *, revoke: bool) -> Mailbox:
    # A clock that stands or goes back must not let a stream or a proof live on.
    revoked_at = max(now, mailbox.revoked_at) if revoke else mailbox.revoked_at
    disconnected_at = max(now, nextafter(mailbox.disconnected_at, inf))
    return attrs.evolve(mailbox, disconnected_at=disconnected_at, revoked_at=revoked_at)


def _finish(
    draft: MailboxBuilder,
    before: Mailbox,
    operation: Operation,
    op_id: str | None,
    now: float,
) -> Applied:
    """Make the version, if anybody can see one, and remember the operation's id."""
    after = _after(draft, before)
    badge = after.badge
    if after.more and not badge.more:
        after = attrs.evolve(after, more=False)
    item = operation.id if isinstance(operation, Notify) else None
    if op_id is not None:
        answer = IdempotentResult(badge=badge, time=now, item=item)
        answers = _remembered(before.results, operation.by, now)
        answers[op_id] = answer
        after = attrs.evolve(after, results=answers)
    if after.v == before.v:
        return Applied(after, None, badge, item)
    change = Change(
        v=after.v,
        steps=tuple(draft.steps),
        badge=badge,
        operation=operation.name,
        by=operation.by,
        time=now,
        op_id=operation.op_id if isinstance(operation, MarkAll) else None,
    )
    return Applied(after, change, badge, item)


def _after(draft: MailboxBuilder, before: Mailbox) -> Mailbox:
    """Return the mailbox that the draft makes; the same one if that is no other."""
    # Each step changes what the items are; what only gauges do has no step.
    if draft.steps or _counts(draft.gauges) != _counts(before.gauges):
        return Mailbox(
            epoch=before.epoch,
            v=draft.v,
            items=draft.items,
            gauges=draft.gauges,
            more=draft.more,
            results=before.results,
            disconnected_at=before.disconnected_at,
            revoked_at=before.revoked_at,
            expires_at=draft.expires_at,
            size=draft.size,
        )
    if draft.gauges != before.gauges:
        return attrs.evolve(before, gauges=draft.gauges)
    if draft.expires_at != before.expires_at:
        return attrs.evolve(before, expires_at=draft.expires_at)
    return before


def _counts(gauges: Mapping[str, ExternalCount]) -> dict[str, int]:
    return {name: gauge.count for name, gauge in gauges.items() if gauge.count}


_ANSWERED = (Notify, MarkAll)


def _op_id(operation: Operation) -> str | None:
    """Return under what the answer is remembered; who did it is a part of that."""
    op_id = operation.op_id if isinstance(operation, _ANSWERED) else None
    return None if op_id is None else f"{operation.by} {op_id}"


def _remembered(
    answers: Mapping[str, IdempotentResult], by: str, now: float
) -> dict[str, IdempotentResult]:
    """Keep what is young enough, and leave room for one more of *by*."""
    kept = dict(answers)
    if not kept or (len(kept) < MAX_OP_IDS and _first(kept).time > now - RETENTION):
        return kept
    kept = {
        op_id: answer for op_id, answer in kept.items() if answer.time > now - RETENTION
    }
    # Each kind of caller has a bound of its own: a page that does much must not make
    # the mailbox forget what a backend may ask for again.
    own = [op_id for op_id in kept if op_id.startswith(f"{by} ")]
    for op_id in own[: max(0, len(own) - MAX_OP_IDS + 1)]:
        del kept[op_id]
    return kept


def _first(answers: Mapping[str, IdempotentResult]) -> IdempotentResult:
    return next(iter(answers.values()))
