"""Put an engine to the test: `check_engine()` is what every engine has to pass.

Each `Promise` is put to the test at a place of its own, and a test of your own can
check them one by one. All chance comes from a seed, which a `BrokenPromise` names;
how tasks take turns is up to trio and to the engine.
"""

from __future__ import annotations

from typing import Final

from . import claims, mailboxes
from . import concurrency as writers
from . import durability as restarts
from . import enumeration as walks
from . import notifications as listeners
from . import presence as attendance
from . import shared as nodes
from .check import BrokenPromise, Promise
from .environment import Kind, MakeEngine, Setup

__all__ = [
    "PROMISES",
    "BrokenPromise",
    "Kind",
    "MakeEngine",
    "Promise",
    "Setup",
    "check_engine",
]

_DURABLE: Final = Kind(is_durable=True)
_SHARED: Final = Kind(is_shared=True)

PROMISES: Final = (
    Promise(mailboxes.unwritten),
    Promise(mailboxes.lines),
    Promise(mailboxes.looks),
    Promise(mailboxes.operations),
    Promise(mailboxes.reducer),
    Promise(mailboxes.values),
    Promise(mailboxes.ring),
    Promise(mailboxes.refusals),
    Promise(mailboxes.batches),
    Promise(mailboxes.expiry),
    Promise(writers.concurrent),
    Promise(writers.op_ids),
    Promise(writers.repeats),
    Promise(writers.cancelled),
    Promise(claims.one_winner),
    Promise(claims.claimed_again),
    Promise(claims.claims_end),
    Promise(attendance.alone),
    Promise(attendance.attended, _SHARED),
    Promise(attendance.attended_again, _SHARED),
    Promise(attendance.attended_at_once, _SHARED),
    Promise(attendance.attendance_ends, _SHARED),
    Promise(walks.holders),
    Promise(walks.retracted),
    Promise(walks.users),
    Promise(walks.newcomers),
    Promise(listeners.told_here),
    Promise(listeners.told_truly),
    Promise(listeners.told_after),
    Promise(listeners.told_elsewhere, _SHARED),
    Promise(nodes.elsewhere, _SHARED),
    Promise(nodes.never_back),
    Promise(nodes.leaving, _SHARED),
    Promise(restarts.ended),
    Promise(restarts.restart, _DURABLE),
    Promise(restarts.crash, _DURABLE),
)
"""All that engines promise; some of it only those of a kind."""


async def check_engine(
    make_engine: MakeEngine,
    *,
    is_durable: bool = False,
    is_shared: bool = False,
    seed: int = 0,
    patience: float = 10.0,
) -> None:
    """Put all that an engine promises to the test.

    Raises an `ExceptionGroup` with a `BrokenPromise` for each that does not hold.

    Args:
        make_engine: Makes an engine, which is then run and in the end cancelled.
        is_durable: The next engine at a place finds what the one before acknowledged.
        is_shared: There may be several engines at a place at once.
        patience: How many seconds it may take until what has to come about has.
    """
    kind = Kind(is_durable=is_durable, is_shared=is_shared)
    broken: list[BrokenPromise] = []
    for promise in PROMISES:
        if promise.concerns(kind):
            try:
                await promise.check(
                    make_engine,
                    is_durable=is_durable,
                    is_shared=is_shared,
                    seed=seed,
                    patience=patience,
                )
            except BrokenPromise as error:
                broken.append(error)
    if broken:
        raise ExceptionGroup("the engine breaks its promises", broken)
