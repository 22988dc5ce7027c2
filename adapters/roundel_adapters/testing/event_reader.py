"""The events of a response, parsed from its chunks."""

from __future__ import annotations

from collections import deque
from typing import final

import attrs

from roundel import Event, Parser


@final
@attrs.frozen(eq=False)
class EventReader:
    """Parses the chunks of an event stream, and keeps events until they are read."""

    _parser: Parser = attrs.field(factory=Parser, init=False)
    _events: deque[Event] = attrs.field(factory=deque, init=False)

    @property
    def retry(self) -> int | None:
        """The reconnection time that the stream set, in milliseconds."""
        return self._parser.retry

    @property
    def last_event_id(self) -> str:
        """The id that a reconnecting client presents."""
        return self._parser.last_event_id

    def receive_data(self, chunk: bytes) -> None:
        """Parse *chunk*."""
        self._events.extend(self._parser.receive_data(chunk))

    def next(self) -> Event | None:
        """Remove and return the oldest event, if there is one."""
        return self._events.popleft() if self._events else None

    def take_all(self) -> list[Event]:
        """Remove and return all events."""
        taken = list(self._events)
        self._events.clear()
        return taken
