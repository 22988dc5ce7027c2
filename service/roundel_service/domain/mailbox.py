"""One user's mailbox, changed by one pure function.

`apply()` is the reducer: it takes a mailbox, an operation and the time, and returns
the next mailbox and the change to publish. No other code changes a mailbox.

State: the items in the order of their arrival, the items that wait, the external
counts, the subscriptions to topics, the muted names, the results of recent operation
ids, the time of the latest disconnect, and the revocation. A topic is a mailbox too:
its followers need *epoch_history* and *evicted_upto* (see `subscriptions`).

Invariants: a visible change makes exactly one version, and an operation without a
visible effect makes none. Expiry and eviction are changes like any other. No count is
stored: the badge is folded from the items, so it cannot drift from them. A repeated
operation id returns the first result and changes nothing.

Cost: a notification copies no item, and reads only the items that it replaces or
evicts (see `item_list`). Other operations cost O(n) in the items, which `MailboxLimits`
bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nextafter
from operator import attrgetter
from typing import ClassVar, Final, TypeAlias, final

from msgspec import Struct, field
from msgspec.structs import force_setattr, replace

from .badge import Badge, badge_from_counts, fold_list
from .changes import Change
from .idempotency import IdempotentResult, digest_of, find_result, with_result
from .item_list import ItemList
from .items import ExternalCount, MailboxLimits, total_size
from .mailbox_builder import MailboxBuilder
from .names import ALL
from .operations import (
    Appear,
    CorrectRevocation,
    DeleteUser,
    Disconnect,
    Operation,
    Refresh,
    SetGauge,
    StartNewEpoch,
    UserOps,
    VersionOperation,
)
from .revocation import NOT_REVOKED, Revocation
from .subscriptions import (
    EPOCH_HISTORY,
    NOTHING_MUTED,
    EpochEnd,
    Muted,
    Subscription,
    subscribe,
)
from .waiting import Waiting, next_due

_FROM_ITEMS: Final = -1
"""Value of a field that is computed from the items."""

COMPUTED_FIELDS: Final = frozenset({"due_at", "size"})
"""Fields of a mailbox that follow from its items; two equal ones may differ in them."""


@final
class Mailbox(Struct, frozen=True, gc=False, kw_only=True, eq=False):
    """The state of one user at version *v* of *epoch*; *items* oldest first.

    *more* is set if unread items were evicted. *waiting* maps ids to items that are in
    no list, in the order in which they began to wait. *subscriptions* maps topics to
    cursors into them; *claimed_at* is when the latest token with topics was issued.
    Streams opened before *disconnected_at* are closed; *revocation* says which tokens
    are refused. No item expires or appears before *due_at*. *epoch_history* has the
    earlier epochs and their last versions, *evicted_upto* is the highest `seq` that was
    evicted. Times are seconds since 1970; ``inf`` is never.
    """

    epoch: str
    v: int = 0
    items: ItemList = field(default_factory=ItemList)
    gauges: Mapping[str, ExternalCount] = field(default_factory=dict)
    more: bool = False
    results: Mapping[str, IdempotentResult] = field(default_factory=dict)
    disconnected_at: float = 0.0
    revocation: Revocation = NOT_REVOKED
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    subscriptions: Mapping[str, Subscription] = field(default_factory=dict)
    muted: Muted = NOTHING_MUTED
    claimed_at: float = 0.0
    epoch_history: tuple[EpochEnd, ...] = ()
    evicted_upto: int = 0
    # A lower bound: exact after `Expire` and when a mailbox is created from items.
    due_at: float = _FROM_ITEMS
    size: int = _FROM_ITEMS
    """Sum of the sizes of the items in bytes, without waiting items."""

    def __post_init__(self) -> None:
        """Compute the fields that were not given."""
        if self.due_at == _FROM_ITEMS:
            due_at = next_due(self.items.values(), self.waiting)
            force_setattr(self, "due_at", due_at)
        if self.size == _FROM_ITEMS:
            force_setattr(self, "size", total_size(self.items.values()))

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same state; computed fields are left out."""
        if not isinstance(other, Mailbox):
            return NotImplemented
        return _state(self) == _state(other)

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    @property
    def badge(self) -> Badge:
        """The badge at this version, folded from the items on each access."""
        by = fold_list(self.items, self.gauges, self.muted)
        return badge_from_counts(self.epoch, self.v, by, more=self.more)


_state = attrgetter(
    *(name for name in Mailbox.__struct_fields__ if name not in COMPUTED_FIELDS)
)


WholeOperation: TypeAlias = (
    Refresh | Disconnect | CorrectRevocation | StartNewEpoch | DeleteUser
)
"""An operation that changes no content of the mailbox, or all of it."""


@final
class Applied(Struct, frozen=True, gc=False):
    """The *mailbox* after an operation, its *change* if visible, and the results.

    *badge* and the id of the added or changed *item* are those of the first call if the
    operation is repeated. *ignored* is set if the operation was refused: the stored
    gauge is not older than the given one, or the operation id was used with another
    digest. *waiting* has the ids of items that wait and were removed by a `Retract`, or
    changed by an `Update`.
    """

    mailbox: Mailbox
    change: Change | None
    badge: Badge
    item: str | None = None
    ignored: bool = False
    waiting: tuple[str, ...] = ()


