"""What `connect_sync()` returns: an iterator of events that any thread can close."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Generator
from typing import Self, final

from roundel import Event

from .cancellation import Cancellation


@final
class EventSource:
    """An iterator over the events of a URL, and a context manager that closes it.

    The iterator ends only by `close()`; its errors are those of `connect_sync()`. If
    several threads iterate, each event goes to one of them.
    """

    def __init__(
        self, events: Generator[Event, None, None], token: Cancellation
    ) -> None:
        self._events = events
        self._token = token
        # Reentrant for a callback or a signal handler that calls `close()`.
        self._turn = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        with self._turn:
            event = next(self._events)
        if self._token.is_cancelled:
            # `close()` could not close the generator while it was running.
            self.close()
            raise StopIteration
        return event

    def close(self) -> None:
        """End the iterator and its connection; callable from any thread, repeatedly.

        A loop in another thread ends at once if it waits for events, for a response or
        to reconnect. It ends with the step if it resolves a name, waits for the pool,
        connects, or waits for the response on a connection that another request of the
        client has opened. Callable from a callback, and from a signal handler.
        """
        self._token.cancel()
        if self._turn.acquire(blocking=False):
            try:
                # In a callback or a signal handler the generator may be running.
                if inspect.getgeneratorstate(self._events) != inspect.GEN_RUNNING:
                    self._events.close()
            finally:
                self._turn.release()
