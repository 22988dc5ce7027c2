"""Builds the next version of a mailbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never, final

import attrs

from .changes import Added, Flagged, RemovalReason, Removed, Step
from .items import ExternalCount, Item, MailboxLimits, next_expiry
from .operations import (
    DeleteGauge,
    Expire,
    Mark,
    Notify,
    Remove,
    Retract,
    SetGauge,
    UserOps,
)


@final
class TooManyCategories(Exception):  # noqa: N818, named after the condition
    """The operation would exceed the mailbox's limit of categories; no change."""


@final
@attrs.define(kw_only=True)
class MailboxBuilder:
    """A mutable copy of a mailbox that collects the steps of its change."""

    v: int
    items: dict[str, Item]
    gauges: dict[str, ExternalCount]
    more: bool
    expires_at: float
    size: int
    steps: list[Step] = attrs.field(factory=list)

    def apply(
        self,
        operation: Notify | UserOps | Expire | Retract | SetGauge | DeleteGauge,
        now: float,
        limits: MailboxLimits,
    ) -> None:
        """Apply *operation*; discard the builder if this raises `TooManyCategories`."""
        match operation:
            case Notify():
                self._check_category(operation.category, limits)
                self._notify(operation, now, limits)
            case UserOps(ops=ops):
                # Marks of an item that is removed have no effect, in any order.
                self._remove_ids([op for op in ops if isinstance(op, Remove)])
                self._mark([op for op in ops if isinstance(op, Mark)])
            case Expire():
                expired = [i for i in self.items.values() if _is_expired(i, now)]
                self._remove(expired, "expired")
                self.expires_at = next_expiry(self.items.values())
            case Retract():
                self._remove(
                    filter(operation.selects, self.items.values()), "retracted"
                )
            case SetGauge(category=category):
                self._check_category(category, limits)
                gauge = ExternalCount(operation.count, operation.source_version)
                self.gauges[category] = gauge
            case DeleteGauge(category=category):
                self.gauges.pop(category, None)
            case _:
                assert_never(operation)

    def _check_category(self, category: str, limits: MailboxLimits) -> None:
        # The newest item often has the same category.
        for item in reversed(self.items.values()):
            if item.category == category:
                return
        if category in self.gauges:
            return
        known = {item.category for item in self.items.values()} | self.gauges.keys()
        if len(known) >= limits.categories:
            raise TooManyCategories(
                f"expected at most {limits.categories} categories, "
                f"{category!r} is one more"
            )

    def _notify(self, operation: Notify, now: float, limits: MailboxLimits) -> None:
        if operation.key is not None:
            same_key = Retract(category=operation.category, key=operation.key)
            self._remove(filter(same_key.selects, self.items.values()), "replaced")
        evicted = self._overflow(operation.size, limits)
        self.more |= any(item.is_counted for item in evicted)
        self._remove(evicted, "evicted")
        item = _item(operation, self.v, now)
        self.items[item.id] = item
        self.size += item.size
        if item.expires_at is not None:
            self.expires_at = min(self.expires_at, item.expires_at)
        self.steps.append(Added(item.id, item.category, item.seq))

    def _remove(self, items: Iterable[Item], reason: RemovalReason) -> None:
        ids = {}
        for item in list(items):
            ids[item.id] = item.category
            self.size -= item.size
            del self.items[item.id]
        if ids:
            self.steps.append(Removed(ids, reason))

    def _remove_ids(self, removals: Sequence[Remove]) -> None:
        ids = frozenset[str]().union(*(removal.ids for removal in removals))
        if ids:
            self._remove(
                [item for item in self.items.values() if item.id in ids], "removed"
            )

    def _overflow(self, size: int, limits: MailboxLimits) -> list[Item]:
        """Return the oldest items to evict so that an item of *size* bytes fits."""
        bytes_over = self.size + size - limits.bytes
        items_over = len(self.items) + 1 - limits.items
        evicted: list[Item] = []
        if bytes_over <= 0 and items_over <= 0:
            return evicted
        for item in self.items.values():
            evicted.append(item)
            bytes_over -= item.size
            if bytes_over <= 0 and len(evicted) >= items_over:
                break
        return evicted

    def _mark(self, marks: Sequence[Mark]) -> None:
        """Set the flags; the change contains only their final values."""
        if not marks:
            return
        # Each item occurs at most once in a change, so the size of a change is
        # bounded by the mailbox and not by the number of marks.
        changed: dict[frozenset[tuple[str, bool]], dict[str, str]] = {}
        for item in list(self.items.values()):
            flags = _final_flags(item, marks)
            if any(getattr(item, name) is not on for name, on in flags.items()):
                self.items[item.id] = _with_flags(item, flags)
                ids = changed.setdefault(frozenset(flags.items()), {})
                ids[item.id] = item.category
        self.steps += [
            Flagged(ids, dict(sorted(flags))) for flags, ids in changed.items()
        ]


def _final_flags(item: Item, marks: Sequence[Mark]) -> dict[str, bool]:
    """Return the flags that *marks* set or clear on *item*."""
    flags: dict[str, bool] = {}
    for mark in marks:
        if mark.selects(item):
            flags |= mark.flags
    return flags


def _with_flags(item: Item, flags: Mapping[str, bool]) -> Item:
    return attrs.evolve(
        item,
        seen=flags.get("seen", item.seen),
        read=flags.get("read", item.read),
        archived=flags.get("archived", item.archived),
    )


def _item(operation: Notify, seq: int, now: float) -> Item:
    return Item(
        id=operation.id,
        seq=seq,
        category=operation.category,
        title=operation.title,
        body=operation.body,
        url=operation.url,
        icon=operation.icon,
        key=operation.key,
        source=operation.source,
        data=operation.data,
        created_at=now,
        expires_at=None if operation.ttl is None else now + operation.ttl,
        size=operation.size,
    )


def _is_expired(item: Item, now: float) -> bool:
    return item.expires_at is not None and item.expires_at <= now
