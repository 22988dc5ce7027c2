"""One user's mailbox, changed by one pure function.

`apply()` is the reducer: it takes a mailbox, an operation and the time, and returns
the next mailbox and the change to publish. No other code changes a mailbox.

State: the items in the order of their arrival, the external counts, the results of
recent operation ids, the time of the latest disconnect, and the revocation.

Invariants: a visible change makes exactly one version, and an operation without a
visible effect makes none. Expiry and eviction are changes like any other. No count is
stored: the badge is folded from the items, so it cannot drift from them. A repeated
operation id returns the first result and changes nothing.

Cost: O(n) in the items of the mailbox, which `MailboxLimits` bounds. `MailboxBuilder`
copies the dictionaries and shares the items.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nextafter
from operator import attrgetter
from typing import Final, final

from msgspec import Struct, field
from msgspec.structs import force_setattr, replace

from .badge import Badge, badge_from_counts, fold
from .changes import Change
from .items import ExternalCount, Item, MailboxLimits, next_expiry, total_size
from .mailbox_builder import MailboxBuilder
from .operations import (
    CorrectRevocation,
    DeleteUser,
    Disconnect,
    Notify,
    Operation,
    SetGauge,
    StartNewEpoch,
    UserOps,
)
from .revocation import NOT_REVOKED, RETENTION, Revocation

_FROM_ITEMS: Final = -1
"""Value of a field that is computed from the items."""

COMPUTED_FIELDS: Final = frozenset({"expires_at", "size"})
"""Fields of a mailbox that follow from its items; two equal ones may differ in them."""

MAX_OP_IDS = 1_000
"""Maximum of remembered operation ids, for producers and for users separately."""


@final
class IdempotentResult(Struct, frozen=True, gc=False, kw_only=True):
    """The first result of an operation id, and its time in seconds since 1970.

    *digest* is that of the operation, if it has one.
    """

    badge: Badge
    time: float
    item: str | None = None
    digest: str = ""


@final
class Mailbox(Struct, frozen=True, gc=False, kw_only=True, eq=False):
    """The state of one user at version *v* of *epoch*; *items* oldest first.

    *more* is set if unread items were evicted. Streams opened before
    *disconnected_at* are closed; *revocation* says which tokens are refused. No item
    expires before *expires_at*. Times are seconds since 1970; ``inf`` is never.
    """

    epoch: str
    v: int = 0
    items: Mapping[str, Item] = field(default_factory=dict)
    gauges: Mapping[str, ExternalCount] = field(default_factory=dict)
    more: bool = False
    results: Mapping[str, IdempotentResult] = field(default_factory=dict)
    disconnected_at: float = 0.0
    revocation: Revocation = NOT_REVOKED
    # A lower bound: exact after `Expire` and when a mailbox is created from items.
    expires_at: float = _FROM_ITEMS
    size: int = _FROM_ITEMS
    """Sum of the sizes of the items in bytes."""

    def __post_init__(self) -> None:
        """Compute the fields that were not given."""
        if self.expires_at == _FROM_ITEMS:
            force_setattr(self, "expires_at", next_expiry(self.items.values()))
        if self.size == _FROM_ITEMS:
            force_setattr(self, "size", total_size(self.items.values()))

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same state; computed fields are left out."""
        if not isinstance(other, Mailbox):
            return NotImplemented
        return _state(self) == _state(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def badge(self) -> Badge:
        """The badge at this version, folded from the items on each access."""
        by = fold(self.items.values(), self.gauges)
        return badge_from_counts(self.epoch, self.v, by, more=self.more)


_state = attrgetter(
    *(name for name in Mailbox.__struct_fields__ if name not in COMPUTED_FIELDS)
)


@final
class Applied(Struct, frozen=True, gc=False):
    """The *mailbox* after an operation, its *change* if visible, and the results.

    *badge* and the id of the added or changed *item* are those of the first call if the
    operation is repeated. *ignored* is set if the operation was refused: the stored
    gauge is not older than the given one, or the operation id was used with another
    digest.
    """

    mailbox: Mailbox
    change: Change | None
    badge: Badge
    item: str | None = None
    ignored: bool = False


def apply(
    mailbox: Mailbox, operation: Operation, *, now: float, limits: MailboxLimits
) -> Applied:
    """Return *mailbox* after *operation* at the time *now*, in seconds since 1970.

    Raises `OperationRefused`.
    """
    op_id = _op_id(operation)
    if op_id is not None:
        result = mailbox.results.get(op_id)
        if result is not None and result.time > now - RETENTION:
            ignored = result.digest != _digest(operation)
            return Applied(mailbox, None, result.badge, result.item, ignored)
    match operation:
        case SetGauge(category=category, source_version=new):
            gauge = mailbox.gauges.get(category)
            if gauge is not None and new <= gauge.source_version:
                return Applied(mailbox, None, mailbox.badge, ignored=True)
        case Disconnect():
            disconnected = _disconnect(mailbox, operation, now)
            return Applied(disconnected, None, disconnected.badge)
        case CorrectRevocation():
            revocation = mailbox.revocation.corrected(now)
            if revocation is not mailbox.revocation:
                mailbox = replace(mailbox, revocation=revocation)
            return Applied(mailbox, None, mailbox.badge)
        case DeleteUser(epoch=epoch):
            emptied = Mailbox(epoch=epoch, disconnected_at=mailbox.disconnected_at)
            return Applied(emptied, None, emptied.badge)
        case StartNewEpoch(epoch=epoch):
            renewed = replace(mailbox, epoch=epoch, v=mailbox.v + 1)
            return Applied(renewed, None, renewed.badge)
    builder = MailboxBuilder(
        v=mailbox.v + 1,
        items=dict(mailbox.items),
        gauges=dict(mailbox.gauges),
        more=mailbox.more,
        expires_at=mailbox.expires_at,
        size=mailbox.size,
    )
    builder.apply(operation, now, limits)
    return _finish(builder, mailbox, operation, op_id, now)


def _disconnect(mailbox: Mailbox, disconnect: Disconnect, now: float) -> Mailbox:
    revocation = mailbox.revocation
    if disconnect.revoke:
        revocation = revocation.renewed(now, disconnect.issued_before)
    # Another time than before, also if the clock stands still or goes back.
    disconnected_at = max(now, nextafter(mailbox.disconnected_at, inf))
    return replace(mailbox, disconnected_at=disconnected_at, revocation=revocation)


def _finish(
    builder: MailboxBuilder,
    before: Mailbox,
    operation: Operation,
    op_id: str | None,
    now: float,
) -> Applied:
    """Return the next version if the change is visible, and keep the result."""
    after = _build(builder, before)
    badge = after.badge
    if after.more and not badge.more:
        after = replace(after, more=False)
    item = builder.item_id
    if op_id is not None:
        results = _prune_results(before.results, operation.by, now)
        results[op_id] = IdempotentResult(
            badge=badge, time=now, item=item, digest=_digest(operation)
        )
        after = replace(after, results=results)
    if after.v == before.v:
        return Applied(after, None, badge, item)
    change = Change(
        v=after.v,
        steps=tuple(builder.steps),
        badge=badge,
        operation=operation.name,
        by=operation.by,
        time=now,
        op_id=operation.op_id if isinstance(operation, UserOps) else None,
    )
    return Applied(after, change, badge, item)


def _build(builder: MailboxBuilder, before: Mailbox) -> Mailbox:
    """Return the built mailbox, or *before* if nothing changed."""
    # Each change of the items has a step; a change of gauges has none.
    if builder.steps or _counts(builder.gauges) != _counts(before.gauges):
        return Mailbox(
            epoch=before.epoch,
            v=builder.v,
            items=builder.items,
            gauges=builder.gauges,
            more=builder.more,
            results=before.results,
            disconnected_at=before.disconnected_at,
            revocation=before.revocation,
            expires_at=builder.expires_at,
            size=builder.size,
        )
    if builder.gauges != before.gauges:
        return replace(before, gauges=builder.gauges)
    if builder.expires_at != before.expires_at:
        return replace(before, expires_at=builder.expires_at)
    return before


def _counts(gauges: Mapping[str, ExternalCount]) -> dict[str, int]:
    return {name: gauge.count for name, gauge in gauges.items() if gauge.count}


def _op_id(operation: Operation) -> str | None:
    """Return the key of the operation's result; producers and users share no keys."""
    if not isinstance(operation, (Notify, UserOps)) or operation.op_id is None:
        return None
    return f"{operation.by} {operation.op_id}"


def _digest(operation: Operation) -> str:
    # The service compares the bodies of notifications itself, for many users at once.
    return operation.digest if isinstance(operation, UserOps) else ""


def _prune_results(
    results: Mapping[str, IdempotentResult], by: str, now: float
) -> dict[str, IdempotentResult]:
    """Return a copy without old results and with room for one more result of *by*."""
    kept = dict(results)
    oldest = now - RETENTION
    first = next(iter(kept.values()), None)
    if first is None or (len(kept) < MAX_OP_IDS and first.time > oldest):
        return kept
    kept = {key: each for key, each in kept.items() if each.time > oldest}
    # Producers and users have separate limits: a busy page must not evict the
    # results that a backend may ask for again.
    own = [op_id for op_id in kept if op_id.startswith(f"{by} ")]
    for op_id in own[: max(0, len(own) - MAX_OP_IDS + 1)]:
        del kept[op_id]
    return kept
