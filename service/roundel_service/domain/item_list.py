"""The items of a mailbox, oldest first, with a column of what the badge counts.

An `ItemList` is immutable: each method returns a new list, and the old one stays valid.
Copying the items for each notification would cost O(n), so consecutive versions share
one list that only grows, as in `change_log`. Each version is a range of it:

    shared list      i1 i2 i3 i4 i5
    column            2  0  2  1  4
    older version      [i2 i3 i4]
    newer version         [i3 i4 i5]

The column has one byte for each item: 0 if the badge does not count it, else the code
of its category, which is odd, or the next number if no client has shown the item. So a
notification copies no item and reads none, and to count the items is to count bytes:
O(categories · n) in C. The counts are those of the items in the range. No total is
kept from one version to the next.

`append()` copies its range if another version has appended before, or if the unused
head is longer than a quarter of the range: O(1) amortized. A copy has no category
without a counted item, so codes do not run out over time. With more categories at once
than codes there is no column, and the items are counted one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, ValuesView
from typing import Final, final

from .items import Count, Item

MAX_CATEGORIES: Final = 127
"""Maximum number of categories in a column: each has two of the codes from 1 to 255."""

_FEW: Final = 16
"""Number of changed items up to which the column is changed instead of made again."""

_PROBES: Final = 8
"""Number of the newest items that a lookup compares before it makes a dictionary."""


@final
class ItemList(Mapping[str, Item]):
    """Items by id, oldest first. Ids are unique."""

    __slots__ = ("_by_id", "_categories", "_column", "_shared", "_start", "_stop")

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._shared: list[Item] = list(items)
        self._start = 0
        self._stop = len(self._shared)
        self._column, self._categories = _column_of(self._shared)
        self._by_id: dict[str, Item] | None = None

    def append(self, item: Item, *, without: int = 0) -> ItemList:
        """Return a list with *item* behind the others, of which none has its id.

        The oldest items are left out, *without* of them.
        """
        shared, start, stop = self._shared, self._start + without, self._stop
        column, categories = self._column, self._categories
        if stop < len(shared) or 4 * start > stop - start:
            return self._copy(start).append(item)
        if item.category not in categories:
            if column is None or len(categories) == MAX_CATEGORIES:
                return ItemList((*shared[start:stop], item))
            categories = (*categories, item.category)
        if column is not None:
            column.append(_code(item, categories))
        shared.append(item)
        return _view(shared, column, categories, start, stop + 1)

    def without_oldest(self, count: int) -> ItemList:
        """Return a list without the oldest *count* items."""
        start = self._start + count
        return _view(self._shared, self._column, self._categories, start, self._stop)

    def without(self, ids: Collection[str]) -> ItemList:
        """Return a list without the items whose ids are in *ids*. Costs O(n)."""
        items = self._range()
        removed = [at for at, item in enumerate(items) if item.id in ids]
        if self._column is None or len(removed) > _FEW:
            return ItemList(item for item in items if item.id not in ids)
        column = self._column[self._start : self._stop]
        for at in reversed(removed):
            del items[at], column[at]
        return _view(items, column, self._categories, 0, len(items))

    def changed(self, items: Mapping[str, Item]) -> ItemList:
        """Return a list with *items*, each in the place of its id. Costs O(n)."""
        held, categories = self._range(), self._categories
        if self._column is None or len(items) > _FEW:
            return ItemList(items.get(item.id, item) for item in held)
        column = self._column[self._start : self._stop]
        for at, item in enumerate(held):
            if item.id in items:
                new = items[item.id]
                if new.category not in categories:
                    return ItemList(items.get(it.id, it) for it in held)
                held[at], column[at] = new, _code(new, categories)
        return _view(held, column, categories, 0, len(held))

    def newest(self, count: int) -> list[Item]:
        """Return the newest *count* items, the oldest of them first."""
        return self._shared[max(self._start, self._stop - count) : self._stop]

    def oldest(self, *, count: int, size: int) -> list[Item]:
        """Return the oldest items: *count* at least, and *size* bytes at least."""
        found: list[Item] = []
        at = self._start
        while (len(found) < count or size > 0) and at < self._stop:
            item = self._shared[at]
            found.append(item)
            size -= item.size
            at += 1
        return found

    def has_counted(self, category: str) -> bool:
        """Return whether the badge counts an item of *category*.

        Returns `False` if there are too many categories for a column.
        """
        if self._column is None or category not in self._categories:
            return False
        code = 2 * self._categories.index(category) + 1
        find = self._column.find
        return (
            find(code + 1, self._start, self._stop) >= 0
            or find(code, self._start, self._stop) >= 0
        )

    def counts(self) -> dict[str, Count] | None:
        """Return the counts of each category with an unread item.

        Returns `None` if there are too many categories.
        """
        if self._column is None:
            return None
        column = self._column[self._start : self._stop]
        by = {}
        code = 1
        for category in self._categories:
            unread = unseen = column.count(code + 1)
            # To find no byte takes a third of the time of counting them.
            if code in column:
                unread += column.count(code)
            if unread:
                by[category] = Count(unread, unseen)
            code += 2
        return by

    def __getitem__(self, key: str) -> Item:
        """Return the item with the id *key*."""
        if self._by_id is None:
            # Most lookups are for an item that has just been added.
            for item in reversed(self.newest(_PROBES)):
                if item.id == key:
                    return item
            self._by_id = {item.id: item for item in self._range()}
        return self._by_id[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids."""
        return iter([item.id for item in self._range()])

    def __len__(self) -> int:
        """Return the number of items."""
        return self._stop - self._start

    def values(self) -> ItemValues:
        """Return the items."""
        return ItemValues(self)

    def __repr__(self) -> str:
        """Return the items as text."""
        return f"ItemList({self._range()!r})"

    def _range(self) -> list[Item]:
        return self._shared[self._start : self._stop]

    def _copy(self, start: int) -> ItemList:
        """Return a list of the items from *start*, with a shared list of its own."""
        items, categories = self._shared[start : self._stop], self._categories
        if self._column is None:
            return ItemList(items)
        column = self._column[start : self._stop]
        used = range(1, 2 * len(categories), 2)
        if not all(code in column or code + 1 in column for code in used):
            return ItemList(items)
        return _view(items, column, categories, 0, len(items))


