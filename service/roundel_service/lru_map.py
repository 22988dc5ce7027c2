"""A map that evicts the least recently used entries."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar, final

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@final
class LruMap(Generic[K, V]):
    """A map whose entries weigh at most *max_weight* together; *weight* is their sum.

    An entry weighs 1 unless `put()` is given another weight. `get()` and `put()` are
    O(1). Pinned entries are never evicted, even beyond *max_weight*.
    """

    def __init__(self, max_weight: int) -> None:
        self._max_weight = max_weight
        self.weight: int = 0
        # Oldest first. A dict takes O(n) to find its first key after n deletions.
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._pins: Counter[K] = Counter()

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        """Return whether *key* has an entry; this does not count as a use."""
        return key in self._entries

    def get(self, key: K) -> V | None:
        """Return the value of *key*, which becomes the most recently used one."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Set the value of *key*, and evict other entries if necessary."""
        self.discard(key)
        self._entries[key] = (value, weight)
        self.weight += weight
        if self.weight > self._max_weight:
            self._evict()

    def discard(self, key: K) -> None:
        """Remove *key* if it has an entry, pinned or not."""
        _, weight = self._entries.pop(key, (None, 0))
        self.weight -= weight

    @contextmanager
    def pinned(self, keys: Iterable[K]) -> Iterator[None]:
        """Pin the current and future entries of *keys* for the length of the block."""
        names = list(keys)
        self._pins.update(names)
        try:
            yield
        finally:
            self._pins.subtract(names)
            for name in names:
                if not self._pins[name]:
                    del self._pins[name]
            self._evict()

    def _evict(self) -> None:
        spared = 0
        while self.weight > self._max_weight and spared < len(self._entries):
            key, (_, weight) = next(iter(self._entries.items()))
            if key in self._pins:
                # A pinned entry is in use, so it counts as recently used.
                self._entries.move_to_end(key)
                spared += 1
            else:
                del self._entries[key]
                self.weight -= weight
