"""One thread that runs the functions of the writer, one after the other.

The writing connection of SQLite belongs to this thread alone. A pool would hand each
commit to another thread, which costs a wake-up and cold caches.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar, final

import outcome
import trio

T = TypeVar("T")


@final
class WriterThread:
    """A thread that runs functions until `stop()`; it starts with the first one."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Return the result of *function*, which runs in the thread.

        A cancelled caller waits for the end of the function: a commit has no half.
        """
        task = trio.lowlevel.current_task()
        token = trio.lowlevel.current_trio_token()

        def job() -> None:
            result = outcome.capture(function, *arguments)
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)

        self._start()
        self._jobs.put(job)
        result: T = await trio.lowlevel.wait_task_rescheduled(_cannot_be_cancelled)
        return result

    def _start(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._work, name="roundel-sqlite", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def stop(self) -> None:
        """End the thread after the functions that were given to it, and wait for it."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None


def _cannot_be_cancelled(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
