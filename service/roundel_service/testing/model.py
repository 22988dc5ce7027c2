"""The model that computes the results of operations, and what they are tried with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import attrs

from ..domain.content import encode_content
from ..domain.items import MailboxLimits
from ..domain.names import is_topic_mailbox
from ..domain.operations import Mark, Notify, Operation, Refresh, UserOps
from ..domain.record import Record, RecordLimits
from ..domain.refusals import OperationRefused
from ..engines.base import ApplyResult, Engine, UserOperation
from .compare import check_record, check_results
from .environment import Environment

SMALL_LIMITS: Final = RecordLimits(
    mailbox=MailboxLimits(items=4, bytes=300, categories=3), change_log_size=4
)
"""Limits that cause many evictions and rejections."""

LARGE_LIMITS: Final = RecordLimits(
    mailbox=MailboxLimits(items=10_000, bytes=1 << 24), change_log_size=50
)
"""Limits under which nothing is evicted."""

USER_NAMES: Final = (
    *("alice", "Alice", "a", "a:b", "a.b~c@d+e-f", "_", "-", "9" * 128),
    # Names that keys, patterns, paths and separators may alter.
    *("{a}", "}{", "a}", "a b", "a|b", "a/b", "a//b", "/", "..", ".", "%2F", "*", "?"),
    *('a"b', "a'b", "a\\b", "a,b", "[a]", "null", "0", "\u2028".join("ab")),
    # The same letter in two forms; 255 characters; 512 bytes; the last code point.
    *("caf\u00e9", "cafe\u0301", "n" * 255, "\u20ac" * 170 + "ab", "\U0010ffff"),
    *("\ufeffa", "a\u202eb", "\U0001f600", "\ufffd", "\uffff"),
)
"""User names that an engine may confuse."""

READ: Final = {"read": True, "seen": True}


def note(name: str, category: str = "c", *, op_id: str | None = None) -> Notify:
    """Return a notification."""
    return Notify(id=name, category=category, content=encode_content(name), op_id=op_id)


def read(*names: str, op_id: str) -> UserOps:
    """Return the operation that marks these items as read."""
    return UserOps(ops=(Mark(flags=READ, ids=frozenset(names)),), op_id=op_id)


@final
@attrs.define
class Model:
    """Expected records, computed by the reducer.

    The first record of a user is that of the engine. *seen* contains all states.
    """

    limits: RecordLimits
    records: dict[str, Record] = attrs.field(factory=dict)
    seen: dict[str, list[Record]] = attrs.field(factory=dict)

    def keep(self, user: str, record: Record) -> None:
        """Set the user's record."""
        if record is not self.records.get(user):
            self.records[user] = record
            self.seen.setdefault(user, []).append(record)

    def refresh(self, user: str, now: float) -> Record:
        """Return the user's record as of *now*."""
        limits, topics = self.limits.of(user), self._topics(user, Refresh(), now)
        record = self.records[user].refresh(now=now, limits=limits, topics=topics)
        self.keep(user, record)
        return record

    def _topics(self, user: str, operation: Operation, now: float) -> dict[str, Record]:
        if is_topic_mailbox(user):
            return {}
        names = self.records[user].topics(operation) & self.records.keys()
        return {name: self.refresh(name, now) for name in sorted(names)}

    def apply(self, work: Sequence[UserOperation], now: float) -> list[ApplyResult]:
        """Apply operations, and return the expected result of each."""
        results: list[ApplyResult] = []
        for user, operation in work:
            topics = self._topics(user, operation, now)
            try:
                record, applied = self.records[user].apply(
                    operation, now=now, limits=self.limits.of(user), topics=topics
                )
            except OperationRefused as error:
                self.refresh(user, now)
                results.append(error)
            else:
                self.keep(user, record)
                results.append(applied)
        return results


async def start_model(limits: RecordLimits, engine: Engine, *users: str) -> Model:
    """Return a model with the engine's records of *users*."""
    model = Model(limits)
    for user in users:
        model.keep(user, await engine.read(user))
    return model


async def check_work(
    env: Environment,
    engine: Engine,
    model: Model,
    work: list[UserOperation],
    what: str,
) -> None:
    """Check the results of *work*, and then the records, against the model."""
    expected = model.apply(work, env.clock.now)
    check_results(work, expected, await engine.apply(work), what)
    for name in {name for name, _ in work}:
        record = await engine.read(name)
        check_record(model.refresh(name, env.clock.now), record, f"{what}: {name}")
