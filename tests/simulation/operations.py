"""Random operations of producers and users."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import final

from roundel_service.domain.content import encode_content
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import (
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Mark,
    Notify,
    Operation,
    Retract,
    SetGauge,
    UserOps,
)

CATEGORIES = ("dm", "mention", "news")
READ = {"read": True, "seen": True}


@final
class OperationGenerator:
    """Makes operations with ids from a counter."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._count = 0

    def _next(self) -> int:
        self._count += 1
        return self._count

    def notify(self) -> Notify:
        """Return a notification, often with a known key or source."""
        draw, number = self._random.random, self._next()
        return Notify(
            id=f"i{number}",
            category=self._category(),
            content=encode_content("t"),
            key=f"k{int(draw() * 3)}" if draw() < 0.3 else None,
            source=f"s{int(draw() * 3)}" if draw() < 0.5 else None,
            ttl=1.0 + int(draw() * 40) if draw() < 0.25 else None,
            size=100,
            op_id=f"o{number}",
        )

    def _category(self) -> str:
        return CATEGORIES[int(self._random.random() * len(CATEGORIES))]

    def _perhaps_category(self) -> str | None:
        return self._category() if self._random.random() < 0.3 else None

    def mark(self, flags: Mapping[str, bool], mailbox: Mailbox) -> UserOps:
        """Return marks of one or two known items, or of an unknown one."""
        ids = list(mailbox.items) or ["i0"]
        chosen = frozenset(self._random.choice(ids) for _ in range(2))
        return self._marks(Mark(flags=flags, ids=chosen))

    def read_upto(self, v: int) -> UserOps:
        """Return the operation that reads all items up to *v*."""
        return self._marks(Mark(flags=READ, upto=v, category=self._perhaps_category()))

    def seen_upto(self, v: int) -> UserOps:
        """Return the operation that marks all items up to *v* as seen."""
        return self._marks(Mark(flags={"seen": True}, upto=v))

    def _marks(self, mark: Mark) -> UserOps:
        return UserOps(ops=(mark,), op_id=f"o{self._next()}")

    def retract(self) -> Retract:
        """Return a retraction by source or by key."""
        if self._random.random() < 0.7:
            return Retract(source=f"s{int(self._random.random() * 3)}")
        return Retract(category=self._category(), key="k0")

    def gauge(self) -> Operation:
        """Return a new or old gauge, or its deletion."""
        draw = self._random.random
        if draw() < 0.2:
            return DeleteGauge("mail")
        version = self._next() - (5 if draw() < 0.2 else 0)
        return SetGauge(category="mail", count=int(draw() * 4), source_version=version)

    def delete_user(self) -> DeleteUser:
        """Return the deletion of the user."""
        return DeleteUser(f"forgot{self._next():06}")

    def disconnect(self) -> Disconnect:
        """Return a disconnect."""
        return Disconnect()
