"""To notice that a coroutine waits, without a task of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, final


@final
class InlineCoroutine:
    """Runs a *coroutine* in the task that awaits this, and tells when it first waits.

    Most calls wait for nothing. Who has to hand its place on if one does need not do
    so before it: *waits* is called then, and `has_waited` tells it afterwards.
    """

    __slots__ = ("_coroutine", "_waits", "has_blocked")

    def __init__(
        self, coroutine: Coroutine[Any, Any, object], waits: Callable[[], None]
    ) -> None:
        self._coroutine = coroutine
        self._waits = waits
        self.has_blocked = False

    def __await__(self) -> Generator[Any, Any, None]:
        step = self._coroutine.send
        value: Any = None
        while True:
            try:
                asked = step(value)
            except StopIteration:
                return
            if not self.has_blocked:
                self.has_blocked = True
                self._waits()
            # What it asks of the scheduler, and is answered, is none of our business.
            try:
                value = yield asked
            except BaseException as error:
                step, value = self._coroutine.throw, error
            else:
                step = self._coroutine.send
