"""One event of a topic: encoded once and shared, or made for each subscriber."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias, final

import attrs

from ._cursor import Cursor, Position
from ._errors import LocalProtocolError
from ._event import Event, encode_fields, encode_id

EventOrFactory: TypeAlias = Event | Callable[[], Event]
"""An event, or a function that makes it when the first subscriber needs it."""


@final
@attrs.frozen
class Delta:
    """An event whose content depends on the offset that its subscriber had before.

    *make* makes it for that offset when it is sent. Subscribers with the same offset
    share it until the history changes, and then it is made again. So a replay has what
    *make* returns by then.
    """

    make: Callable[[int], Event]


@final
@attrs.define(eq=False, weakref_slot=False)
class EncodedEvent:
    """An event at its position, encoded once for all subscribers.

    An `Event` is encoded by the constructor, so that the publisher gets the error if it
    cannot be encoded. A factory is called when its bytes are needed; the *type* of the
    event is known after that. A `Delta` has no bytes before `rebased_on()`.
    """

    _source: EventOrFactory | Delta | None
    position: Position
    time: float
    _base_offset: int = 0
    _chunk: bytes = attrs.field(default=b"", init=False)
    _fields_size: int = attrs.field(init=False)
    type: str = attrs.field(init=False)
    size: int = attrs.field(default=0, init=False)
    """Bytes that count towards the bound of a history, which sets it."""

    def __attrs_post_init__(self) -> None:
        if isinstance(self._source, Event):
            self._encode(self._source)
            self._source = None

    @property
    def is_delta(self) -> bool:
        """Whether its content depends on the subscriber."""
        return isinstance(self._source, Delta)

    def rebased_on(self, previous: Position | None) -> EncodedEvent:
        """Return the event for a subscriber whose last position was *previous*."""
        delta = self._source
        if not isinstance(delta, Delta):
            return self
        offset = self._base_offset if previous is None else previous.offset
        return EncodedEvent(partial(delta.make, offset), self.position, self.time)

    def with_epoch(self, epoch: str) -> EncodedEvent:
        """Return the same event at the same offset of another epoch."""
        position = Position(epoch, self.position.offset)
        copy = EncodedEvent(self._source, position, self.time, self._base_offset)
        # The epoch stands once in the chunk, in its id. Without a bound the size is 0.
        copy.size = max(self.size + len(epoch) - len(self.position.epoch), 0)
        if self._chunk:
            copy._fields_size, copy.type = self._fields_size, self.type
            copy._chunk = self.chunk_with_cursor(Cursor({"": position}))
        return copy

    def _encode(self, event: Event) -> None:
        if event.id is not None:
            raise LocalProtocolError("id: expected none, since the history assigns it")
        fields = encode_fields(event)
        # The text of a cursor of one unnamed topic, without the cursor: a fifth of the
        # time of an event.
        self._chunk = b"%b%b\n" % (fields, encode_id(str(self.position)))
        self._fields_size = len(fields)
        # WHATWG HTML 9.2.6: an empty type is dispatched as "message".
        self.type = event.type or "message"

    @property
    def chunk(self) -> bytes:
        """The bytes for a subscriber of this topic alone, id line included."""
        if not self._chunk:
            assert callable(self._source)
            self._encode(self._source())
            self._source = None
        return self._chunk

    def chunk_with_cursor(self, cursor: Cursor) -> bytes:
        """Return the bytes for a subscriber of several topics, with *cursor* as id."""
        chunk = self.chunk
        return b"%b%b\n" % (chunk[: self._fields_size], encode_id(str(cursor)))