@final
class ItemValues(ValuesView[Item]):
    """The items of an `ItemList`, oldest first."""

    _mapping: ItemList

    def __iter__(self) -> Iterator[Item]:
        """Iterate over the items, oldest first."""
        return iter(self._mapping._range())

    def __reversed__(self) -> Iterator[Item]:
        """Iterate over the items, newest first."""
        return reversed(self._mapping._range())


def _view(
    shared: list[Item],
    column: bytearray | None,
    categories: tuple[str, ...],
    start: int,
    stop: int,
) -> ItemList:
    """Return the list of a range; it copies nothing."""
    view = ItemList.__new__(ItemList)
    view._shared, view._column, view._categories = shared, column, categories
    view._start, view._stop, view._by_id = start, stop, None
    return view


def _column_of(items: Iterable[Item]) -> tuple[bytearray | None, tuple[str, ...]]:
    """Return a column for *items* and its categories, or `None` if it has no room."""
    codes: dict[str, int] = {}
    column = bytearray()
    for item in items:
        if item.read or item.archived:
            column.append(0)
            continue
        code = codes.setdefault(item.category, 2 * len(codes) + 1)
        if len(codes) > MAX_CATEGORIES:
            return None, ()
        column.append(code if item.seen else code + 1)
    return column, tuple(codes)


def _code(item: Item, categories: tuple[str, ...]) -> int:
    if item.read or item.archived:
        return 0
    return 2 * categories.index(item.category) + (1 if item.seen else 2)