def apply(
    mailbox: Mailbox,
    operation: Operation | VersionOperation,
    *,
    now: float,
    limits: MailboxLimits,
    topics: Mapping[str, Mailbox] | None = None,
) -> Applied:
    """Return *mailbox* after *operation* at the time *now*, in seconds since 1970.

    *topics* are the mailboxes of the topics that the operation names, by topic. Raises
    `OperationRefused`.
    """
    if (repeated := find_result(mailbox.results, operation, now)) is not None:
        ignored = repeated.digest != digest_of(operation)
        return Applied(mailbox, None, repeated.badge, repeated.item, ignored)
    if isinstance(operation, SetGauge) and _is_stale(operation, mailbox):
        return Applied(mailbox, None, mailbox.badge, ignored=True)
    topics = topics or {}
    if isinstance(operation, WholeOperation):
        after = _apply_whole(mailbox, operation, now, topics)
        return Applied(after, None, after.badge)
    builder = MailboxBuilder(
        v=mailbox.v + 1,
        items=mailbox.items,
        gauges=dict(mailbox.gauges),
        waiting=dict(mailbox.waiting),
        subscriptions=dict(mailbox.subscriptions),
        muted=mailbox.muted,
        claimed_at=mailbox.claimed_at,
        evicted_upto=mailbox.evicted_upto,
        more=mailbox.more,
        due_at=mailbox.due_at,
        size=mailbox.size,
        topics=topics,
    )
    builder.apply(operation, now, limits)
    return _finish(builder, mailbox, operation, now)


def _is_stale(operation: SetGauge, mailbox: Mailbox) -> bool:
    held = mailbox.gauges.get(operation.category)
    return held is not None and operation.source_version <= held.source_version


def _apply_whole(
    mailbox: Mailbox,
    operation: WholeOperation,
    now: float,
    topics: Mapping[str, Mailbox],
) -> Mailbox:
    """Return *mailbox* after an operation that changes no content, or all of it."""
    match operation:
        case Refresh():
            return mailbox
        case Disconnect():
            return _disconnect(mailbox, operation, now)
        case CorrectRevocation():
            revocation = mailbox.revocation.corrected(now)
            if revocation is mailbox.revocation:
                return mailbox
            return replace(mailbox, revocation=revocation)
        case StartNewEpoch(epoch=epoch):
            history = (*mailbox.epoch_history, (mailbox.epoch, mailbox.v))
            return replace(
                mailbox,
                epoch=epoch,
                v=mailbox.v + 1,
                epoch_history=history[-EPOCH_HISTORY:],
            )
        case DeleteUser(epoch=epoch):
            return Mailbox(
                epoch=epoch,
                disconnected_at=mailbox.disconnected_at,
                subscriptions=_all_from_now_on(topics),
            )


def _all_from_now_on(topics: Mapping[str, Mailbox]) -> dict[str, Subscription]:
    """Return the subscriptions of a user whose old announcements are not to return."""
    topic = topics.get(ALL)
    if topic is None or not topic.v:
        return {}
    return {ALL: subscribe(topic, "now", "default")}


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
    operation: Operation | VersionOperation,
    now: float,
) -> Applied:
    """Return the next version if the change is visible, and keep the result."""
    after = _build(builder, before)
    badge = after.badge
    if after.more and not badge.more:
        after = replace(after, more=False)
    item, waiting = builder.item_id, tuple(builder.waiting_ids)
    results = with_result(before.results, operation, badge=badge, item=item, now=now)
    if results is not before.results:
        after = replace(after, results=results)
    if after.v == before.v:
        return Applied(after, None, badge, item, waiting=waiting)
    change = Change(
        v=after.v,
        steps=tuple(builder.steps),
        badge=badge,
        operation=operation.name,
        by=operation.by,
        time=now,
        op_id=operation.op_id if isinstance(operation, UserOps | Appear) else None,
    )
    return Applied(after, change, badge, item, waiting=waiting)


def _build(builder: MailboxBuilder, before: Mailbox) -> Mailbox:
    """Return the built mailbox, or *before* if nothing changed."""
    # Each change of the items has a step.
    is_visible = bool(builder.steps) or _shows_else(builder, before)
    if not is_visible and not _is_touched(builder, before):
        return before
    return Mailbox(
        epoch=before.epoch,
        v=builder.v if is_visible else before.v,
        items=builder.items if builder.steps else before.items,
        gauges=builder.gauges,
        more=builder.more if is_visible else before.more,
        results=before.results,
        disconnected_at=before.disconnected_at,
        revocation=before.revocation,
        waiting=builder.waiting,
        subscriptions=builder.subscriptions,
        muted=builder.muted,
        claimed_at=builder.claimed_at,
        epoch_history=before.epoch_history,
        evicted_upto=builder.evicted_upto,
        due_at=builder.due_at,
        size=builder.size,
    )


def _shows_else(builder: MailboxBuilder, before: Mailbox) -> bool:
    """Return whether the badge or the preferences differ, with the same items."""
    if builder.muted != before.muted:
        return True
    muted = before.muted.categories
    if _counts(builder.gauges, muted) != _counts(before.gauges, muted):
        return True
    return builder.more and not before.more and before.badge.unread > 0


def _is_touched(builder: MailboxBuilder, before: Mailbox) -> bool:
    """Return whether a part differs that no client sees."""
    return (
        builder.gauges != before.gauges
        or builder.waiting != before.waiting
        or builder.subscriptions != before.subscriptions
        or builder.claimed_at != before.claimed_at
        or builder.due_at != before.due_at
    )


def _counts(
    gauges: Mapping[str, ExternalCount], muted: frozenset[str]
) -> dict[str, int]:
    return {
        name: gauge.count
        for name, gauge in gauges.items()
        if gauge.count and name not in muted
    }
