"""Put an engine to the test: `check_engine()` is what every engine has to pass.

Each `Promise` is put to the test at a place of its own, and a test of your own can
check them one by one. All chance comes from a seed, which a `ContractViolation` names;
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
from .check import Check, ContractViolation
from .environment import EngineTraits, MakeEngine, Setup

__all__ = [
    "CHECKS",
    "Check",
    "ContractViolation",
    "EngineTraits",
    "MakeEngine",
    "Setup",
    "check_engine",
]

_DURABLE: Final = EngineTraits(is_durable=True)
_SHARED: Final = EngineTraits(is_shared=True)

CHECKS: Final = (
    Check(mailboxes.unwritten),
    Check(mailboxes.lines),
    Check(mailboxes.looks),
    Check(mailboxes.operations),
    Check(mailboxes.reducer),
    Check(mailboxes.values),
    Check(mailboxes.ring),
    Check(mailboxes.refusals),
    Check(mailboxes.batches),
    Check(mailboxes.expiry),
    Check(writers.concurrent),
    Check(writers.op_ids),
    Check(writers.repeats),
    Check(writers.cancelled),
    Check(claims.one_winner),
    Check(claims.claimed_again),
    Check(claims.claims_end),
    Check(attendance.alone),
    Check(attendance.attended, _SHARED),
    Check(attendance.attended_again, _SHARED),
    Check(attendance.attended_at_once, _SHARED),
    Check(attendance.attendance_ends, _SHARED),
    Check(walks.holders),
    Check(walks.retracted),
    Check(walks.users),
    Check(walks.newcomers),
    Check(listeners.told_here),
    Check(listeners.told_truly),
    Check(listeners.told_after),
    Check(listeners.told_elsewhere, _SHARED),
    Check(nodes.elsewhere, _SHARED),
    Check(nodes.never_back),
    Check(nodes.leaving, _SHARED),
    Check(restarts.ended),
    Check(restarts.restart, _DURABLE),
    Check(restarts.crash, _DURABLE),
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

    Raises an `ExceptionGroup` with a `ContractViolation` for each that does not hold.

    Args:
        make_engine: Makes an engine, which is then run and in the end cancelled.
        is_durable: The next engine at a place finds what the one before acknowledged.
        is_shared: There may be several engines at a place at once.
        patience: How many seconds it may take until what has to come about has.
    """
    kind = EngineTraits(is_durable=is_durable, is_shared=is_shared)
    broken: list[ContractViolation] = []
    for promise in CHECKS:
        if promise.concerns(kind):
            try:
                await promise.check(
                    make_engine,
                    is_durable=is_durable,
                    is_shared=is_shared,
                    seed=seed,
                    patience=patience,
                )
            except ContractViolation as error:
                broken.append(error)
    if broken:
        raise ExceptionGroup("the engine breaks its promises", broken)
