"""One user's mailbox, changed by one pure function.

`apply()` takes a mailbox, an operation and the time, and returns the mailbox after
it and the change to tell. Nothing else changes a mailbox. A change that somebody
could see makes exactly one version; an operation that changes nothing makes none.
Expiry and eviction are changes like any other. Nothing here adds to or subtracts
from a stored count: badges are folded from the items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, Literal, TypeAlias, assert_never, final

import attrs

from .badge import Badge, fold
from .items import Expire, Item, Mark, MarkAll, Notify, Operation

DAY = 86_400.0
"""For how many seconds an operation id is remembered."""

MAX_OP_IDS = 1_000
"""How many operation ids a mailbox remembers at the most."""

Why: TypeAlias = Literal["expired", "evicted", "retracted", "replaced"]


@final
@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of one mailbox: *items* by count, their JSON by *bytes*."""

    items: int = 200
    bytes: int = 262_144


@final
@attrs.frozen(kw_only=True)
class Answer:
    """What was answered to an operation id, and when."""

    badge: Badge
    time: float


@final
@attrs.frozen(kw_only=True)
class Mailbox:
    """The state of one user at version *v* of *epoch*; *items* oldest first."""

    epoch: str
    v: int = 0
    items: Mapping[str, Item] = attrs.field(factory=dict)
    more: bool = False
    answers: Mapping[str, Answer] = attrs.field(factory=dict)

    @property
    def badge(self) -> Badge:
        """The badge at this version: the fold over the items, made anew."""
        by = fold((i.category, i.seen) for i in self.items.values() if i.counts)
        return Badge(
            epoch=self.epoch,
            v=self.v,
            unread=sum(count.unread for count in by.values()),
            unseen=sum(count.unseen for count in by.values()),
            more=self.more,
            by=by,
        )

    @property
    def deadline(self) -> float:
        """When `Expire` is due, in seconds since 1970; ``inf`` is never."""
        return min(
            (i.expires_at for i in self.items.values() if i.expires_at is not None),
            default=inf,
        )


@final
@attrs.frozen(kw_only=True)
class Change:
    """What one version changed, in the contract's own words, and the *badge* at it."""

    v: int
    ops: tuple[dict[str, Any], ...]
    badge: Badge
    op_id: str | None = None


@final
@attrs.frozen
class Applied:
    """The *mailbox* after an operation, the *change* if there was one, the *badge*
    to answer, which for a repeated operation is that of the first time."""

    mailbox: Mailbox
    change: Change | None
    badge: Badge


def apply(
    mailbox: Mailbox, operation: Operation, *, now: float, limits: Limits
) -> Applied:
    """Apply *operation* at *now*, in seconds since 1970; pure."""
    draft = _Draft(
        v=mailbox.v + 1,
        items=dict(mailbox.items),
        more=mailbox.more,
        answers=mailbox.answers,
    )
    match operation:
        case Notify():
            _notify(draft, operation, now, limits)
        case MarkAll(op_id=op_id):
            answer = mailbox.answers.get(op_id)
            if answer is not None and answer.time > now - DAY:
                return Applied(mailbox, None, answer.badge)
            for mark in operation.marks:
                draft.set(mark)
            return draft.finish(mailbox, op_id=op_id, now=now)
        case Expire():
            expired = [i.id for i in draft.items.values() if _is_over(i, now)]
            draft.remove(expired, "expired")
        case _:
            assert_never(operation)
    return draft.finish(mailbox)


@final
@attrs.define(kw_only=True)
class _Draft:
    """The next version while it is being made."""

    v: int
    items: dict[str, Item]
    more: bool
    answers: Mapping[str, Answer]
    ops: list[dict[str, Any]] = attrs.field(factory=list)

    def add(self, item: Item) -> None:
        self.items[item.id] = item
        self.ops.append({"add": item.document()})

    def remove(self, ids: list[str], why: Why) -> None:
        for item_id in ids:
            del self.items[item_id]
        if ids:
            self.ops.append({"remove": ids, "why": why})

    def set(self, mark: Mark) -> None:
        changed = [
            item
            for item in self.items.values()
            if mark.selects(item)
            and any(getattr(item, flag) is not on for flag, on in mark.flags.items())
        ]
        for item in changed:
            self.items[item.id] = mark.set_on(item)
        if changed:
            self.ops.append({"set": [item.id for item in changed], **mark.flags})

    def finish(
        self, before: Mailbox, *, op_id: str | None = None, now: float = 0.0
    ) -> Applied:
        """Make the version, if anything changed, and remember the *op_id*."""
        # Marks can undo each other: what counts is whether anybody could see it.
        changed = self.items != before.items
        after = before
        if changed:
            after = attrs.evolve(
                before,
                v=self.v,
                items=self.items,
                more=self.more and any(i.counts for i in self.items.values()),
            )
        badge = after.badge
        if op_id is not None:
            answers = _remembered(before.answers, now)
            answers[op_id] = Answer(badge=badge, time=now)
            after = attrs.evolve(after, answers=answers)
        if not changed:
            return Applied(after, None, badge)
        change = Change(v=self.v, ops=tuple(self.ops), badge=badge, op_id=op_id)
        return Applied(after, change, badge)


def _notify(draft: _Draft, new: Notify, now: float, limits: Limits) -> None:
    replaced = [
        item.id
        for item in draft.items.values()
        if new.key is not None and (item.category, item.key) == (new.category, new.key)
    ]
    draft.remove(replaced, "replaced")
    evicted = _overflow(draft.items.values(), new.size, limits)
    draft.more |= any(item.counts for item in evicted)
    draft.remove([item.id for item in evicted], "evicted")
    draft.add(
        Item(
            id=new.id,
            seq=draft.v,
            category=new.category,
            title=new.title,
            body=new.body,
            url=new.url,
            icon=new.icon,
            key=new.key,
            source=new.source,
            data=new.data,
            created_at=now,
            expires_at=None if new.ttl is None else now + new.ttl,
            size=new.size,
        )
    )


def _overflow(items: Iterable[Item], size: int, limits: Limits) -> list[Item]:
    """Pick the oldest items that have to go before one of *size* bytes fits."""
    kept = list(items)
    room = limits.bytes - size - sum(item.size for item in kept)
    evicted: list[Item] = []
    for item in kept:
        if room >= 0 and len(kept) - len(evicted) < limits.items:
            break
        evicted.append(item)
        room += item.size
    return evicted


def _is_over(item: Item, now: float) -> bool:
    return item.expires_at is not None and item.expires_at <= now


def _remembered(answers: Mapping[str, Answer], now: float) -> dict[str, Answer]:
    """Keep what is young enough, and leave room for one more."""
    young = [pair for pair in answers.items() if pair[1].time > now - DAY]
    return dict(young[-(MAX_OP_IDS - 1) :])
