"""What was used last, as much of it as fits: the records that an engine has at hand."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Generic, TypeVar, final

from ..domain.items import Item
from ..domain.record import Record

CACHE_BYTES = 128 * 1024 * 1024
"""How many bytes of records are at hand, unless somebody says otherwise."""

_SAMPLE = 4
_RECORD, _ITEM, _CHANGE, _ANSWER = 1_500, 800, 1_400, 650

T = TypeVar("T")


@final
class Cache(Generic[T]):
    """Values by the name of their user, the ones used last, within *max_bytes*.

    What is pinned stays beyond that bound.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._pins: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many values there are."""
        return len(self._entries)

    def __contains__(self, user: object) -> bool:
        """Tell whether *user* is there, which is no use."""
        return user in self._entries

    @property
    def bytes(self) -> int:
        """How much all the values weigh."""
        return self._bytes

    def get(self, user: str) -> T | None:
        """Return the user's value, if it is there; it is the last to go."""
        found = self._entries.get(user)
        if found is None:
            return None
        self._entries.move_to_end(user)
        return found[0]

    def put(self, user: str, value: T, weight: int) -> None:
        """Keep *value*, of *weight* bytes; others may go for it."""
        self.drop(user)
        self._entries[user] = (value, weight)
        self._bytes += weight
        self._trim()

    def drop(self, user: str) -> None:
        """Forget the user's value, pinned or not."""
        _, weight = self._entries.pop(user, (None, 0))
        self._bytes -= weight

    @contextmanager
    def pinned(self, users: Iterable[str]) -> Iterator[None]:
        """Let no value of *users* go for others, now or when it comes."""
        names = list(users)
        self._pins.update(names)
        try:
            yield
        finally:
            for name in names:
                self._pins[name] -= 1
                if not self._pins[name]:
                    del self._pins[name]
            self._trim()

    def _trim(self) -> None:
        # Who is pinned is in use, and so goes to where those are who were used last.
        spared = 0
        while self._bytes > self._max_bytes and spared < len(self._entries):
            user, (_, weight) = next(iter(self._entries.items()))
            if user in self._pins:
                self._entries.move_to_end(user)
                spared += 1
            else:
                del self._entries[user]
                self._bytes -= weight


def record_weight(record: Record) -> int:
    """Estimate the bytes that *record* takes in memory, by its newest items."""
    mailbox = record.mailbox
    # A mapping that is kept in its order is a dict, which can be walked back.
    items: Iterator[Item] = reversed(mailbox.items.values())  # type: ignore[call-overload]
    sizes = [item.size for item in islice(items, _SAMPLE)]
    text = sum(sizes) // max(1, len(sizes))
    return (
        _RECORD
        + len(mailbox.items) * (_ITEM + text)
        # A change that was read from a store has an item of its own.
        + len(record.changes) * (_CHANGE + text)
        + len(mailbox.results) * _ANSWER
    )
