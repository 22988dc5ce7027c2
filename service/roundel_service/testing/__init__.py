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
    Check(mailboxes.unwritten_mailbox),
    Check(mailboxes.unique_epochs),
    Check(mailboxes.reads_without_effect),
    Check(mailboxes.operations),
    Check(mailboxes.random_operations),
    Check(mailboxes.values),
    Check(mailboxes.change_log_bound),
    Check(mailboxes.rejections),
    Check(mailboxes.batches),
    Check(mailboxes.expiry),
    Check(writers.concurrent_writes),
    Check(writers.repeated_op_ids),
    Check(writers.concurrent_op_ids),
    Check(writers.cancellation),
    Check(claims.concurrent_claims),
    Check(claims.repeated_claims),
    Check(claims.claim_expiry),
    Check(attendance.presence_of_one_node),
    Check(attendance.presence_of_many_nodes, _SHARED),
    Check(attendance.presence_updates, _SHARED),
    Check(attendance.concurrent_presence, _SHARED),
    Check(attendance.presence_expiry, _SHARED),
    Check(walks.holders),
    Check(walks.holders_after_retract),
    Check(walks.users),
    Check(walks.users_while_writing),
    Check(listeners.local_notifications),
    Check(listeners.notified_records),
    Check(listeners.notification_order),
    Check(listeners.remote_notifications, _SHARED),
    Check(nodes.shared_reads, _SHARED),
    Check(nodes.monotonic_reads),
    Check(nodes.nodes_join_and_leave, _SHARED),
    Check(restarts.stopped_engine),
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
    wait_timeout: float = 10.0,
) -> None:
    """Put all that an engine promises to the test.

    Raises an `ExceptionGroup` with a `ContractViolation` for each that does not hold.

    Args:
        make_engine: Makes an engine, which is then run and in the end cancelled.
        is_durable: The next engine at a place finds what the one before acknowledged.
        is_shared: There may be several engines at a place at once.
        wait_timeout: How many seconds it may take until what has to come about has.
    """
    kind = EngineTraits(is_durable=is_durable, is_shared=is_shared)
    broken: list[ContractViolation] = []
    for promise in CHECKS:
        if promise.applies_to(kind):
            try:
                await promise.run(
                    make_engine,
                    is_durable=is_durable,
                    is_shared=is_shared,
                    seed=seed,
                    wait_timeout=wait_timeout,
                )
            except ContractViolation as error:
                broken.append(error)
    if broken:
        raise ExceptionGroup("the engine breaks its promises", broken)
