"""What is asked of a mailbox, and how it is waited for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias, final

import attrs
import trio

from ...domain.mailbox import Applied
from ...domain.mailbox_builder import TooManyCategories
from ...domain.operations import Operation
from ...domain.record import Record
from ..base import EngineUnavailable

OperationResult: TypeAlias = Record | Applied | TooManyCategories | EngineUnavailable


@final
class Batch:
    """Pieces that somebody waits for together."""

    def __init__(self, open_pieces: int) -> None:
        self._open = open_pieces
        self._over = trio.Event()
        self._close()

    def _close(self) -> None:
        if not self._open:
            self._over.set()

    def resolved(self) -> None:
        """Take note that one more has come out."""
        self._open -= 1
        self._close()

    async def wait(self) -> None:
        """Wait until all have come out."""
        await self._over.wait()


@final
@attrs.define(eq=False)
class PendingOperation:
    """An *operation* on a user's mailbox, or none just to read it, and its *outcome*.

    *since* is when it was asked for, by trio's clock.
    """

    user: str
    operation: Operation | None
    batch: Batch
    since: float
    result: OperationResult | None = None

    def resolve(self, outcome: OperationResult) -> None:
        """Say what became of it; only the first word counts."""
        if self.result is None:
            self.result = outcome
            self.batch.resolved()


@final
@attrs.frozen(kw_only=True)
class StoredRecord:
    """A *record* as the store has it: written by *at*, when *line* was its line.

    *at* is empty where nothing was ever written. *indexed* is when all that it holds
    was indexed last, in seconds since 1970. One that is not *is_whole* lacks changes.
    """

    record: Record
    at: bytes
    line: bytes
    indexed: float = 0.0
    is_whole: bool = True

    @property
    def is_lost(self) -> bool:
        """Whether a write that somebody saw may be missing."""
        return bool(self.at) and not self.at.endswith(self.line)

    def without_changes(self) -> StoredRecord:
        """Return as much of it as it takes to write."""
        if not self.record.changes:
            return self
        record = Record(self.record.mailbox)
        return attrs.evolve(self, record=record, is_whole=False)

    def after(self, record: Record, write: bytes) -> StoredRecord:
        """Return what there is after a *write* that made it this *record*."""
        return attrs.evolve(self, record=record, at=write + self.line)


@final
class OwnWriteIds:
    """The ids of this node's own writes, which are no news when the log has them.

    Of those that are *done* the last *bound* are known.
    """

    def __init__(self, bound: int = 20_000) -> None:
        self._begun: set[bytes] = set()
        self._done: OrderedDict[bytes, None] = OrderedDict()
        self._bound = bound

    def __contains__(self, write: object) -> bool:
        """Tell whether somebody here did it, or is about to."""
        return write in self._begun or write in self._done

    def begin(self, write: bytes) -> None:
        """Take note of what is going to be written."""
        self._begun.add(write)

    def drop(self, write: bytes) -> None:
        """Take note that whoever began it does not wait for it any more."""
        self._begun.discard(write)

    def done(self, write: bytes) -> None:
        """Take note that it was written, and whoever watches was told."""
        self._begun.discard(write)
        self._done[write] = None
        if len(self._done) > self._bound:
            self._done.popitem(last=False)


@final
@attrs.frozen(kw_only=True)
class PlannedWrite:
    """A write named *id* that is to make *after* of *before*, and its *outcomes*.

    *packed* is what is written, *add* and *remove* are tags. All of this stays as it
    is when it is tried again. Where nothing changes there is no id. One that *is_due*
    to be indexed is, with all that it holds.
    """

    before: StoredRecord
    after: StoredRecord
    results: Sequence[OperationResult]
    id: bytes = b""
    packed: bytes = b""
    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    is_due: bool = False


@final
@attrs.define(eq=False)
class MailboxTransaction:
    """One user's turn at the store, with all *pieces* that wait for it.

    *known* may be out of date, *held* is what a write is planned on, which *is_fresh*
    if it was looked up in this turn. What somebody is going to see *is_whole*.
    *is_doubtful* says that the plan may have been done.
    """

    user: str
    operations: list[PendingOperation]
    is_whole: bool
    known: StoredRecord | None
    stored: StoredRecord | None = None
    plan: PlannedWrite | None = None
    is_fresh: bool = False
    is_doubtful: bool = False
    is_over: bool = False
    has_failed: bool = False

    def set_stored(self, held: StoredRecord) -> None:
        """Take note of what the store has."""
        self.stored, self.is_fresh = held, True

    def reload(self, known: StoredRecord) -> None:
        """Take note that the store may not be as *known* any more."""
        self.known, self.stored, self.is_fresh = known, None, False

    def resolve(self, outcomes: Sequence[OperationResult]) -> None:
        """Say what became of each piece."""
        self.is_over = True
        for piece, outcome in zip(self.operations, outcomes, strict=True):
            piece.resolve(outcome)

    def fail(self, error: EngineUnavailable) -> None:
        """Say of every piece that it may or may not have been done."""
        self.has_failed = True
        self.resolve([EngineUnavailable(*error.args) for _ in self.operations])
