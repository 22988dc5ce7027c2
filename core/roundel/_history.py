"""The history of one topic: a bounded ring of events, and a snapshot.

A subscriber is a position: an epoch and an offset. Replay after a reconnect, live
delivery, a slow subscriber and an overrun ring are one question, "which events come
after this position?", and `History.since()` answers it. The answer is the exact list
of events or, if some are gone, the snapshot and the events after it; its outcome says
which. A position is one of

- the head: nothing is missing;
- inside the ring: the events after it are replayed;
- below the ring, or none at all: the snapshot is sent, or the ring's start;
- of another epoch or above the head: the snapshot is sent, and the subscriber has to
  discard what it has.

Invariants: offsets rise, and may skip numbers. The ring holds every event above
`_evicted_offset`; no event is above `_last_event_offset`; the head may be above both
after `advance()`. The snapshot is of its own position, and can be used if that is not
below `_evicted_offset`.

Cost: a live subscriber misses one event, which `single_event_after()` finds in O(1)
and caches, because live subscribers share one position. `since()` is O(events that
are missing). `append()` is O(1) amortised until the ring is full; from then on each
append shifts the ring, O(capacity) of one `memmove`.
"""

from __future__ import annotations

from math import inf
from typing import Literal, TypeAlias, final

import attrs

from ._cursor import MAX_OFFSET, Position, check_name
from ._encoded_event import Delta, EncodedEvent, EventOrFactory
from ._errors import LocalProtocolError
from ._event import Event

ResumeOutcome: TypeAlias = Literal["current", "replayed", "snapshot", "reset"]
"""How a subscriber is resumed, from "nothing is missing" to "discard everything"."""


@final
@attrs.frozen
class Replay:
    """The answer of `History.since()`: an *outcome*, and *events* to send in order.

    *position* is the subscriber's position after them. *is_contiguous* is true if the
    events are exactly the missing ones, and false if a snapshot replaces some. If the
    *outcome* is ``"snapshot"`` or ``"reset"`` and there are no *events*, there is no
    usable snapshot.
    """

    outcome: ResumeOutcome
    events: tuple[EncodedEvent, ...]
    position: Position
    is_contiguous: bool


