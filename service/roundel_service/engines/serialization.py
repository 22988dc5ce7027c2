"""The form in which records are stored: rows of JSON, and what has to be written.

An item is one row that never changes, and its flags are another, so that to mark two
hundred items as read writes no text. Rows are lists by position: `VERSION` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
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
"""Of what is stored; another one is converted or refused, and never guessed at."""

_FLAGS = {"seen": 1, "read": 2, "archived": 4}
_ITEM = tuple(f.name for f in attrs.fields(Item) if f.init and f.name not in _FLAGS)
_item_fields: Callable[[Item], tuple[Any, ...]] = attrgetter(*_ITEM)
_encode = msgspec.json.Encoder().encode
_ChangeRow: TypeAlias = tuple[
    str, int, bool, msgspec.Raw, str, str, float, str | None, msgspec.Raw
]
_looked_at = msgspec.json.Decoder(_ChangeRow).decode


@final
@attrs.frozen(kw_only=True)
class RecordDiff:
    """What has to be written so that the one stored record becomes the other.

    With *anew* everything that is there goes first. *flags* is of items that are
    there or in *items*; where an item's flags are not named it has none.
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
    """Return what makes *before* into *after*; before `None` there was nothing."""
    anew = before is None or before.mailbox.epoch != after.mailbox.epoch
    old = Mailbox(epoch="", v=-1) if before is None or anew else before.mailbox
    new = after.mailbox
    changes = after.changes.since(old.v)
    items: dict[str, Item] = {}
    flags: dict[str, int] = {}
    gone: set[str] = set()
    for name in _touched(old, new, changes):
        was, item = old.items.get(name), new.items.get(name)
        if item is None:
            if was is not None:
                gone.add(name)
        elif item is not was:
            if was is None:
                items[name] = item
            if (bits := flag_bits(item)) or was is not None:
                flags[name] = bits
    answers = _latest(old.results, new.results)
    return RecordDiff(
        replace=anew,
        mailbox=new,
        items=items,
        flags=flags,
        removed=frozenset(gone),
        results=answers,
        dropped_results=_forgotten(old.results, new.results, len(answers)),
        changes=changes,
    )


def _touched(old: Mailbox, new: Mailbox, changes: Sequence[Change]) -> Set[str]:
    """Return the names of all items that may be others, or gone."""
    if old.items is new.items:
        return frozenset()
    if len(changes) == new.v - old.v:
        # The changes tell all of it, and to look at every item would take longer.
        return {
            name
            for change in changes
            for step in change.steps
            for name in _item_ids(step)
        }
    return old.items.keys() | new.items.keys()


def _item_ids(step: Step) -> Iterable[str]:
    return (step.item.id,) if isinstance(step, Added) else step.ids


def _latest(
    old: Mapping[str, IdempotentResult], new: Mapping[str, IdempotentResult]
) -> dict[str, IdempotentResult]:
    """Return the answers that were put at the end."""
    latest: dict[str, IdempotentResult] = {}
    if old is not new:
        for name in reversed(list(new)):
            if old.get(name) is new[name]:
                break
            latest[name] = new[name]
    return latest


def _forgotten(
    old: Mapping[str, IdempotentResult],
    new: Mapping[str, IdempotentResult],
    others: int,
) -> frozenset[str]:
    # Where as many are there as were, and none is another, none can have gone.
    if old is new or (not others and len(old) == len(new)) or not old:
        return frozenset()
    return frozenset(old.keys() - new.keys())


def flag_bits(item: Item) -> int:
    """Return the flags of *item* as bits."""
    return item.seen + 2 * item.read + 4 * item.archived


def item_tags(item: Item) -> tuple[str, ...]:
    """Return the names under which a `Retract` finds *item*."""
    found = []
    if item.source is not None:
        found.append(f"s {item.source}")
    if item.key is not None:
        found.append(f"k {item.category} {item.key}")
    return tuple(found)


def retract_tag(retract: Retract) -> str | None:
    """Return the name of the items that *retract* selects, if it selects any."""
    if retract.source is not None:
        return f"s {retract.source}"
    return None if retract.key is None else f"k {retract.category} {retract.key}"


