"""The entry of a mailbox's log: what changed from one stored record to the next.

A store holds a mailbox as a snapshot and a log of the entries after it. An entry costs
O(what changed): the change log names the items, and all else is compared by identity,
because the reducer shares what it does not change. `replay` applies entries.

An entry holds each item that was added or updated as a whole, and only if the mailbox
still holds it. So it has no text that is gone by then. Later entries may withdraw a
text of an earlier one: see `LogEntry.withdraws_text`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import Final, cast, final

from msgspec import Struct, field

from ..changes import Added, Change, Removed, Step, Updated
from ..idempotency import IdempotentResult
from ..items import Item
from ..mailbox import COMPUTED_FIELDS, Mailbox
from ..record import Record
from ..waiting import Waiting

_KEEPS_TEXT: Final = frozenset(("replaced", "evicted"))
"""Reasons of a removal after which a store may keep the text for a while."""

_EMPTY: Final[Mapping[str, object]] = {}


@final
class MappingDelta(Struct, frozen=True):
    """The difference between two mappings: values to *put*, and keys to *drop*."""

    put: Mapping[str, object] = _EMPTY
    drop: tuple[str, ...] = ()

    def applied_to(self, before: Mapping[str, object]) -> dict[str, object]:
        """Return a copy of *before* with the difference; new keys are the last."""
        after = dict(before)
        for key in self.drop:
            after.pop(key, None)
        after.update(self.put)
        return after


@final
class LogEntry(Struct, frozen=True, kw_only=True):
    """What changed between two records of one epoch.

    *changes* are the changes in between, and *items* the added or updated items that
    the newer record holds. *values* are the new values of other fields of the mailbox,
    and *mappings* the differences of its other mappings, both by the field's name.
    """

    changes: tuple[Change, ...] = ()
    items: tuple[Item, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)
    mappings: Mapping[str, MappingDelta] = field(default_factory=dict)

    @property
    def withdraws_text(self) -> bool:
        """Whether a text was taken back that an earlier entry or snapshot may have.

        A store then writes a snapshot and drops the entries before it. The texts of
        items that were replaced or evicted may stay until the next snapshot.
        """
        return any(map(_withdraws_text, self._steps())) or self._withdraws_waiting

    @property
    def _withdraws_waiting(self) -> bool:
        """Whether an item that waited was removed or edited, without a change."""
        delta = self.mappings.get("waiting")
        if delta is None:
            return False
        appeared = {item.id for item in self.items}
        waiting = cast("Mapping[str, Waiting]", delta.put)
        is_edited = any(it.item.updated_at is not None for it in waiting.values())
        return is_edited or not appeared.issuperset(delta.drop)

    @property
    def removed(self) -> list[str]:
        """The ids of the items that were removed, even if added in between."""
        return [
            id_
            for step in self._steps()
            if isinstance(step, Removed)
            for id_ in step.ids
        ]

    def _steps(self) -> Iterable[Step]:
        return (step for change in self.changes for step in change.steps)


def _withdraws_text(step: Step) -> bool:
    if isinstance(step, Removed):
        return step.reason not in _KEEPS_TEXT
    return isinstance(step, Updated)


_SPECIAL: Final = COMPUTED_FIELDS | {"epoch", "v", "items", "results"}
_OTHER_FIELDS: Final = tuple(
    name for name in Mailbox.__struct_fields__ if name not in _SPECIAL
)
"""The fields of a mailbox that an entry has as a value or as a difference."""

_others: Final[Callable[[Mailbox], tuple[object, ...]]] = attrgetter(*_OTHER_FIELDS)


def entry_between(before: Record, after: Record) -> LogEntry | None:
    """Return the entry that leads from *before* to *after*.

    Returns `None` if there is no such entry: the epoch differs, or the change log does
    not reach back to *before*.
    """
    old, new = before.mailbox, after.mailbox
    if old.epoch != new.epoch:
        return None
    changes = tuple(after.changes.since(old.v)) if new.v != old.v else ()
    if len(changes) != new.v - old.v:
        return None
    values: dict[str, object] = {}
    mappings: dict[str, MappingDelta] = {}
    for name, was, is_ in zip(_OTHER_FIELDS, _others(old), _others(new), strict=True):
        if was is is_ or was == is_:
            continue
        if isinstance(is_, Mapping):
            mappings[name] = _difference(cast("Mapping[str, object]", was), is_)
        else:
            values[name] = is_
    results = _result_difference(old.results, new.results)
    if results is not None:
        mappings["results"] = results
    items = _written_items(changes, new)
    return LogEntry(changes=changes, items=items, values=values, mappings=mappings)


def _difference(old: Mapping[str, object], new: Mapping[str, object]) -> MappingDelta:
    put = {key: value for key, value in new.items() if old.get(key) is not value}
    return MappingDelta(put, tuple(key for key in old if key not in new))


def _result_difference(
    old: Mapping[str, IdempotentResult], new: Mapping[str, IdempotentResult]
) -> MappingDelta | None:
    """Return the difference without a look at all of up to 2,000 results.

    Results are appended at the end, and dropped from the beginning.
    """
    if old is new:
        return None
    names = takewhile(lambda name: old.get(name) is not new[name], reversed(list(new)))
    put = {name: new[name] for name in reversed(list(names))}
    appended = sum(name not in old for name in put)
    count = len(old) + appended - len(new)
    drop: list[str] = []
    for name in old:
        if len(drop) == count:
            break
        if name not in new:
            drop.append(name)
    return MappingDelta(put, tuple(drop))


def _written_items(changes: Sequence[Change], new: Mailbox) -> tuple[Item, ...]:
    ids = dict.fromkeys(
        id_
        for change in changes
        for step in change.steps
        if isinstance(step, (Added, Updated))
        for id_ in ((step.id,) if isinstance(step, Added) else step.ids)
    )
    return tuple(new.items[id_] for id_ in ids if id_ in new.items)
