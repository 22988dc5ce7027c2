"""Items that wait: they are to come, or the user snoozed them.

An item that waits is in no list and in no count. When its time comes it appears as new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import final

from msgspec import Struct

from .items import Item, next_expiry
from .operations import Remove, Snooze, Unsnooze, UserOps


@final
class Waiting(Struct, frozen=True, gc=False, kw_only=True):
    """An *item* that appears at *until*, in seconds since 1970.

    *is_snoozed* is set if the user snoozed it; otherwise a producer scheduled it. When
    it appears, it replaces the item whose id is *replaces*.
    """

    until: float
    item: Item
    is_snoozed: bool = False
    replaces: str | None = None


def next_due(items: Iterable[Item], waiting: Mapping[str, Waiting]) -> float:
    """Return when the first item expires or appears, in seconds since 1970.

    ``inf`` if none does.
    """
    if not waiting:
        return next_expiry(items)
    appearance = min(each.until for each in waiting.values())
    held = (each.item for each in waiting.values())
    return min(appearance, next_expiry(chain(items, held)))


def due(waiting: Mapping[str, Waiting], now: float) -> list[str]:
    """Return the ids of the items that are to appear by *now*, the earliest first."""
    ids = [id_ for id_, each in waiting.items() if each.until <= now]
    return sorted(ids, key=lambda id_: waiting[id_].until)


def waits_of(operation: UserOps) -> dict[str, float | None]:
    """Return until when items are to wait, by id; `None` ends the wait.

    The last operation that names an item decides. One that is removed is left out.
    """
    waits: dict[str, float | None] = {}
    for op in operation.ops:
        if isinstance(op, Snooze | Unsnooze):
            until = op.until if isinstance(op, Snooze) else None
            waits |= dict.fromkeys(op.ids, until)
    removed = [op.ids for op in operation.ops if isinstance(op, Remove)]
    for id_ in chain.from_iterable(removed):
        waits.pop(id_, None)
    return waits
