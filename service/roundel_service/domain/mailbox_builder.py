"""Builds the next version of a mailbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, assert_never, final

from msgspec import Struct, field
from msgspec.structs import replace

from .changes import Added, Flagged, RemovalReason, Removed, Step, Updated
from .items import (
    MAX_ITEM_SIZE,
    ExternalCount,
    Item,
    MailboxLimits,
    json_size,
    next_expiry,
)
from .operations import (
    DeleteGauge,
    Expire,
    Mark,
    Notify,
    Remove,
    Retract,
    SetGauge,
    Update,
    UserOps,
)


class OperationRefused(Exception):  # noqa: N818, named after the condition
    """The operation would exceed a limit of the mailbox; no change."""


@final
class TooManyCategories(OperationRefused):
    """The operation would exceed the mailbox's limit of categories."""


@final
class ItemTooLarge(OperationRefused):
    """The operation would make an item larger than `MAX_ITEM_SIZE`."""


ContentOperation: TypeAlias = (
    Notify | Update | UserOps | Expire | Retract | SetGauge | DeleteGauge
)


@final
class MailboxBuilder(Struct, kw_only=True):
    """A mutable copy of a mailbox that collects the steps of its change."""

    v: int
    items: dict[str, Item]
    gauges: dict[str, ExternalCount]
    more: bool
    expires_at: float
    size: int
    steps: list[Step] = field(default_factory=list)
    item_id: str | None = None
    """The id of the item that a `Notify` has added or changed."""

    def apply(
        self,
        operation: ContentOperation,
        now: float,
        limits: MailboxLimits,
    ) -> None:
        """Apply *operation*; discard the builder if this raises `OperationRefused`."""
        match operation:
            case Notify():
                self._check_category(operation.category, limits)
                self._notify(operation, now, limits)
            case Update():
                self._update(operation, now, limits)
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
        replaced = self._replaced_by(operation)
        held = next((it for it in replaced if it.id != operation.replaces), None)
        if operation.quiet and held is not None:
            replaced.remove(held)
        self._remove(replaced, "replaced")
        if operation.quiet and held is not None:
            self.item_id = held.id
            content, size = _content(operation), operation.size
            if self._change(held, content, _end(operation, now), size, now):
                self.steps.append(Updated({held.id: held.category}))
            self._evict(limits)
            return
        self._evict(limits, count=1, size=operation.size)
        item = _item(operation, self.v, now)
        self.item_id = item.id
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

    def _replaced_by(self, operation: Notify) -> list[Item]:
        if operation.key is None and operation.replaces is None:
            return []  # Most notifications: do not look at each item.
        same_key = Retract(category=operation.category, key=operation.key)
        return [
            item
            for item in self.items.values()
            if same_key.selects(item) or item.id == operation.replaces
        ]

    def _update(self, update: Update, now: float, limits: MailboxLimits) -> None:
        ids = {}
        for item in list(filter(update.which.selects, self.items.values())):
            grown = sum(
                json_size(value) - json_size(getattr(item, name))
                for name, value in update.content.items()
            )
            end = _end(update, now) if update.expires else item.expires_at
            if self._change(item, update.content, end, item.size + grown, now):
                ids[item.id] = item.category
        if ids:
            self.steps.append(Updated(ids))
        self._evict(limits)

    def _change(
        self,
        item: Item,
        content: Mapping[str, Any],
        expires_at: float | None,
        size: int,
        now: float,
    ) -> bool:
        """Change the content of *item* in place; return whether it differs."""
        is_same = all(_is_same(getattr(item, name), content[name]) for name in content)
        if is_same and expires_at == item.expires_at:
            return False
        if size > MAX_ITEM_SIZE:
            raise ItemTooLarge(
                f"the item {item.id!r} would take {size} bytes as JSON, "
                f"expected at most {MAX_ITEM_SIZE}"
            )
        self.items[item.id] = replace(
            item, **content, expires_at=expires_at, size=size, updated_at=now
        )
        self.size += size - item.size
        if expires_at is not None:
            self.expires_at = min(self.expires_at, expires_at)
        return True

    def _remove_ids(self, removals: Sequence[Remove]) -> None:
        ids = frozenset[str]().union(*(removal.ids for removal in removals))
        if ids:
            self._remove(
                [item for item in self.items.values() if item.id in ids], "removed"
            )

    def _evict(self, limits: MailboxLimits, *, count: int = 0, size: int = 0) -> None:
        evicted = self._overflow(limits, count, size)
        self.more |= any(item.is_counted for item in evicted)
        self._remove(evicted, "evicted")

    def _overflow(self, limits: MailboxLimits, count: int, size: int) -> list[Item]:
        """Return the oldest items to evict, for *count* new ones of *size* bytes."""
        bytes_over = self.size + size - limits.bytes
        items_over = len(self.items) + count - limits.items
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
    return replace(
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
        expires_at=_end(operation, now),
        size=operation.size,
    )


def _content(operation: Notify) -> dict[str, Any]:
    names = ("title", "body", "url", "icon", "source", "data")
    return {name: getattr(operation, name) for name in names}


def _end(operation: Notify | Update, now: float) -> float | None:
    return None if operation.ttl is None else now + operation.ttl


def _is_same(old: object, new: object) -> bool:
    # In Python 1, 1.0 and True are equal, in JSON they are not.
    return old == new and repr(old) == repr(new)


def _is_expired(item: Item, now: float) -> bool:
    return item.expires_at is not None and item.expires_at <= now
