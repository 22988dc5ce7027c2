"""Runs a coroutine in the current task until it blocks, and notices that it does.

A coroutine blocks when it yields to the trio scheduler for the first time. Until then
it has run like a function call, and costs no task.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any


@types.coroutine
def run_inline(
    coroutine: Coroutine[Any, Any, object], on_block: Callable[[], None]
) -> Generator[Any, Any, bool]:
    """Run *coroutine*, call *on_block* when it first blocks; return whether it did."""
    step, has_blocked = coroutine.send, False
    value: Any = None
    while True:
        try:
            trap = step(value)
        except StopIteration:
            return has_blocked
        if not has_blocked:
            has_blocked = True
            on_block()
        # The scheduler's answer goes straight to the coroutine.
        try:
            value = yield trap
        except BaseException as error:
            step, value = coroutine.throw, error
        else:
            step = coroutine.send
