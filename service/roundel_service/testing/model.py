"""Random operations, and the model that computes their results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from random import Random
from typing import Final, final

import attrs

from ..domain.content import encode_content
from ..domain.items import MailboxLimits
from ..domain.mailbox_builder import OperationRefused
from ..domain.names import is_topic_mailbox
from ..domain.operations import (
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Mark,
    Notify,
    Operation,
    Refresh,
    Retract,
    SetGauge,
    StartNewEpoch,
    UserOps,
)
from ..domain.record import Record, RecordLimits
from ..engines.base import ApplyResult, Engine, UserOperation

SMALL_LIMITS: Final = RecordLimits(
    mailbox=MailboxLimits(items=4, bytes=200, categories=3), change_log_size=4
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


@final
class OperationGenerator:
    """Draws random operations; some are repeated with the same operation id."""

    def __init__(self, random: Random, users: Sequence[str]) -> None:
        self._random = random
        self._users = users
        self._numbers: Iterator[int] = count(1)
        self._generated: list[UserOperation] = []

    def batch(self) -> list[UserOperation]:
        """Return the operations of one call."""
        return [self._work() for _ in range(self._random.randrange(9))]

    def _work(self) -> UserOperation:
        if self._generated and self._random.random() < 0.1:
            return self._random.choice(self._generated)
        work = (self._random.choice(self._users), self._operation())
        # An operation without an id must not repeat the id of an item or an epoch.
        if isinstance(work[1], Notify | UserOps) and work[1].op_id is not None:
            self._generated.append(work)
        return work

    def _operation(self) -> Operation:
        draw, number = self._random, next(self._numbers)
        kinds = "nnnnnnnnnnnnmmmmmmrrgggdxofe"
        match draw.choice(kinds):
            case "n":
                return self._notify(number)
            case "m":
                return UserOps(ops=self._marks(number), op_id=f"o{number}")
            case "r":
                source = draw.choice(("s", "t", None))
                return Retract(source=source, category=self._category(), key="k")
            case "g":
                version = max(0, number - draw.choice((0, 0, 9)))
                count = draw.choice((0, 2, 2**53))
                category = self._category()
                return SetGauge(category=category, count=count, source_version=version)
            case "d":
                return DeleteGauge(self._category())
            case "x":
                return Disconnect(revoke=draw.random() < 0.5)
            case "o":
                return DeleteUser(f"forgot-{number:05}")
            case "e":
                return StartNewEpoch(f"new-{number:07}")
        return Refresh()

    def _category(self) -> str:
        return self._random.choice(("dm", "dm", "a.b", "a.b", "a", "news"))

    def _notify(self, number: int) -> Notify:
        draw = self._random
        return Notify(
            id=f"i{number}",
            category=self._category(),
            content=self._content(),
            key=draw.choice((None, None, "k", "l")),
            source=draw.choice((None, "s", "t")),
            ttl=draw.choice((None, None, None, 0.25, 1.0, 4.0)),
            size=draw.choice((0, 20, 70)),
            op_id=draw.choice((None, f"o{number}", "often")),
        )

    def _content(self) -> bytes:
        draw = self._random
        return encode_content(
            draw.choice(("t", "", "ünï \U0001f514\n\x00'\"%")),
            body=draw.choice((None, "b")),
            data=draw.choice((None, {"a": [1, None, 0.1]}, [], "x")),
        )

    def _marks(self, number: int) -> tuple[Mark, ...]:
        draw = self._random
        flags = draw.choice((READ, {"read": False}, {"seen": True}, {"archived": True}))
        ids = frozenset(f"i{max(1, number - draw.randrange(20))}" for _ in range(5))
        by_id = Mark(flags=flags, ids=ids)
        upto = Mark(flags={"seen": True}, upto=number // 8, category=self._category())
        return draw.choice(((by_id,), (upto,), (by_id, upto), ()))
