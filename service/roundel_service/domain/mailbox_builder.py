"""The next version of a mailbox while it is being made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never, final

import attrs

from .changes import Added, Flagged, RemovalReason, Removed, Step
from .items import ExternalCount, Item, MailboxLimits, next_expiry
from .operations import DeleteGauge, Expire, Mark, MarkAll, Notify, Retract, SetGauge


@final
class TooManyCategories(Exception):  # noqa: N818, it says what there is
    """A category more than a mailbox may have; nothing was changed."""


@final
@attrs.define(kw_only=True)
class MailboxBuilder:
    """The next version while it is being made."""

    v: int
    items: dict[str, Item]
    gauges: dict[str, ExternalCount]
    more: bool
    expires_at: float
    size: int
    steps: list[Step] = attrs.field(factory=list)

    def apply(
        self,
        operation: Notify | MarkAll | Expire | Retract | SetGauge | DeleteGauge,
        now: float,
        limits: MailboxLimits,
    ) -> None:
        """Do *operation*; raises `TooManyCategories`, and the draft is worthless."""
        match operation:
            case Notify():
                self._check_category(operation.category, limits)
                self._notify(operation, now, limits)
            case MarkAll(marks=marks):
                self._mark(marks)
            case Expire():
                self._remove(
                    (i for i in self.items.values() if _is_over(i, now)), "expired"
                )
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
        # Most are of the category of the one before.
        for item in reversed(self.items.values()):
            if item.category == category:
                return
        if category in self.gauges:
            return
        known = {item.category for item in self.items.values()} | self.gauges.keys()
        if len(known) >= limits.categories:
            raise TooManyCategories(
                f"{category!r} would be one more than the {limits.categories} "
                f"categories that a mailbox may have"
            )

    def _notify(self, new: Notify, now: float, limits: MailboxLimits) -> None:
        if new.key is not None:
            same = Retract(category=new.category, key=new.key)
            self._remove(filter(same.selects, self.items.values()), "replaced")
        evicted = self._overflow(new.size, limits)
        self.more |= any(item.is_counted for item in evicted)
        self._remove(evicted, "evicted")
        item = _item(new, self.v, now)
        self.items[item.id] = item
        self.size += item.size
        if item.expires_at is not None:
            self.expires_at = min(self.expires_at, item.expires_at)
        self.steps.append(Added(item))

    def _remove(self, items: Iterable[Item], why: RemovalReason) -> None:
        ids = {}
        for item in list(items):
            ids[item.id] = item.category
            self.size -= item.size
            del self.items[item.id]
        if ids:
            self.steps.append(Removed(ids, why))

    def _overflow(self, size: int, limits: MailboxLimits) -> list[Item]:
        """Pick the oldest items that have to go before one of *size* bytes fits."""
        bytes_over = self.size + size - limits.bytes
        over = len(self.items) + 1 - limits.items
        evicted: list[Item] = []
        if bytes_over <= 0 and over <= 0:
            return evicted
        for item in self.items.values():
            evicted.append(item)
            bytes_over -= item.size
            if bytes_over <= 0 and len(evicted) >= over:
                break
        return evicted

    def _mark(self, marks: Sequence[Mark]) -> None:
        """Set the flags; of what is set back and forth, just the end is told."""
        # So each item is named once in a change, however many marks a user sends:
        # rings of changes are kept.
        changed: dict[frozenset[tuple[str, bool]], dict[str, str]] = {}
        for item in list(self.items.values()):
            flags = _flags(item, marks)
            if any(getattr(item, name) is not on for name, on in flags.items()):
                self.items[item.id] = _with(item, flags)
                ids = changed.setdefault(frozenset(flags.items()), {})
                ids[item.id] = item.category
        self.steps += [
            Flagged(ids, dict(sorted(flags))) for flags, ids in changed.items()
        ]


def _flags(item: Item, marks: Sequence[Mark]) -> dict[str, bool]:
    """Return what *marks* leave set or cleared on *item*, and nothing else."""
    flags: dict[str, bool] = {}
    for mark in marks:
        if mark.selects(item):
            flags |= mark.flags
    return flags


def _with(item: Item, flags: Mapping[str, bool]) -> Item:
    return attrs.evolve(
        item,
        seen=flags.get("seen", item.seen),
        read=flags.get("read", item.read),
        archived=flags.get("archived", item.archived),
    )


def _item(new: Notify, seq: int, now: float) -> Item:
    return Item(
        id=new.id,
        seq=seq,
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


def _is_over(item: Item, now: float) -> bool:
    return item.expires_at is not None and item.expires_at <= now
