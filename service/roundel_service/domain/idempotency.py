"""Results of operations by their ids, so that a repetition changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from msgspec import Struct

from .badge import Badge
from .operations import Notify, Operation, UserOps, VersionOperation
from .revocation import RETENTION

MAX_OP_IDS = 1_000
"""Maximum of remembered operation ids, for producers and for users separately."""


@final
class IdempotentResult(Struct, frozen=True, gc=False, kw_only=True):
    """The first result of an operation id, and its time in seconds since 1970.

    *digest* is that of the operation, if it has one.
    """

    badge: Badge
    time: float
    item: str | None = None
    digest: str = ""


def find_result(
    results: Mapping[str, IdempotentResult],
    operation: Operation | VersionOperation,
    now: float,
) -> IdempotentResult | None:
    """Return the remembered result of the id of *operation*, if it has one."""
    if not results or (key := _key_of(operation)) is None:
        return None
    result = results.get(key)
    return result if result is not None and result.time > now - RETENTION else None


def with_result(
    results: Mapping[str, IdempotentResult],
    operation: Operation | VersionOperation,
    *,
    badge: Badge,
    item: str | None,
    now: float,
) -> Mapping[str, IdempotentResult]:
    """Return *results* with that of *operation*, or as they are if it has no id."""
    if (key := _key_of(operation)) is None:
        return results
    kept = _pruned(results, operation.by, now)
    kept[key] = IdempotentResult(
        badge=badge, time=now, item=item, digest=digest_of(operation)
    )
    return kept


def digest_of(operation: Operation | VersionOperation) -> str:
    """Return the digest that distinguishes operations with the same id."""
    # The service compares the bodies of notifications itself, for many users at once.
    return operation.digest if isinstance(operation, UserOps) else ""


def _key_of(operation: Operation | VersionOperation) -> str | None:
    """Return the key of the operation's result; producers and users share no keys."""
    if not isinstance(operation, (Notify, UserOps)) or operation.op_id is None:
        return None
    return f"{operation.by} {operation.op_id}"


def _pruned(
    results: Mapping[str, IdempotentResult], by: str, now: float
) -> dict[str, IdempotentResult]:
    """Return a copy without old results and with room for one more result of *by*."""
    kept = dict(results)
    oldest = now - RETENTION
    first = next(iter(kept.values()), None)
    if first is None or (len(kept) < MAX_OP_IDS and first.time > oldest):
        return kept
    kept = {key: each for key, each in kept.items() if each.time > oldest}
    # Producers and users have separate limits: a busy page must not evict the
    # results that a backend may ask for again.
    own = [op_id for op_id in kept if op_id.startswith(f"{by} ")]
    for op_id in own[: max(0, len(own) - MAX_OP_IDS + 1)]:
        del kept[op_id]
    return kept
