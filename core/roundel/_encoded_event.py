"""One event of a lane: made when it is needed, encoded once, shared by all readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, final

import attrs

from ._cursor import Cursor, Position
from ._errors import LocalProtocolError
from ._event import Event, encode_fields, encode_id

EventOrFactory: TypeAlias = Event | Callable[[], Event]
"""An event, or a function that makes it when the first reader needs it."""


@final
@attrs.frozen
class Delta:
    """An event that goes on from the offset its reader was told before, and says so.

    *make* makes it for that offset. Where no version is silent all readers come from
    the same one, and it is made once.
    """

    make: Callable[[int], Event]


@final
class EncodedEvent:
    """An event at its position, encoded once for all readers.

    An event is encoded here and now, so that one that cannot be written is refused
    to whom it is from, and not to each reader. A function is asked when needed.
    """

    __slots__ = ("_before", "_delta", "_fields", "_frame", "_make", "at", "time")

    def __init__(
        self, event: EventOrFactory | Delta, at: Position, time: float, before: int = 0
    ) -> None:
        self.at = at
        self.time = time
        self._make: Callable[[], Event] | None = None
        self._delta: Delta | None = None
        self._before = before
        self._frame = b""
        if isinstance(event, Event):
            self._encode(event)
        elif isinstance(event, Delta):
            self._delta = event
        else:
            self._make = event

    def rebased_on(self, told: Position | None) -> EncodedEvent:
        """Return the entry for a reader that was told *told* before it."""
        if self._delta is None or told is None or told.offset == self._before:
            return self
        return EncodedEvent(self._delta, self.at, self.time, told.offset)

    def _encode(self, event: Event) -> None:
        if event.id is not None:
            raise LocalProtocolError("id: expected none, since the history assigns it")
        fields = encode_fields(event)
        self._frame = b"%b%b\n" % (fields, encode_id(str(Cursor({"": self.at}))))
        self._fields = len(fields)

    @property
    def frame(self) -> bytes:
        """The bytes for a reader whose only lane is this one, id line included."""
        if not self._frame:
            self._encode(self._made())
            self._make = None
        return self._frame

    def _made(self) -> Event:
        if self._delta is not None:
            return self._delta.make(self._before)
        assert self._make is not None
        return self._make()

    def frame_at(self, cursor: Cursor) -> bytes:
        """Return the bytes for a reader of several lanes, who stands at *cursor*."""
        frame = self.frame
        return b"%b%b\n" % (frame[: self._fields], encode_id(str(cursor)))
