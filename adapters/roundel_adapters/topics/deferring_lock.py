"""A lock whose holder can be interrupted by code that needs it too.

Python calls signal handlers and finalizers between any two steps of a thread, also
while that thread holds a lock. A plain lock would wait for ever, and a reentrant one
would let them change what the thread is changing. So they defer their change until the
thread has released the lock. A function that the holder calls does the same.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias, cast, final

Deferred: TypeAlias = Callable[[], Callable[[], object] | None]
"""A change to make with the lock, which returns what to call without it."""

_logger = logging.getLogger(__name__)


class _RLock(Protocol):
    def __enter__(self) -> object: ...
    def __exit__(self, *exc: object) -> object: ...

    # `threading.Condition` uses it. A variable for the owner would be wrong between
    # two steps, where a signal handler reads it.
    def _is_owned(self) -> bool: ...


@final
class DeferringLock:
    """A reentrant lock, and the changes to make after its release."""

    __slots__ = ("_deferred", "lock")

    lock: _RLock
    """The lock; call `run_deferred()` after each release."""

    def __init__(self) -> None:
        self.lock = cast(_RLock, threading.RLock())
        self._deferred: deque[Deferred] = deque()

    def is_interrupted(self) -> bool:
        """Return whether the current thread holds the lock already."""
        return self.lock._is_owned()

    def defer(self, change: Deferred) -> None:
        """Make *change* when the current thread has released the lock.

        An exception is logged, since the code that was interrupted has not caused it.
        """
        self._deferred.append(change)

    def run_deferred(self) -> None:
        """Make the changes in their order, unless the current thread holds the lock."""
        while self._deferred and not self.lock._is_owned():
            calls: list[Callable[[], object] | None] = []
            with self.lock:
                while self._deferred:
                    calls.append(_run(self._deferred.popleft()))
            for call in calls:
                if call:
                    call()

    def reset(self) -> None:
        """Release the lock in a forked process, whose other threads do not exist."""
        self.lock = cast(_RLock, threading.RLock())
        self._deferred.clear()


def _run(change: Deferred) -> Callable[[], object] | None:
    try:
        return change()
    except Exception:
        _logger.exception("a deferred change failed")
        return None
