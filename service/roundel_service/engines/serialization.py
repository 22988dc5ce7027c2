"""The stored form of a record: JSON rows, and the difference between two records.

A record is stored as independent rows, each a JSON list with fields by position:

- one mailbox row: epoch, version, gauges and times;
- one row for each item, which never changes, and its flags as a separate number;
- one row for each remembered result of an operation id;
- one row for each change in the change log.

Because flags are separate, marking 200 items as read writes 200 numbers and no text.
`diff()` compares two records and returns only the rows to write and delete. It uses the
change log if that covers the versions between them, and then costs O(changed items);
otherwise it compares all items. Objects are compared by identity, because the reducer
shares what it does not change.

`decode_record()` accepts rows in any order. It decodes changes lazily, because most
stored changes are never read. `FORMAT_VERSION` identifies the meaning of the positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from itertools import takewhile
from operator import attrgetter
from typing import Any, TypeAlias, final

import attrs
import msgspec

from ..domain.badge import Badge, Count, badge_from_counts
from ..domain.change_log import ChangeLog
from ..domain.changes import Added, Change, Flagged, Removed, Step
from ..domain.items import ExternalCount, Item
from ..domain.mailbox import IdempotentResult, Mailbox
from ..domain.operations import Retract
from ..domain.record import Record

FORMAT_VERSION = 1
"""Version of the rows. An engine converts or rejects another version."""

_FLAGS = {"seen": 1, "read": 2, "archived": 4}
_ITEM = tuple(f.name for f in attrs.fields(Item) if f.init and f.name not in _FLAGS)
_item_fields: Callable[[Item], tuple[Any, ...]] = attrgetter(*_ITEM)
_encode = msgspec.json.Encoder().encode
_ChangeRow: TypeAlias = tuple[
    str, int, bool, msgspec.Raw, str, str, float, str | None, msgspec.Raw
]
_decode_change_row = msgspec.json.Decoder(_ChangeRow).decode


@final
@attrs.frozen(kw_only=True)
class RecordDiff:
    """The rows to write and delete so that a stored record becomes another.

    If *replace* is set, all stored rows are deleted first. *flags* belong to stored
    items or to *items*; an item in *items* without an entry has no flags set.
    """

    replace: bool
    mailbox: Mailbox
    items: Mapping[str, Item]
    flags: Mapping[str, int]
    removed: frozenset[str]
    results: Mapping[str, IdempotentResult]
    dropped_results: frozenset[str]
    changes: Sequence[Change]


def diff(before: Record | None, after: Record) -> RecordDiff:
    """Return the difference from *before* to *after*; `None` is an empty store."""
    replace = before is None or before.mailbox.epoch != after.mailbox.epoch
    old = Mailbox(epoch="", v=-1) if before is None or replace else before.mailbox
    new = after.mailbox
    changes = after.changes.since(old.v)
    items: dict[str, Item] = {}
    flags: dict[str, int] = {}
    removed: set[str] = set()
    for name in _possibly_changed(old, new, changes):
        was, item = old.items.get(name), new.items.get(name)
        if item is None:
            if was is not None:
                removed.add(name)
        elif item is not was:
            if was is None:
                items[name] = item
            if (bits := flag_bits(item)) or was is not None:
                flags[name] = bits
    results = _new_results(old.results, new.results)
    return RecordDiff(
        replace=replace,
        mailbox=new,
        items=items,
        flags=flags,
        removed=frozenset(removed),
        results=results,
        dropped_results=_dropped_results(old.results, new.results, len(results)),
        changes=changes,
    )


def _possibly_changed(
    old: Mailbox, new: Mailbox, changes: Sequence[Change]
) -> Set[str]:
    """Return the ids of all items that may be changed or removed."""
    if old.items is new.items:
        return frozenset()
    if len(changes) == new.v - old.v:
        # The change log covers all versions in between.
        steps = [step for change in changes for step in change.steps]
        return {name for step in steps for name in _item_ids(step)}
    return old.items.keys() | new.items.keys()


def _item_ids(step: Step) -> Iterable[str]:
    return (step.item.id,) if isinstance(step, Added) else step.ids


def _new_results(
    old: Mapping[str, IdempotentResult], new: Mapping[str, IdempotentResult]
) -> dict[str, IdempotentResult]:
    """Return the results that were appended to *new*."""
    if old is new:
        return {}
    names = takewhile(lambda name: old.get(name) is not new[name], reversed(list(new)))
    return {name: new[name] for name in names}


def _dropped_results(
    old: Mapping[str, IdempotentResult],
    new: Mapping[str, IdempotentResult],
    appended: int,
) -> frozenset[str]:
    # Results are only appended and dropped, so equal lengths without a new result
    # mean that none was dropped.
    if old is new or (not appended and len(old) == len(new)) or not old:
        return frozenset()
    return frozenset(old.keys() - new.keys())


def flag_bits(item: Item) -> int:
    """Return the flags of *item* as bits."""
    return item.seen + 2 * item.read + 4 * item.archived


def item_tags(item: Item) -> tuple[str, ...]:
    """Return the index keys under which a `Retract` finds *item*."""
    source = () if item.source is None else (f"s {item.source}",)
    return source if item.key is None else (*source, f"k {item.category} {item.key}")


def retract_tag(retract: Retract) -> str | None:
    """Return the index key that *retract* selects, or `None`."""
    if retract.source is not None:
        return f"s {retract.source}"
    return None if retract.key is None else f"k {retract.category} {retract.key}"


def mailbox_row(mailbox: Mailbox) -> str:
    """Return the row of the mailbox without items, results and changes."""
    gauges = {name: (g.count, g.source_version) for name, g in mailbox.gauges.items()}
    times = (mailbox.disconnected_at, mailbox.revoked_at)
    return _row(mailbox.epoch, mailbox.v, mailbox.more, *times, gauges)


def item_row(item: Item) -> str:
    """Return the row of an item, without its flags."""
    return _row(*_item_fields(item))


def result_row(result: IdempotentResult) -> str:
    """Return the row of the result of an operation id."""
    badge = result.badge
    fields = (result.time, result.item, result.digest)
    return _row(badge.epoch, *_badge_fields(badge), *fields)


def change_row(change: Change) -> str:
    """Return the row of a change."""
    steps = [_step_fields(step) for step in change.steps]
    cause = (change.operation, change.by, change.time, change.op_id)
    return _row(change.badge.epoch, *_badge_fields(change.badge), *cause, steps)


def _badge_fields(badge: Badge) -> tuple[int, bool, dict[str, tuple[int, int]]]:
    by = {name: (count.unread, count.unseen) for name, count in badge.by.items()}
    return badge.v, badge.more, by


def _step_fields(step: Step) -> tuple[Any, ...]:
    match step:
        case Added(item):
            return ("add", _item_fields(item))
        case Flagged(ids, flags):
            return ("set", ids, flags)
        case Removed(ids, reason):
            return ("remove", ids, reason)


def _row(*values: object) -> str:
    return _encode(values).decode()


def decode_record(
    mailbox: str,
    *,
    items: Iterable[tuple[str, int]],
    results: Iterable[tuple[str, str]],
    changes: Iterable[str],
) -> Record:
    """Return the record that is stored in these rows, which may have any order.

    *mailbox* is the mailbox row. *items* are rows and flags. *results* are operation
    ids and rows.
    """
    epoch, v, more, disconnected_at, revoked_at, gauges = _values(mailbox)
    by_seq = sorted(
        (_item(_values(row), flags) for row, flags in items), key=attrgetter("seq")
    )
    by_time = sorted(((name, _result(row)) for name, row in results), key=_time)
    decoded = Mailbox(
        epoch=epoch,
        v=v,
        items={item.id: item for item in by_seq},
        gauges={name: ExternalCount(*gauge) for name, gauge in gauges.items()},
        more=more,
        results=dict(by_time),
        disconnected_at=disconnected_at,
        revoked_at=revoked_at,
    )
    rows = _consecutive(epoch, v, changes)
    return Record(decoded, ChangeLog(rows, partial(_change, known=decoded.items)))


def _time(named: tuple[str, IdempotentResult]) -> tuple[float, int]:
    return named[1].time, named[1].badge.v


def _consecutive(epoch: str, v: int, rows: Iterable[str]) -> list[str]:
    """Return the changes with consecutive versions up to *v*, oldest first.

    A store may contain older changes, if the change log was shorter before.
    """
    by_v = {}
    for row in rows:
        row_epoch, row_v, *_ = _decode_change_row(row)
        if row_epoch == epoch:
            by_v[row_v] = row
    found = []
    while v in by_v:
        found.append(by_v[v])
        v -= 1
    found.reverse()
    return found


def _item(values: list[Any], flags: int = 0) -> Item:
    fields: dict[str, Any] = dict(zip(_ITEM, values, strict=True))
    if flags:
        fields |= {name: bool(flags & bit) for name, bit in _FLAGS.items()}
    return Item(**fields)


def _result(row: str) -> IdempotentResult:
    # Rows of earlier versions have no digest.
    epoch, v, more, by, time, item, *digest = _values(row)
    badge = _badge(epoch, v, more, by)
    return IdempotentResult(badge=badge, time=time, item=item, digest="".join(digest))


def _change(row: str, known: Mapping[str, Item]) -> Change:
    epoch, v, more, by, operation, caller, time, op_id, steps = _values(row)
    return Change(
        v=v,
        steps=tuple(_step_from_row(known, *step) for step in steps),
        badge=_badge(epoch, v, more, by),
        operation=operation,
        by=caller,
        time=time,
        op_id=op_id,
    )


def _step_from_row(
    known: Mapping[str, Item],
    kind: str,
    first: Any,  # noqa: ANN401, JSON
    second: Any = None,  # noqa: ANN401
) -> Step:
    match kind:
        case "add":
            item = known.get(first[0])
            # Usually the mailbox has the same item, which then needs no second copy.
            is_same = item is not None and item.seq == first[1] and not flag_bits(item)
            return Added(item if item is not None and is_same else _item(first))
        case "set":
            return Flagged(first, second)
        case _:
            return Removed(first, second)


def _badge(epoch: str, v: int, more: bool, by: dict[str, list[int]]) -> Badge:
    counts = {name: Count(*count) for name, count in by.items()}
    return badge_from_counts(epoch, v, counts, more=more)


def _values(row: str) -> list[Any]:
    values: list[Any] = msgspec.json.decode(row)
    return values