@final
class History:
    """The bounded history of one topic, for any number of subscribers.

    Args:
        epoch: Names one unbroken sequence of offsets; 1 to 32 of ``A-Z a-z 0-9 _ -``.
            Use a new epoch whenever continuity cannot be proved.
        offset: The first position's offset.
        snapshot: The state at that offset, if there is one.
        start: An event that stands before the ring if there is no usable snapshot, as
            in a log. A subscriber that is new, or that missed too much, gets it and
            then every event in the ring.
        capacity: The most events in the ring. With 0 the newest event is the snapshot:
            each subscriber gets the newest state, and no gap is reported.
        max_bytes: The most bytes of encoded events in the ring; `None` for no bound.
            With a bound, `append()` calls an event's factory at once.
        retention: Seconds for which an event can be replayed.
    """

    __slots__ = (
        "_bytes", "_cached_event", "_cached_position", "_capacity", "_evicted_offset",
        "_last_event_offset", "_made_deltas", "_max_bytes", "_retention", "_ring",
        "_snapshot", "_start", "head",
    )  # fmt: skip

    head: Position
    """The position of a subscriber that misses nothing."""

    def __init__(
        self,
        epoch: str,
        *,
        offset: int = 0,
        snapshot: EventOrFactory | None = None,
        start: Event | None = None,
        capacity: int = 256,
        max_bytes: int | None = None,
        retention: float = inf,
    ) -> None:
        if capacity < 0 or (max_bytes is not None and max_bytes < 0) or retention < 0:
            raise LocalProtocolError("expected bounds of 0 or more")
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._retention = retention
        self._start = start
        self._start_epoch(epoch, offset, snapshot)

    def _start_epoch(
        self, epoch: str, offset: int, snapshot: EventOrFactory | None
    ) -> None:
        head = Position(check_name(epoch, "epoch"), _check_offset(offset, 0))
        self._snapshot = None if snapshot is None else EncodedEvent(snapshot, head, inf)
        self.head = head
        self._cached_position: Position | None = None
        self._made_deltas: dict[tuple[int, int], EncodedEvent] | None = None
        self._evicted_offset = self._last_event_offset = offset
        self._bytes = 0
        self._ring: list[EncodedEvent] | None = None
        self._usable_snapshot()  # Raises now if *start* cannot be encoded.

    def reset(
        self, epoch: str, *, offset: int = 0, snapshot: EventOrFactory | None = None
    ) -> None:
        """Start another epoch: subscribers of the old one get outcome ``"reset"``.

        *epoch* may not be longer than the one before, because running streams have
        checked that the old one fits into their cursors.
        """
        self._check_next_epoch(epoch)
        self._start_epoch(epoch, offset, snapshot)

    def continue_as(self, epoch: str) -> None:
        """Start another epoch with the same events, snapshot and offsets.

        This is for a copy, such as the history in a forked process: the copies will
        have different events at the same offsets. Subscribers of the old epoch get
        outcome ``"reset"``. *epoch* may not be longer than the one before.
        """
        self._check_next_epoch(epoch)
        self._move_head(Position(check_name(epoch, "epoch"), self.head.offset), None)
        if self._snapshot is not None:
            self._snapshot = self._snapshot.with_epoch(epoch)
        if self._ring is not None:
            self._ring = [event.with_epoch(epoch) for event in self._ring]
            self._bytes = sum(event.size for event in self._ring)

    def _check_next_epoch(self, epoch: str) -> None:
        if epoch == self.head.epoch or len(epoch) > len(self.head.epoch):
            raise LocalProtocolError(
                f"epoch: expected another, no longer than {self.head.epoch!r}, "
                f"got {epoch!r}"
            )

    def append(
        self,
        event: EventOrFactory | Delta,
        *,
        now: float | None = None,
        offset: int | None = None,
        snapshot: EventOrFactory | None = None,
    ) -> Position:
        """Add *event* and return its position.

        *now* is needed only with a *retention*. So a callback can append without the
        clock of an event loop.

        *offset* defaults to the head's offset + 1 and may not be below that.
        *snapshot* is the state right after the event. Without one the last snapshot
        stays in use, together with the events after it.
        """
        if now is None:
            now = self._time_without_clock()
        position = self._next_position(offset)
        encoded = EncodedEvent(event, position, now, self._last_event_offset)
        if self._max_bytes is not None:
            # The size of a delta stays as it is now, so that the sum is right.
            encoded.size = len(encoded.rebased_on(None).chunk)
        self._move_head(position, snapshot)
        self._last_event_offset = position.offset
        if self._capacity == 0:
            self._evicted_offset = position.offset
            self._snapshot = encoded if snapshot is None else self._snapshot
            return position
        if self._ring is None:
            self._ring = []
        self._ring.append(encoded)
        self._bytes += encoded.size
        self._evict(now)
        return position

    def advance(
        self, *, offset: int | None = None, snapshot: EventOrFactory | None = None
    ) -> Position:
        """Move the head without an event, for a change that no subscriber needs.

        Running streams send nothing. A subscriber that connects with an older position
        is resumed as if it had missed an event.
        """
        self._move_head(self._next_position(offset), snapshot)
        return self.head

    def skip_to_snapshot(
        self, snapshot: EventOrFactory, *, offset: int | None = None
    ) -> Position:
        """Move the head over events that are not available, to a *snapshot*.

        Each subscriber with an older position gets the snapshot, also in a running
        stream.
        """
        self._move_head(self._next_position(offset), snapshot)
        self._last_event_offset = self._evicted_offset = self.head.offset
        self._bytes, self._ring = 0, None
        return self.head

    def _time_without_clock(self) -> float:
        if self._retention != inf:
            raise LocalProtocolError("now: expected a time, which retention needs")
        return 0.0

    def _next_position(self, offset: int | None) -> Position:
        least = self.head.offset + 1
        offset = _check_offset(least if offset is None else offset, least)
        return Position(self.head.epoch, offset)

    def _move_head(self, head: Position, snapshot: EventOrFactory | None) -> None:
        if snapshot is not None:
            self._snapshot = EncodedEvent(snapshot, head, inf)
        self.head = head
        self._cached_position = None
        # A delta may have other content after a change.
        self._made_deltas = None

    def contains(self, position: Position) -> bool:
        """Return whether *position* is of this epoch and not above the head."""
        head = self.head
        return position.epoch == head.epoch and position.offset <= head.offset

    def has_events_after(self, position: Position | None) -> bool:
        """Return whether a running stream at *position* has anything to send."""
        return (
            position is None
            or position.offset < self._last_event_offset
            or not self.contains(position)
        )

    def single_event_after(
        self, position: Position
    ) -> tuple[bytes, Position, tuple[str, ...]] | None:
        """Return chunk, position and type of the missing event, if it is exactly one.

        It is the answer of `since()` for a live subscriber, at a lower cost. `None`
        means "call `since()`": none, several or lost events.
        """
        # Streams that have sent the same event hold the same position object, and those
        # that resumed at the same one hold an equal one.
        if position is not self._cached_position and position != self._cached_position:
            self._cached_event = None
            if event := self._single_encoded_event(position):
                event = self.rebased(event, position)
                self._cached_event = event.chunk, event.position, (event.type,)
            self._cached_position = position
        return self._cached_event

    def rebased(self, event: EncodedEvent, previous: Position | None) -> EncodedEvent:
        """Return *event* for a subscriber whose last position was *previous*.

        Until the next change, subscribers with one previous position share a delta.
        """
        if not event.is_delta:
            return event
        if self._made_deltas is None:
            self._made_deltas = {}
        key = event.position.offset, -1 if previous is None else previous.offset
        made = self._made_deltas.get(key)
        if made is None:
            made = self._made_deltas[key] = event.rebased_on(previous)
        return made

    def _single_encoded_event(self, position: Position) -> EncodedEvent | None:
        if self._retention != inf or not self.contains(position):
            return None
        if position.offset >= self._last_event_offset:
            return None
        if self._capacity == 0:
            return self._usable_snapshot()
        ring = self._ring
        if not ring or position.offset < self._evicted_offset:
            return None
        is_single = len(ring) == 1 or ring[-2].position.offset <= position.offset
        return ring[-1] if is_single else None

    def since(self, position: Position | None, *, now: float) -> Replay:
        """Return what a subscriber at *position* misses; `None` is a new subscriber.

        The outcome is

        - ``"current"``: nothing is missing;
        - ``"replayed"``: exactly the missing events follow. With capacity 0 that is the
          snapshot, since no event before it matters;
        - ``"snapshot"``: the subscriber is new, or events are gone from the ring;
        - ``"reset"``: the position is of another epoch or above the head.
        """
        self._evict(now)
        if position is None:
            return self._snapshot_replay("snapshot")
        if not self.contains(position):
            return self._snapshot_replay("reset")
        if position.offset == self.head.offset:
            return Replay("current", (), self.head, is_contiguous=True)
        if self._capacity == 0:
            return self._snapshot_replay("replayed")
        if position.offset < self._evicted_offset:
            return self._snapshot_replay("snapshot")
        events = self._events_after(position.offset)
        # Without an event the position stays, even if the head advanced.
        last = events[-1].position if events else position
        return Replay("replayed", events, last, is_contiguous=True)

    def _snapshot_replay(self, outcome: ResumeOutcome) -> Replay:
        snapshot = self._usable_snapshot()
        if snapshot is None:
            return Replay(outcome, (), self.head, is_contiguous=False)
        events = (snapshot, *self._events_after(snapshot.position.offset))
        return Replay(outcome, events, events[-1].position, is_contiguous=False)

    def _usable_snapshot(self) -> EncodedEvent | None:
        snapshot = self._snapshot
        if snapshot is not None and snapshot.position.offset >= self._evicted_offset:
            return snapshot
        if self._start is None:
            return None
        before_ring = Position(self.head.epoch, self._evicted_offset)
        return EncodedEvent(self._start, before_ring, inf)

    def _events_after(self, offset: int) -> tuple[EncodedEvent, ...]:
        # From the end: most subscribers miss few events.
        ring = self._ring or []
        start = len(ring)
        while start and ring[start - 1].position.offset > offset:
            start -= 1
        return tuple(ring[start:])

    def _evict(self, now: float) -> None:
        # Most rings hold one or two events; an empty deque takes the memory of 64.
        ring, count = self._ring or [], 0
        while count < len(ring) and (
            len(ring) - count > self._capacity
            or (self._max_bytes is not None and self._bytes > self._max_bytes)
            or ring[count].time + self._retention <= now
        ):
            self._bytes -= ring[count].size
            count += 1
        if count:
            self._evicted_offset = ring[count - 1].position.offset
            del ring[:count]


def _check_offset(offset: int, least: int) -> int:
    if not least <= offset <= MAX_OFFSET:
        raise LocalProtocolError(
            f"offset: expected {least} to {MAX_OFFSET}, got {offset}"
        )
    return offset
