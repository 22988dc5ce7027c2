"""Replay: applies the entries of a log to a record.

`replay()` is the inverse of `entry_between()`: it returns what the reducer returned.
It decides nothing. No rule of the mailbox is repeated here, so a later version of the
service with other rules replays an older log to the same record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast, final

from msgspec.structs import replace

from ..changes import Added, Change, Flagged, Removed, Step, Updated
from ..item_edits import with_flags
from ..item_list import ItemList
from ..items import Item, total_size
from ..mailbox import Mailbox
from ..record import Record
from ..waiting import next_due
from .entry import LogEntry


@final
class ReplayError(ValueError):
    """An entry does not follow the record; the message has no part of the content."""


def replay(
    record: Record, entries: Iterable[LogEntry], *, change_log_size: int
) -> Record:
    """Return *record* after *entries*, oldest first; raises `ReplayError`.

    Costs O(n) in the items of the record and in what the entries changed together.
    """
    builder = _Builder(record.mailbox)
    for entry in entries:
        builder.apply(entry)
    changes = record.changes
    if builder.changes:
        changes = changes.extend(builder.changes, max_length=change_log_size)
    return Record(builder.build(), changes)


@final
class _Builder:
    """A mutable copy of the parts of a mailbox that entries change."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._before = mailbox
        self._v = mailbox.v
        # An item that an entry adds and removes again has no text in it: it is None.
        self._items: dict[str, Item | None] = {
            item.id: item for item in mailbox.items.values()
        }
        self._fields: dict[str, Any] = {}
        self.changes: list[Change] = []

    def apply(self, entry: LogEntry) -> None:
        """Apply the next *entry*."""
        written = {item.id: item for item in entry.items}
        missing: set[str] = set()
        for change in entry.changes:
            if change.v != self._v + 1 or not self._has_epoch(change):
                raise ReplayError("an entry does not follow the version before it")
            self._v = change.v
            for step in change.steps:
                missing.update(self._apply_step(step, written))
        if not missing.isdisjoint(self._items):
            raise ReplayError("an entry lacks an item that it adds or updates")
        self.changes += entry.changes
        self._fields.update(entry.values)
        for name, delta in entry.mappings.items():
            before = self._fields.get(name, getattr(self._before, name))
            self._fields[name] = delta.applied_to(before)

    def _has_epoch(self, change: Change) -> bool:
        # A change in the form of a store has the epoch of its mailbox.
        is_decoded = isinstance(change, Change)
        return not is_decoded or change.badge.epoch == self._before.epoch

    def _apply_step(self, step: Step, written: Mapping[str, Item]) -> Iterable[str]:
        """Apply *step*; return the ids of its items that are not *written*."""
        items = self._items
        match step:
            case Added(id=id_):
                items[id_] = written.get(id_)
                return () if id_ in written else (id_,)
            case Updated(ids):
                self._require(ids)
                items.update({id_: written.get(id_) for id_ in ids})
                return ids.keys() - written.keys()
            case Flagged(ids, flags):
                self._require(ids)
                for id_ in ids:
                    if (item := items[id_]) is not None:
                        items[id_] = with_flags(item, flags)
            case Removed(ids):
                self._require(ids)
                for id_ in ids:
                    del items[id_]
        return ()

    def _require(self, ids: Mapping[str, str]) -> None:
        if not ids.keys() <= self._items.keys():
            raise ReplayError("an entry changes an item that is not held")

    def build(self) -> Mailbox:
        """Return the mailbox, with its size and its next expiry computed again."""
        items = ItemList(cast("dict[str, Item]", self._items).values())
        waiting = self._fields.get("waiting", self._before.waiting)
        return replace(
            self._before,
            v=self._v,
            items=items,
            due_at=next_due(items.values(), waiting),
            size=total_size(items.values()),
            **self._fields,
        )