def mailbox_row(mailbox: Mailbox) -> str:
    """Return the row of all that is not in rows of its own."""
    gauges = {name: (g.count, g.source_version) for name, g in mailbox.gauges.items()}
    times = (mailbox.disconnected_at, mailbox.revoked_at)
    return _row(mailbox.epoch, mailbox.v, mailbox.more, *times, gauges)


def item_row(item: Item) -> str:
    """Return the row of an item, without its flags."""
    return _row(*_item_fields(item))


def result_row(answer: IdempotentResult) -> str:
    """Return the row of what was answered to an operation id."""
    badge = answer.badge
    return _row(badge.epoch, *_badge(badge), answer.time, answer.item)


def change_row(change: Change) -> str:
    """Return the row of a change."""
    steps = [_step(step) for step in change.steps]
    who = (change.operation, change.by, change.time, change.op_id)
    return _row(change.badge.epoch, *_badge(change.badge), *who, steps)


def _badge(badge: Badge) -> tuple[int, bool, dict[str, tuple[int, int]]]:
    by = {name: (count.unread, count.unseen) for name, count in badge.by.items()}
    return badge.v, badge.more, by


def _step(step: Step) -> tuple[Any, ...]:
    match step:
        case Added(item):
            return ("add", _item_fields(item))
        case Flagged(ids, flags):
            return ("set", ids, flags)
        case Removed(ids, why):
            return ("remove", ids, why)


def _row(*values: object) -> str:
    return _encode(values).decode()


def decode_record(
    head: str,
    *,
    items: Iterable[tuple[str, int]],
    answers: Iterable[tuple[str, str]],
    changes: Iterable[str],
) -> Record:
    """Return the record that the rows tell, in whatever order they come.

    *items* are rows with their flags, *answers* operation ids with their rows.
    """
    epoch, v, more, ended_at, revoked_at, gauges = _values(head)
    held = sorted((_item(_values(row), flags) for row, flags in items), key=_seq)
    told = sorted(((name, _answer(row)) for name, row in answers), key=_when)
    mailbox = Mailbox(
        epoch=epoch,
        v=v,
        items={item.id: item for item in held},
        gauges={name: ExternalCount(*gauge) for name, gauge in gauges.items()},
        more=more,
        results=dict(told),
        disconnected_at=ended_at,
        revoked_at=revoked_at,
    )
    rows = _without_holes(epoch, v, changes)
    return Record(mailbox, ChangeLog(rows, partial(_change, known=mailbox.items)))


def _seq(item: Item) -> int:
    return item.seq


def _when(named: tuple[str, IdempotentResult]) -> tuple[float, int]:
    return named[1].time, named[1].badge.v


def _without_holes(epoch: str, v: int, rows: Iterable[str]) -> list[str]:
    """Keep those that lead to *v*; a ring that was shorter leaves others behind."""
    # Nothing is made of them yet: most changes are never told again.
    by_v = {}
    for row in rows:
        its_epoch, its_v, *_ = _looked_at(row)
        if its_epoch == epoch:
            by_v[its_v] = row
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


def _answer(row: str) -> IdempotentResult:
    epoch, v, more, by, time, item = _values(row)
    return IdempotentResult(badge=_whole(epoch, v, more, by), time=time, item=item)


def _change(row: str, known: Mapping[str, Item]) -> Change:
    epoch, v, more, by, did, who, time, op_id, steps = _values(row)
    return Change(
        v=v,
        steps=tuple(_step_from_row(known, *step) for step in steps),
        badge=_whole(epoch, v, more, by),
        operation=did,
        by=who,
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
            # Mostly it is as it came, and then it has to be made and held just once.
            is_same = item is not None and item.seq == first[1] and not flag_bits(item)
            return Added(item if item is not None and is_same else _item(first))
        case "set":
            return Flagged(first, second)
        case _:
            return Removed(first, second)


def _whole(epoch: str, v: int, more: bool, by: dict[str, list[int]]) -> Badge:
    counts = {name: Count(*count) for name, count in by.items()}
    return badge_from_counts(epoch, v, counts, more=more)


def _values(row: str) -> list[Any]:
    values: list[Any] = msgspec.json.decode(row)
    return values
