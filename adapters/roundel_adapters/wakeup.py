"""The wakeup of drivers: in tasks of trio and asyncio, in threads, and in callbacks.

A driver asks its stream for data until there are none, and then sleeps. Another thread
can publish between the two. So each driver has a *waker*, which remembers a wake that
comes before the sleep.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from typing import Protocol, final

from .event_loop import EventLoop, current_event_loop


class Waker(Protocol):
    """A callback that makes a driver run again."""

    def wake(self) -> None:
        """Schedule the driver; calls before it runs count as one.

        It is called in the thread of `Wakeup.notify()`.
        """


@final
class Wakeup:
    """Wakes the drivers of one or more streams; it keeps no state between calls.

    `notify()` can be called in any thread, and harms no driver whose loop has ended.
    """

    __slots__ = ("wakers",)

    def __init__(self) -> None:
        self.wakers: set[Waker] = set()
        """The wakers to call at every `notify()`."""

    def notify(self) -> None:
        """Call every waker."""
        # A copy, in one step of the interpreter: other threads add wakers. `tuple()`
        # allocates between its steps, so that a finalizer could remove one.
        for waker in self.wakers.copy():
            waker.wake()

    @contextmanager
    def task_waker(self) -> Iterator[TaskWaker]:
        """Add a waker for the current task of trio or asyncio, within the block.

        Raises `RuntimeError` if no event loop runs.
        """
        loop = current_event_loop()
        if loop is None:
            raise RuntimeError("expected a running event loop, of trio or asyncio")
        waker = TaskWaker(loop)
        self.wakers.add(waker)
        try:
            yield waker
        finally:
            self.wakers.discard(waker)
            waker.close()

    @contextmanager
    def thread_waker(self) -> Iterator[ThreadWaker]:
        """Add a waker for the current thread, within the block."""
        waker = ThreadWaker()
        self.wakers.add(waker)
        try:
            yield waker
        finally:
            self.wakers.discard(waker)

    async def wait(self) -> None:
        """Wait in a task for the next `notify()`.

        A driver uses `task_waker()` instead if another thread may notify.
        """
        with self.task_waker() as waker:
            await waker.sleep()


@final
class TaskWaker:
    """Lets one task sleep until it is woken; a wake before the sleep counts, once."""

    __slots__ = ("_event", "_is_waking", "_loop", "_thread")

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._event = loop.new_event()
        self._is_waking = False

    def time(self) -> float:
        """Return the time of the event loop in seconds."""
        return self._loop.time()

    def wake(self) -> None:
        """Wake the task; any thread can call it."""
        if threading.get_ident() == self._thread and self._loop.is_current():
            self._event.set()
        elif not self._is_waking:
            # One callback at a time: a busy loop does not collect one per event.
            self._is_waking = True
            self._loop.call_soon(self._wake_in_loop)

    def _wake_in_loop(self) -> None:
        self._is_waking = False
        self._event.set()

    async def sleep(self, until: float = inf) -> None:
        """Sleep until a wake, or *until* a time of the loop."""
        await self._loop.wait(self._event, until=until)
        if self._event.is_set():
            self._event = self._event.cleared()

    def close(self) -> None:
        """Free the waker's timer; the task does not sleep any more."""
        self._event.close()


@final
class ThreadWaker:
    """Lets one thread sleep until it is woken; a wake before the sleep counts, once."""

    __slots__ = ("_no_wake",)

    def __init__(self) -> None:
        # Locked while there is no wake to take. A `threading.Event` has a lock of its
        # own: a signal handler or a finalizer that wakes would wait for its own thread.
        self._no_wake = threading.Lock()
        self._no_wake.acquire()

    def time(self) -> float:
        """Return the time of `time.monotonic()` in seconds."""
        return time.monotonic()

    def wake(self) -> None:
        """Wake the thread; threads, signal handlers and finalizers can call it."""
        # RuntimeError: there is a wake already.
        with suppress(RuntimeError):
            self._no_wake.release()

    def sleep(self, until: float = inf) -> None:
        """Sleep until a wake, or *until* a time of `time.monotonic()`."""
        timeout = min(max(until - self.time(), 0.0), threading.TIMEOUT_MAX)
        self._no_wake.acquire(timeout=timeout)
