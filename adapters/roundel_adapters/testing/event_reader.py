"""The events of a response, parsed from its chunks."""

from __future__ import annotations

from collections import deque
from typing import final

import attrs

from roundel import Event, Parser


@final
@attrs.define(eq=False)
class EventReader:
    """Parses the chunks of an event stream, and keeps events until they are read."""

    _parser: Parser = attrs.field(factory=Parser, init=False)
    _events: deque[Event] = attrs.field(factory=deque, init=False)
    _read_id: str = attrs.field(default="", init=False)

    @property
    def retry(self) -> int | None:
        """The reconnection time that the stream set, in milliseconds."""
        return self._parser.retry

    @property
    def last_event_id(self) -> str:
        """The id that a reconnecting client presents: of the last event it has read."""
        # A block can change the id without an event.
        return self._read_id if self._events else self._parser.last_event_id

    def receive_data(self, chunk: bytes) -> None:
        """Parse *chunk*."""
        self._events.extend(self._parser.receive_data(chunk))

    def next(self) -> Event | None:
        """Remove and return the oldest event, if there is one."""
        if not self._events:
            return None
        event = self._events.popleft()
        self._read_id = event.id or ""
        return event

    def take_all(self) -> list[Event]:
        """Remove and return all events."""
        return list(iter(self.next, None))
