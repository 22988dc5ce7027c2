"""How users' turns are taken at the store: load, reduce, compare and write, again.

A write is done if the mailbox is still at the write before it, in the same line. So
it is done once or never, however often it is sent. Where an answer is missing, what
is there now tells: the mailbox is at this write; or at the one before, and the very
same is sent again; or others came later, and the log tells what came after the one
before. Where the log does not reach so far, nobody knows, and the caller is told so.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final, final

import attrs
import trio

from ..base import EngineUnavailable
from .pending import MailboxTransaction, OwnWriteIds, PlannedWrite, StoredRecord
from .planner import WritePlanner
from .scripts import FIND, ID_SIZE, LOAD, LOG
from .store import Command, Store, call

TRANSACTION_TIMEOUT: Final = 3.0
"""For how many seconds a turn is tried."""

ROUNDS: Final = 50
"""How often others may come between, at the most."""

_YIELD_AFTER: Final = 32
_PAUSE: Final = 0.05


@final
class OptimisticTransactions:
    """Takes the turns of many users together; *kept* is told what comes of them.

    *writes* knows what this node writes.
    """

    def __init__(
        self,
        store: Store,
        planner: WritePlanner,
        kept: Callable[[str, StoredRecord], None],
        writes: OwnWriteIds,
    ) -> None:
        self._store = store
        self._planner = planner
        self._kept = kept
        self._writes = writes

    async def run(self, turns: Sequence[MailboxTransaction]) -> None:
        """Take all *turns*; what does not come out in bounded time is said to fail."""
        why = EngineUnavailable("the store: too many others write the same")
        try:
            with trio.move_on_after(TRANSACTION_TIMEOUT):
                for number in range(ROUNDS):
                    left = [turn for turn in turns if not turn.is_over]
                    if not left:
                        return
                    failure = await self._round(left)
                    if failure is not None:
                        why = failure
                        await trio.sleep(_PAUSE * 2 ** min(number, 3))
        finally:
            for turn in turns:
                if not turn.is_over:
                    self._fail(turn, why)

    async def _round(
        self, turns: Sequence[MailboxTransaction]
    ) -> EngineUnavailable | None:
        """Try once; return what went wrong at the store, if anything did."""
        failures = [
            await self._load([turn for turn in turns if turn.stored is None]),
            await self._resolve(turns),
        ]
        for number, turn in enumerate(turns, 1):
            if turn.stored is not None and turn.plan is None and not turn.is_over:
                self._plan(turn, turn.stored)
            await _let_others_run(number)
        failures.append(await self._commit(turns))
        return next((failure for failure in failures if failure is not None), None)

    async def _load(
        self, turns: Sequence[MailboxTransaction]
    ) -> EngineUnavailable | None:
        failure = None
        answers = await self._store.run([self._loading(turn) for turn in turns])
        for number, (turn, answer) in enumerate(zip(turns, answers, strict=True), 1):
            match answer:
                case [bytes(line)] if turn.known is not None:
                    turn.set_stored(attrs.evolve(turn.known, line=line))
                case [bytes(line), list(flat)]:
                    turn.set_stored(self._decode_stored(turn, line, flat))
                case _:
                    failure = _failure(answer)
            await _let_others_run(number)
        return failure

    def _loading(self, turn: MailboxTransaction) -> Command:
        keys = self._planner.keys
        line = keys.line(keys.shard(turn.user))
        known = turn.known.at if turn.known is not None else b""
        arguments = [secrets.token_urlsafe(9).encode(), known]
        return call(LOAD, [line, keys.user(turn.user)], arguments)

    def _plan(self, turn: MailboxTransaction, held: StoredRecord) -> None:
        plan = self._planner.plan(held, turn.operations)
        if plan.id:
            turn.plan = plan
            self._writes.begin(plan.id)
        elif turn.is_fresh:
            self._end(turn, held, plan)
        else:
            # Nothing is compared where nothing is written: so it is looked up.
            turn.reload(held)

    async def _commit(
        self, turns: Sequence[MailboxTransaction]
    ) -> EngineUnavailable | None:
        ready = [
            (turn, turn.plan)
            for turn in turns
            if turn.plan is not None and turn.stored is not None and not turn.is_over
        ]
        failure = None
        commands = [self._planner.commit(turn.user, plan) for turn, plan in ready]
        answers = await self._store.run(commands)
        for (turn, plan), answer in zip(ready, answers, strict=True):
            match answer:
                case bytes():
                    self._end(turn, plan.after, plan)
                case [bytes(line), list(flat)]:
                    self._handle_conflict(
                        turn, plan, self._decode_stored(turn, line, flat)
                    )
                case _:
                    failure = _failure(answer)
                    turn.is_doubtful = True
                    turn.reload(plan.before)
        return failure

    def _handle_conflict(
        self, turn: MailboxTransaction, plan: PlannedWrite, held: StoredRecord
    ) -> None:
        """Take note that the mailbox was at another write already."""
        turn.set_stored(held)
        if held.at[:ID_SIZE] == plan.id:
            # What was sent before, and not answered, came through after all.
            self._end(turn, attrs.evolve(plan.after, line=held.line), plan)
        elif not turn.is_doubtful:
            self._drop(turn, plan)

    def _decode_stored(
        self, turn: MailboxTransaction, line: bytes, flat: Sequence[bytes]
    ) -> StoredRecord:
        return self._planner.decode(turn.user, line, flat, is_whole=turn.is_whole)

    async def _resolve(
        self, turns: Sequence[MailboxTransaction]
    ) -> EngineUnavailable | None:
        """Find out what became of the writes of which it is not known."""
        passed: list[tuple[MailboxTransaction, PlannedWrite, StoredRecord]] = []
        for turn in turns:
            held, plan = turn.stored, turn.plan
            if held is None or plan is None or not turn.is_doubtful:
                continue
            if held.at[:ID_SIZE] == plan.id:
                self._end(turn, attrs.evolve(plan.after, line=held.line), plan)
            elif held.at not in (plan.before.at, b""):
                passed.append((turn, plan, held))
            elif (held.at, held.line) != (plan.before.at, plan.before.line):
                # Of what is gone, or lost, nothing can come any more.
                self._drop(turn, plan)
        return await self._find_in_log(passed)

    async def _find_in_log(
        self, passed: Sequence[tuple[MailboxTransaction, PlannedWrite, StoredRecord]]
    ) -> EngineUnavailable | None:
        """Look through the logs for those that others came after."""
        failure = None
        commands = [self._finding(turn.user, plan) for turn, plan, _ in passed]
        answers = await self._store.run(commands)
        for (turn, plan, held), answer in zip(passed, answers, strict=True):
            match answer:
                case b"done":
                    self._end(turn, held, plan)
                case b"not done":
                    self._drop(turn, plan)
                case b"unknown":
                    self._kept(turn.user, held)
                    self._fail(
                        turn, EngineUnavailable("the store: its log is too short")
                    )
                case _:
                    failure = _failure(answer)
                    turn.stored = None
        return failure

    def _finding(self, user: str, plan: PlannedWrite) -> Command:
        keys = self._planner.keys
        before = plan.before.at[:ID_SIZE]
        arguments: list[str | bytes] = [user, before, plan.id, str(2 * LOG)]
        return call(FIND, [keys.log(keys.shard(user))], arguments)

    def _drop(self, turn: MailboxTransaction, plan: PlannedWrite) -> None:
        self._writes.drop(plan.id)
        turn.plan, turn.is_doubtful = None, False

    def _end(
        self, turn: MailboxTransaction, held: StoredRecord, plan: PlannedWrite
    ) -> None:
        # Who watches is told before who asked has the answer.
        self._writes.done(plan.id)
        self._kept(turn.user, held)
        turn.resolve(plan.results)

    def _fail(self, turn: MailboxTransaction, why: EngineUnavailable) -> None:
        if turn.plan is not None:
            self._drop(turn, turn.plan)
        turn.fail(why)


def _failure(answer: object) -> EngineUnavailable:
    if isinstance(answer, EngineUnavailable):
        return answer
    return EngineUnavailable(f"the store: expected another answer, got {answer!r:.100}")


async def _let_others_run(number: int) -> None:
    # The streams of many must not wait for the writes of many.
    if number % _YIELD_AFTER == 0:
        await trio.lowlevel.checkpoint()
