"""The stored form of a record: JSON rows, and the difference between two records.

A record is stored as independent rows, each a JSON list with fields by position:

- one mailbox row: epoch, version, gauges and times;
- one row for each item, which rarely changes, and its flags as a separate number;
- one row for each remembered result of an operation id;
- one row for each change in the change log.

Because flags are separate, marking 200 items as read writes 200 numbers and no text.
`diff()` compares two records and returns only the rows to write and delete. It uses the
change log if that covers the versions between them, and then costs O(changed items);
otherwise it compares all items. Objects are compared by identity, because the reducer
shares what it does not change.

`deserialization` reads the rows. `FORMAT_VERSION` identifies the meaning of the
positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import takewhile
from operator import attrgetter, itemgetter
from typing import Any, final

import attrs
import msgspec

from ..domain.badge import Badge
from ..domain.changes import Added, Change, Flagged, Removed, Step, Updated
from ..domain.content import content_fields
from ..domain.idempotency import IdempotentResult
from ..domain.items import Item
from ..domain.mailbox import Mailbox
from ..domain.operations import Retract
from ..domain.record import Record
from .deserialization import FLAGS, ITEM_FIELDS
from .row_types import Extras

FORMAT_VERSION = 2
"""Version of the rows. An engine converts or rejects another version.

In version 1 a change had the text of the items that it added.

A field can be added at the end of a row with a default in `deserialization`. An earlier
version of the service reads such a row as damaged.
"""

_stored_fields: Callable[[Item], tuple[Any, ...]] = attrgetter(
    *(name for name in Item.__struct_fields__ if name not in FLAGS)
)
_row_fields: Callable[[Mapping[str, Any]], tuple[Any, ...]] = itemgetter(*ITEM_FIELDS)
_EXTRAS = Extras.__struct_fields__
_NO_EXTRAS = Extras()
_encode = msgspec.json.Encoder().encode


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
            if was is None or _stored_fields(was) != _stored_fields(item):
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
    return (step.id,) if isinstance(step, Added) else step.ids


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
    """Return the index keys under which a `Retract` finds *item*.

    A copy of an item of a topic has none: it goes when the item leaves the topic.
    """
    if item.topic is not None:
        return ()
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
    revocation = mailbox.revocation
    times = (mailbox.disconnected_at, revocation.made_at)
    # Only a time of the issuer's clock is stored, behind what older releases read.
    is_own_time = revocation.issued_before == revocation.made_at
    given: tuple[object, ...] = () if is_own_time else (revocation.issued_before,)
    extras = Extras(**{name: getattr(mailbox, name) for name in _EXTRAS})
    if extras != _NO_EXTRAS:
        given = (None if is_own_time else revocation.issued_before, extras)
    return _row(mailbox.epoch, mailbox.v, mailbox.more, *times, gauges, *given)


def item_row(item: Item) -> str:
    """Return the row of an item, without its flags."""
    fields = msgspec.structs.asdict(item) | content_fields(item.content)
    return _row(*_row_fields(fields))


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
        case Added():
            return ("add", step.id, step.category, step.seq)
        case Updated(ids):
            return ("update", ids)
        case Flagged(ids, flags):
            return ("set", ids, flags)
        case Removed(ids, reason):
            return ("remove", ids, reason)


def _row(*values: object) -> str:
    return _encode(values).decode()
