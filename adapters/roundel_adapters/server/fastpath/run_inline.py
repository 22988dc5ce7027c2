"""Runs a coroutine in the current task until it blocks, and notices that it does.

A coroutine blocks when it yields to the trio scheduler for the first time. Until then
it has run like a function call, and costs no task.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, final


@final
class InlineCoroutine:
    """An awaitable that runs *coroutine*, and calls *on_block* when it first blocks."""

    __slots__ = ("_coroutine", "_on_block", "has_blocked")

    def __init__(
        self, coroutine: Coroutine[Any, Any, object], on_block: Callable[[], None]
    ) -> None:
        self._coroutine = coroutine
        self._on_block = on_block
        self.has_blocked = False

    def __await__(self) -> Generator[Any, Any, None]:
        step = self._coroutine.send
        value: Any = None
        while True:
            try:
                trap = step(value)
            except StopIteration:
                return
            if not self.has_blocked:
                self.has_blocked = True
                self._on_block()
            # The scheduler's answer goes straight to the coroutine.
            try:
                value = yield trap
            except BaseException as error:
                step, value = self._coroutine.throw, error
            else:
                step = self._coroutine.send
