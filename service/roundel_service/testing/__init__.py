"""The contract test of engines: every engine must pass `check_engine()`.

Each `Check` runs in a store of its own, and a test suite can run the checks one by one.
All random choices come from a seed, which a `ContractViolation` names. The scheduling
of tasks is up to trio and the engine.
"""

from __future__ import annotations

from typing import Final

from roundel_adapters import requires_extra

with requires_extra("service"):
    from . import (
        claims,
        concurrency,
        durability,
        enumeration,
        mailboxes,
        notifications,
        presence,
        secret,
        shared,
        topic_nodes,
        topics,
        waiting,
    )
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
    Check(waiting.waiting_items),
    Check(waiting.muted_names),
    Check(concurrency.concurrent_writes),
    Check(concurrency.repeated_op_ids),
    Check(concurrency.concurrent_op_ids),
    Check(concurrency.cancellation),
    Check(claims.concurrent_claims),
    Check(claims.repeated_claims),
    Check(claims.claim_expiry),
    Check(secret.secret),
    Check(presence.presence_of_one_node),
    Check(presence.presence_of_many_nodes, _SHARED),
    Check(presence.presence_updates, _SHARED),
    Check(presence.concurrent_presence, _SHARED),
    Check(presence.presence_expiry, _SHARED),
    Check(enumeration.holders),
    Check(enumeration.holders_after_retract),
    Check(enumeration.users),
    Check(enumeration.users_while_writing),
    Check(notifications.local_notifications),
    Check(notifications.notified_records),
    Check(notifications.notification_order),
    Check(notifications.remote_notifications, _SHARED),
    Check(shared.shared_reads, _SHARED),
    Check(shared.monotonic_reads),
    Check(shared.nodes_join_and_leave, _SHARED),
    Check(durability.stopped_engine),
    Check(durability.restart, _DURABLE),
    Check(durability.crash, _DURABLE),
    Check(topics.pulls),
    Check(topics.pulls_back),
    Check(topics.publish_and_peek),
    Check(topics.overflow_of_topics),
    Check(topics.subscriptions),
    Check(topics.due_topics),
    Check(topics.topic_epochs),
    Check(topics.names_of_topics),
    Check(topic_nodes.random_topics),
    Check(topic_nodes.pulls_once),
    Check(topic_nodes.topic_notifications),
    Check(topic_nodes.restart_with_topics, _DURABLE),
    Check(topic_nodes.crash_with_topics, _DURABLE),
)
"""All checks of the contract; some apply only to engines with certain traits."""


async def check_engine(
    make_engine: MakeEngine,
    *,
    is_durable: bool = False,
    is_shared: bool = False,
    seed: int = 0,
    wait_timeout: float = 10.0,
) -> None:
    """Run all checks that apply to the engine.

    Raises an `ExceptionGroup` with a `ContractViolation` for each failed check.

    Args:
        make_engine: Returns an engine; the check runs and cancels it.
        is_durable: Whether acknowledged writes survive the end of the engine.
        is_shared: Whether several engines can use a store at once.
        seed: Seed of all random choices.
        wait_timeout: Timeout in seconds for an expected event, such as a notification.
    """
    traits = EngineTraits(is_durable=is_durable, is_shared=is_shared)
    violations: list[ContractViolation] = []
    for check in CHECKS:
        if check.applies_to(traits):
            try:
                await check.run(
                    make_engine,
                    is_durable=is_durable,
                    is_shared=is_shared,
                    seed=seed,
                    wait_timeout=wait_timeout,
                )
            except ContractViolation as error:
                violations.append(error)
    if violations:
        raise ExceptionGroup("the engine violates its contract", violations)
