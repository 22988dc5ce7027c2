"""The latest changes of a mailbox: a value of which many versions share one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, final, overload

from .changes import Change

SerializedChange: TypeAlias = str
"""A change as it is stored."""

Make: TypeAlias = Callable[[SerializedChange], Change]


@final
class ChangeLog(Sequence[Change]):
    """The latest changes, oldest first, of versions that follow one another.

    A ring never changes: `extend()` returns another one, which shares what both have.
    What is given as rows is made into changes by *make* when somebody looks at it.
    """

    __slots__ = ("_make", "_shared", "_start", "_stop")

    def __init__(
        self,
        changes: Iterable[Change | SerializedChange] = (),
        make: Make | None = None,
    ) -> None:
        # This ring is a part of the list, which only grows: where this one ends last,
        # the next one adds to it, and so nothing is copied for a change.
        self._shared = list(changes)
        self._start = 0
        self._stop = len(self._shared)
        self._make = make

    def extend(self, changes: Iterable[Change], *, keep: int) -> ChangeLog:
        """Return the ring with *changes* behind it, of which it keeps that many."""
        ring = ChangeLog.__new__(ChangeLog)
        shared, start = self._shared, self._start
        # Others may have gone on from here before, and what is over must not pile up.
        if self._stop < len(shared) or start > keep // 4:
            shared, start = shared[start : self._stop], 0
        shared += changes
        ring._shared, ring._make = shared, self._make
        ring._stop = len(shared)
        ring._start = max(start, ring._stop - keep)
        return ring

    @property
    def newest(self) -> Change:
        """The last one; there has to be one."""
        return self._at(self._stop - 1)

    def since(self, v: int) -> Sequence[Change]:
        """Return those of later versions than *v*; with a hole, if it is too old."""
        if self._start == self._stop:
            return ()
        start = max(self._start, self._stop - self.newest.v + v)
        return tuple(map(self._at, range(start, self._stop)))

    def __len__(self) -> int:
        """Return how many there are."""
        return self._stop - self._start

    def __iter__(self) -> Iterator[Change]:
        """Go through them, oldest first."""
        return map(self._at, range(self._start, self._stop))

    @overload
    def __getitem__(self, place: int) -> Change: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Change, ...]: ...
    def __getitem__(self, place: int | slice) -> Change | tuple[Change, ...]:
        """Return the one at *place*, or those of a part."""
        places = range(self._start, self._stop)
        if isinstance(place, slice):
            return tuple(map(self._at, places[place]))
        return self._at(places[place])

    def __eq__(self, other: object) -> bool:
        """Tell whether the changes of both are equal."""
        return isinstance(other, ChangeLog) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show the changes."""
        return f"Ring({list(self)!r})"

    def _at(self, index: int) -> Change:
        found = self._shared[index]
        if isinstance(found, SerializedChange):
            assert self._make is not None, "rows were given without a maker"
            found = self._shared[index] = self._make(found)
        return found
