"""The latest changes of a mailbox.

A `ChangeLog` is immutable: `extend()` returns a new log, and the old one stays valid.
Copying the changes for each new version would cost O(n), so consecutive logs share one
list that only grows. Each log is a range of it:

    shared list    c1 c2 c3 c4 c5
    older log         [c2 c3 c4]
    newer log            [c3 c4 c5]

`extend()` appends to the shared list if this log ends where the list ends. It copies
its range if another log has appended before, or if the unused head of the list is
longer than a quarter of the limit. So `extend()` is O(1) amortized, and the list holds
at most 1.25 times the limit.

A log that was read from a store contains changes in the form of the store. Each is
decoded on first access, in place, because most stored changes are never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, TypeAlias, final, overload

from .changes import Change

SerializedChange: TypeAlias = Any
"""A change in the form of the store: any object that is no `Change`."""


@final
class ChangeLog(Sequence[Change]):
    """The latest changes, oldest first, with consecutive versions.

    *decode* turns a change in the form of the store into a `Change`.
    """

    __slots__ = ("_decode", "_shared", "_start", "_stop")

    def __init__(
        self,
        changes: Iterable[Change | SerializedChange] = (),
        decode: Callable[[SerializedChange], Change] | None = None,
    ) -> None:
        self._shared = list(changes)
        self._start = 0
        self._stop = len(self._shared)
        self._decode = decode

    def extend(self, changes: Iterable[Change], *, max_length: int) -> ChangeLog:
        """Return a log with *changes* appended, without those beyond *max_length*."""
        log = ChangeLog.__new__(ChangeLog)
        shared, start = self._shared, self._start
        if self._stop < len(shared) or start > max_length // 4:
            shared, start = shared[start : self._stop], 0
        shared += changes
        log._shared, log._decode = shared, self._decode
        log._stop = len(shared)
        log._start = max(start, log._stop - max_length)
        return log

    def append(self, change: Change, *, max_length: int) -> ChangeLog:
        """Return a log with *change* appended, without those beyond *max_length*."""
        shared, start, stop = self._shared, self._start, self._stop
        if stop < len(shared) or start > max_length // 4:
            shared, start = shared[start:stop], 0
            stop = len(shared)
        shared.append(change)
        log = ChangeLog.__new__(ChangeLog)
        log._shared, log._decode, log._stop = shared, self._decode, stop + 1
        log._start = max(start, stop + 1 - max_length)
        return log

    @property
    def newest(self) -> Change:
        """The latest change; the log must not be empty."""
        return self._at(self._stop - 1)

    def since(self, v: int) -> Sequence[Change]:
        """Return the changes after version *v*; the oldest of them may be missing."""
        if self._start == self._stop:
            return ()
        start = max(self._start, self._stop - self.newest.v + v)
        return tuple(map(self._at, range(start, self._stop)))

    def __len__(self) -> int:
        """Return the number of changes."""
        return self._stop - self._start

    def __iter__(self) -> Iterator[Change]:
        """Iterate over the changes, oldest first."""
        return map(self._at, range(self._start, self._stop))

    @overload
    def __getitem__(self, index: int) -> Change: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Change, ...]: ...
    def __getitem__(self, index: int | slice) -> Change | tuple[Change, ...]:
        """Return the change at *index*, or a tuple of changes for a slice."""
        indexes = range(self._start, self._stop)
        if isinstance(index, slice):
            return tuple(map(self._at, indexes[index]))
        return self._at(indexes[index])

    def __eq__(self, other: object) -> bool:
        """Return whether both logs contain equal changes."""
        return isinstance(other, ChangeLog) and tuple(self) == tuple(other)

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return the changes as text."""
        return f"ChangeLog({list(self)!r})"

    def _at(self, index: int) -> Change:
        change = self._shared[index]
        if not isinstance(change, Change):
            assert self._decode is not None, "serialized changes need decode"
            change = self._shared[index] = self._decode(change)
        return change
