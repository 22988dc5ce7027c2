"""One lane: a bounded ring of events and the snapshot that stands in for the rest.

A reader is a position, and `since()` is all there is to reading. Replay after a
reconnect, live delivery, a slow reader and an overrun ring are the same question,
"what comes after this position?", and the answer is either the exact events or, if
they are gone, the snapshot and the events after it. There is no third one, and the
reader is told which it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Literal, TypeAlias, final

import attrs

from ._cursor import MAX_OFFSET, Position, check_name
from ._encoded_event import Delta, EncodedEvent, EventOrFactory
from ._errors import LocalProtocolError

ResumeOutcome: TypeAlias = Literal["current", "replayed", "snapshot", "reset"]
"""What a reader is answered with, from "nothing is missing" to "forget everything"."""


@final
@attrs.frozen
class Replay:
    """What `History.since()` answers: the *outcome*, and *entries* to send in order.

    After them the reader stands at *position*. They are *exact* if they are just
    what the reader missed, and stand in for it otherwise. An outcome of
    ``"snapshot"`` or ``"reset"`` without entries says that nothing could.
    """

    outcome: ResumeOutcome
    entries: tuple[EncodedEvent, ...]
    position: Position
    is_contiguous: bool


@final
class History:
    """The bounded history of one lane, which any number of readers follow.

    Args:
        epoch: Names the unbroken line that the offsets count; 1 to 32 of
            ``A-Z a-z 0-9 _ -``. Mint another whenever continuity is in doubt.
        offset: Where the line stands at the start.
        snapshot: The state at that offset, if there is one.
        capacity: How many events the ring keeps. With 0 it keeps none and the
            newest event is the state: the latest wins, and no reader ever misses it.
        max_bytes: How many bytes of encoded events the ring keeps; unbounded if
            ``None``. A function is then asked when it is appended.
        retention: For how many seconds an event can be replayed.
    """

    __slots__ = (
        "_asked", "_bytes", "_capacity", "_floor", "_max_bytes", "_newest",
        "_retention", "_ring", "_snapshot", "_sole", "head",
    )  # fmt: skip

    head: Position
    """Where a reader stands that has everything."""

    def __init__(
        self,
        epoch: str,
        *,
        offset: int = 0,
        snapshot: EventOrFactory | None = None,
        capacity: int = 256,
        max_bytes: int | None = None,
        retention: float = inf,
    ) -> None:
        if capacity < 0 or (max_bytes is not None and max_bytes < 0) or retention < 0:
            raise LocalProtocolError("expected bounds of 0 or more")
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._retention = retention
        self._start_epoch(epoch, offset, snapshot)

    def _start_epoch(
        self, epoch: str, offset: int, snapshot: EventOrFactory | None
    ) -> None:
        head = Position(check_name(epoch, "epoch"), _checked(offset, 0))
        self._snapshot = None if snapshot is None else EncodedEvent(snapshot, head, inf)
        self.head = head
        self._asked: Position | None = None
        self._floor = self._newest = offset
        self._bytes = 0
        self._ring: list[EncodedEvent] | None = None

    def reset(
        self, epoch: str, *, offset: int = 0, snapshot: EventOrFactory | None = None
    ) -> None:
        """Begin a new line: readers of the old one are told to forget it.

        *epoch* may not be longer than the one before, since running streams have
        reserved room for it in their cursors.
        """
        if epoch == self.head.epoch or len(epoch) > len(self.head.epoch):
            raise LocalProtocolError(
                f"epoch: expected another, no longer than {self.head.epoch!r}, "
                f"got {epoch!r}"
            )
        self._start_epoch(epoch, offset, snapshot)

    def append(
        self,
        event: EventOrFactory | Delta,
        *,
        now: float,
        offset: int | None = None,
        snapshot: EventOrFactory | None = None,
    ) -> Position:
        """Add *event* and return its position.

        *offset* is the next one if it is not given, and must be above the head
        otherwise. *snapshot* is the state right after the event; the one before
        stays in use, with the events after it, until a new one comes.
        """
        entry = EncodedEvent(event, self._next(offset), now, self._newest)
        size = 0 if self._max_bytes is None else len(entry.frame)
        self._move(entry.at, snapshot)
        self._newest = entry.at.offset
        if self._capacity == 0:
            self._floor = self._newest
            self._snapshot = entry if snapshot is None else self._snapshot
            return self.head
        if self._ring is None:
            self._ring = []
        self._ring.append(entry)
        self._bytes += size
        self._trim(now)
        return self.head

    def advance(
        self, *, offset: int | None = None, snapshot: EventOrFactory | None = None
    ) -> Position:
        """Move the head without an event: a change that no reader here need see.

        Running streams stay silent. A reader that connects from before it is
        answered as one that missed something.
        """
        self._move(self._next(offset), snapshot)
        return self.head

    def skip_to_snapshot(
        self, snapshot: EventOrFactory, *, offset: int | None = None
    ) -> Position:
        """Move the head over events that nobody here has, to the state behind them.

        Every reader from before it is told the *snapshot*, a running one too.
        """
        self._move(self._next(offset), snapshot)
        self._newest = self._floor = self.head.offset
        self._bytes, self._ring = 0, None
        return self.head

    def _next(self, offset: int | None) -> Position:
        floor = self.head.offset + 1
        return Position(
            self.head.epoch, _checked(floor if offset is None else offset, floor)
        )

    def _move(self, head: Position, snapshot: EventOrFactory | None) -> None:
        if snapshot is not None:
            self._snapshot = EncodedEvent(snapshot, head, inf)
        self.head = head
        self._asked = None

    def contains(self, position: Position) -> bool:
        """Tell whether *position* is one of this line, gone from the ring or not."""
        head = self.head
        return position.epoch == head.epoch and position.offset <= head.offset

    def has_events_after(self, position: Position | None) -> bool:
        """Tell whether a running reader at *position* has anything to be told."""
        return (
            position is None
            or position.offset < self._newest
            or not self.contains(position)
        )

    def single_event_after(self, position: Position) -> tuple[bytes, Position] | None:
        """Return what a running reader at *position* misses, if it is one event.

        That is its bytes, and where the reader stands behind it: what `since()`
        answers then, for less, since this is the step of every live reader at every
        event. `None` says nothing at all; ask `since()`.
        """
        # All who have been told the same stand at one and the same position, and are
        # told the same again: so the last answer is the next one too.
        if position is not self._asked:
            entry = self._single_encoded_event(position)
            self._sole = entry and (entry.rebased_on(position).frame, entry.at)
            self._asked = position
        return self._sole

    def _single_encoded_event(self, position: Position) -> EncodedEvent | None:
        ring = self._ring
        if self._retention != inf or not self.contains(position):
            return None
        if position.offset >= self._newest:
            return None
        if self._capacity == 0:
            snapshot = self._snapshot
            return snapshot if snapshot and snapshot.at.offset >= self._floor else None
        if not ring or position.offset < self._floor:
            return None
        is_sole = len(ring) == 1 or ring[-2].at.offset <= position.offset
        return ring[-1] if is_sole else None

    def since(self, position: Position | None, *, now: float) -> Replay:
        """Answer a reader that stands at *position*, or nowhere (``None``).

        The answer is the exact suffix (``"replayed"``, or ``"current"`` if nothing
        is missing), or else what stands in for it: ``"snapshot"`` for a new reader
        or one that fell off the ring, ``"reset"`` for a position of another epoch
        or beyond the head. With capacity 0 the state is all there ever was to tell,
        so that a late reader is ``"replayed"`` it.
        """
        self._trim(now)
        if position is None:
            return self._snapshot_replay("snapshot")
        if not self.contains(position):
            return self._snapshot_replay("reset")
        if position.offset == self.head.offset:
            return Replay("current", (), self.head, is_contiguous=True)
        if self._capacity == 0:
            return self._snapshot_replay("replayed")
        if position.offset < self._floor:
            return self._snapshot_replay("snapshot")
        entries = self._after(position.offset)
        # Where nothing newer was told, the reader stands where it stood: the head may
        # have moved on in silence.
        told = entries[-1].at if entries else position
        return Replay("replayed", entries, told, is_contiguous=True)

    def _snapshot_replay(self, outcome: ResumeOutcome) -> Replay:
        snapshot = self._snapshot
        if snapshot is None or snapshot.at.offset < self._floor:
            return Replay(outcome, (), self.head, is_contiguous=False)
        entries = (snapshot, *self._after(snapshot.at.offset))
        return Replay(outcome, entries, entries[-1].at, is_contiguous=False)

    def _after(self, offset: int) -> tuple[EncodedEvent, ...]:
        # From the right: a live reader misses one event, not the whole ring.
        return tuple(self._newer_than(offset))[::-1]

    def _newer_than(self, offset: int) -> Iterator[EncodedEvent]:
        for entry in reversed(self._ring or ()):
            if entry.at.offset <= offset:
                return
            yield entry

    def _trim(self, now: float) -> None:
        # Cut at once, which takes as long as to cut one. A deque would cut one in no
        # time, and takes the memory of 64 where most rings hold one or two.
        ring, gone = self._ring or [], 0
        while gone < len(ring) and (
            len(ring) - gone > self._capacity
            or (self._max_bytes is not None and self._bytes > self._max_bytes)
            or ring[gone].time + self._retention <= now
        ):
            if self._max_bytes is not None:
                self._bytes -= len(ring[gone].frame)
            gone += 1
        if gone:
            self._floor = ring[gone - 1].at.offset
            del ring[:gone]


def _checked(offset: int, floor: int) -> int:
    if not floor <= offset <= MAX_OFFSET:
        raise LocalProtocolError(
            f"offset: expected {floor} to {MAX_OFFSET}, got {offset}"
        )
    return offset
