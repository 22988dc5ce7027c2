"""Optimistic transactions: read, plan, commit if unchanged.

A transaction executes all pending operations of one user as one write. It repeats
rounds until it has results:

1. Load the stored record, unless a cached one is there. The cached record may be out of
   date, which costs one more round. Topics are read at the same time: see `topics`.
2. Plan: the reducer computes the new record in Python. If nothing changes, a loaded
   record is the result, and a cached one is loaded first, because only a write compares
   the revision.
3. Commit: a script writes if the stored revision and timeline are still those of the
   plan. A conflict returns the current record, and the next round plans on it.

A lost reply leaves the write in doubt. The plan is then kept as it is, the record is
loaded again, and `recovery` finds out whether the write was applied. Only if that
remains unknown, or after `RETRY_TIMEOUT`, the operations fail.

Each step sends the commands of a whole batch in one pipeline, and the writes of a shard
in one command. If a store refuses that command, each of its writes is tried alone,
because the refusal may be about one of them. Without conflicts a write
with a cached record takes one round trip and a read takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, final

import attrs
import trio
from msgspec.structs import replace

from ...domain.record import Record
from ...lru_map import LruMap
from ..base import EngineUnavailable, MailboxDamaged
from .commands import commit_command, load_command
from .connection import StoreRefused
from .pending import (
    MailboxTransaction,
    OperationResult,
    PlannedWrite,
    StoredRecord,
)
from .planner import WritePlanner
from .recovery import find_writes
from .store import RETRY_TIMEOUT, Store, failure_of
from .topics import BatchTopics, TopicReader

MAX_ROUNDS: Final = 50
"""Maximum number of rounds. Each conflict takes one more."""

_Planned: TypeAlias = tuple[MailboxTransaction, PlannedWrite, StoredRecord]

_YIELD_AFTER: Final = 32
_RETRY_DELAY: Final = 0.05
"""First delay after a failure in seconds; it doubles up to 0.4 seconds."""


@final
@attrs.frozen
class OptimisticTransactions:
    """Runs the transactions of many users together.

    Calls *on_stored* with each user's record before the operations get their results,
    and *on_unstored* with what is read of it while the store refuses writes.
    *own_writes* holds the ids of writes that this node has planned or applied. *topics*
    reads the topics from which the mailboxes pull.
    """

    _store: Store
    _planner: WritePlanner
    _on_stored: Callable[[str, StoredRecord], None]
    _on_unstored: Callable[[str, Record], None]
    _own_writes: LruMap[bytes, None]
    _topics: TopicReader

    async def run(self, transactions: Sequence[MailboxTransaction]) -> None:
        """Run *transactions*; those without results in bounded time fail."""
        error = EngineUnavailable("the store: too many concurrent writes to a mailbox")
        topics = BatchTopics(self._topics)
        try:
            with trio.move_on_after(RETRY_TIMEOUT):
                for number in range(MAX_ROUNDS):
                    rest = [each for each in transactions if not each.is_resolved]
                    if not rest:
                        return
                    failure = await self._round(rest, topics)
                    if failure is not None:
                        error = failure
                        await trio.sleep(_RETRY_DELAY * 2 ** min(number, 3))
        finally:
            for transaction in transactions:
                if not transaction.is_resolved:
                    self._fail(transaction, error)

    async def _round(
        self, transactions: Sequence[MailboxTransaction], topics: BatchTopics
    ) -> EngineUnavailable | None:
        """Try each transaction once; return a failure of the store, if any."""
        load_failure = await self._load_all(transactions, topics)
        recovery_failure = await self._recover(transactions)
        for number, transaction in enumerate(transactions, 1):
            self._plan(transaction, topics)
            await _yield_sometimes(number)
        commit_failure = await self._commit(transactions)
        return load_failure or recovery_failure or commit_failure

    async def _load_all(
        self, transactions: Sequence[MailboxTransaction], topics: BatchTopics
    ) -> EngineUnavailable | None:
        """Load records and topics; return a failure to load a record."""
        to_load = [each for each in transactions if each.stored is None]
        to_plan = [each for each in transactions if each.plan is None]
        failure = None
        if to_load:
            async with trio.open_nursery() as nursery:
                # Most topics are known before the record.
                nursery.start_soon(topics.load, to_plan)
                failure = await self._load(to_load)
        await topics.load([each for each in to_plan if not each.is_resolved])
        return failure

    async def _load(
        self, transactions: Sequence[MailboxTransaction]
    ) -> EngineUnavailable | None:
        failure = None
        keys = self._planner.keys
        commands = [load_command(keys, transaction) for transaction in transactions]
        replies = await self._store.run(commands)
        pairs = zip(transactions, replies, strict=True)
        for number, (transaction, reply) in enumerate(pairs, 1):
            match reply:
                case [bytes(timeline)] if transaction.cached is not None:
                    cached = replace(transaction.cached, timeline=timeline)
                    transaction.set_stored(cached)
                case [bytes(timeline), list(flat), *kind]:
                    stored = self._planner.decode(transaction, timeline, flat, kind)
                    transaction.set_stored(stored)
                case StoreRefused(is_lasting=True):
                    self._fail(transaction, reply)
                case _:
                    failure = failure_of(reply)
            await _yield_sometimes(number)
        return failure

    def _plan(self, transaction: MailboxTransaction, topics: BatchTopics) -> None:
        stored = transaction.stored
        if stored is None or transaction.plan is not None or transaction.is_resolved:
            return
        plan = self._planner.plan(
            transaction.user, stored, transaction.operations, topics.of(transaction)
        )
        if plan.id:
            transaction.plan = plan
            self._own_writes.put(plan.id, None)
        elif plan.needs_changes:
            transaction.load_changes()
        elif transaction.is_fresh:
            self._finish(transaction, stored, plan)
        else:
            transaction.reload(stored)

    async def _commit(
        self, transactions: Sequence[MailboxTransaction]
    ) -> EngineUnavailable | None:
        failure, keys = None, self._planner.keys
        groups = self._commit_groups(_planned(transactions))
        commands = [
            commit_command(keys, [(each.user, plan) for each, plan, _ in group])
            for group in groups
        ]
        replies = await self._store.run(commands)
        for group, reply in zip(groups, replies, strict=True):
            results: list[object] = [reply] * len(group)
            if isinstance(reply, list) and len(reply) == len(group):
                results = reply
            for (transaction, plan, _), result in zip(group, results, strict=True):
                # A refusal may be about one of the writes: try each alone.
                transaction.is_alone = isinstance(result, StoreRefused)
                if transaction.is_alone and len(group) > 1 and _is_lasting(result):
                    continue
                failure = self._on_reply(transaction, plan, result) or failure
        return failure

    def _commit_groups(self, planned: Sequence[_Planned]) -> list[list[_Planned]]:
        """Return the writes of each command: all of a shard, or one that is alone."""
        groups: dict[object, list[_Planned]] = {}
        shard = self._planner.keys.shard
        for each in planned:
            user, is_alone = each[0].user, each[0].is_alone
            groups.setdefault(user if is_alone else shard(user), []).append(each)
        return list(groups.values())

    def _on_reply(
        self, transaction: MailboxTransaction, plan: PlannedWrite, reply: object
    ) -> EngineUnavailable | None:
        """Finish a transaction by the *reply* to its write; return a failure."""
        match reply:
            case bytes():
                self._finish(transaction, plan.after, plan)
            case [bytes(timeline), list(flat), *kind]:
                stored = self._planner.decode(transaction, timeline, flat, kind)
                transaction.set_stored(stored)
                if stored.write_id == plan.id:
                    # The command was sent twice; the first reply was lost.
                    self._finish(transaction, stored, plan)
                elif not transaction.is_doubtful:
                    self._discard_plan(transaction, plan)
            case StoreRefused(is_lasting=True) if not transaction.is_doubtful:
                self._refuse(transaction, plan, reply)
            case _:
                transaction.is_doubtful = True
                transaction.reload(plan.before)
                return failure_of(reply)
        return None

    async def _recover(
        self, transactions: Sequence[MailboxTransaction]
    ) -> EngineUnavailable | None:
        """Decide the doubtful writes of transactions that loaded their record again."""
        doubtful = _planned([each for each in transactions if each.is_doubtful])
        failure = None
        writes = [(each.user, plan, stored) for each, plan, stored in doubtful]
        states = await find_writes(self._store, self._planner.keys, writes)
        for (transaction, plan, stored), state in zip(doubtful, states, strict=True):
            match state:
                case "applied":
                    self._finish(transaction, stored, plan)
                case "not applied":
                    self._discard_plan(transaction, plan)
                case "unknown":
                    self._on_stored(transaction.user, stored)
                    error = EngineUnavailable("the store: its log is too short")
                    self._fail(transaction, error)
                case EngineUnavailable():
                    failure = state
                    transaction.stored = None
        return failure

    def _discard_plan(
        self, transaction: MailboxTransaction, plan: PlannedWrite
    ) -> None:
        self._own_writes.discard(plan.id)
        transaction.plan, transaction.is_doubtful = None, False

    def _finish(
        self, transaction: MailboxTransaction, stored: StoredRecord, plan: PlannedWrite
    ) -> None:
        # Listeners must be notified before the caller gets its result.
        self._on_stored(transaction.user, stored)
        transaction.resolve(plan.results)

    def _refuse(
        self, transaction: MailboxTransaction, plan: PlannedWrite, error: StoreRefused
    ) -> None:
        """Resolve the reads of a transaction without its write; fail the rest."""
        self._discard_plan(transaction, plan)
        user, before = transaction.user, plan.before
        read: OperationResult
        if before.damage is not None:
            read = MailboxDamaged(*before.damage.args)
        else:
            read = self._planner.unstored(user, before)
            if before.is_complete:
                self._on_unstored(user, read)
        transaction.resolve(
            [
                read if each.operation is None else EngineUnavailable(*error.args)
                for each in transaction.operations
            ]
        )

    def _fail(self, transaction: MailboxTransaction, error: EngineUnavailable) -> None:
        if transaction.plan is not None:
            self._discard_plan(transaction, transaction.plan)
        transaction.fail(error)


def _planned(transactions: Sequence[MailboxTransaction]) -> list[_Planned]:
    return [
        (each, each.plan, each.stored)
        for each in transactions
        if each.plan is not None and each.stored is not None and not each.is_resolved
    ]


def _is_lasting(reply: object) -> bool:
    return isinstance(reply, StoreRefused) and reply.is_lasting


async def _yield_sometimes(number: int) -> None:
    # Large batches must not delay the streams of this node.
    if number % _YIELD_AFTER == 0:
        await trio.lowlevel.checkpoint()
