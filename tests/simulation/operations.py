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
    SetMuted,
    Snooze,
    Subscribe,
    Unsnooze,
    Unsubscribe,
    Update,
    UserOps,
)
from roundel_service.domain.subscriptions import Muted

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

    def broadcast(self, now: float) -> Notify:
        """Return a notification to a topic, which sometimes waits or expires."""
        draw, number = self._random.random, self._next()
        return Notify(
            id=f"b{number}",
            category=self._category(),
            content=encode_content("t"),
            key=f"k{int(draw() * 3)}" if draw() < 0.2 else None,
            source=f"s{int(draw() * 3)}" if draw() < 0.5 else None,
            ttl=1.0 + int(draw() * 40) if draw() < 0.25 else None,
            at=now + 1.0 + int(draw() * 20) if draw() < 0.2 else None,
            size=100,
        )

    def snooze(self, mailbox: Mailbox, now: float) -> UserOps:
        """Return the operation that snoozes known items, or ends their wait."""
        if mailbox.waiting and self._random.random() < 0.3:
            ids = frozenset((self._random.choice(list(mailbox.waiting)),))
            return UserOps(ops=(Unsnooze(ids),), op_id=f"o{self._next()}")
        until = now + 1.0 + int(self._random.random() * 30)
        snooze = Snooze(self._known_ids(mailbox), until)
        return UserOps(ops=(snooze,), op_id=f"o{self._next()}")

    def _known_ids(self, mailbox: Mailbox) -> frozenset[str]:
        ids = list(mailbox.items) or ["i0"]
        return frozenset(self._random.choice(ids) for _ in range(2))

    def edit(self, mailbox: Mailbox) -> Update:
        """Return a new text for an item that *mailbox* holds or that waits in it."""
        ids = [*mailbox.items, *mailbox.waiting] or ["i0"]
        which = Retract(id=self._random.choice(ids))
        title = f'{{"title":"edited {self._next()}"}}'
        return Update(which=which, content=title.encode())

    def mute(self) -> SetMuted:
        """Return other muted categories and topics."""
        draw = self._random.random
        categories = frozenset(name for name in CATEGORIES if draw() < 0.3)
        topics = frozenset(name for name in ("all", "t") if draw() < 0.2)
        return SetMuted(Muted(categories=categories, topics=topics))

    def follow(self) -> Operation:
        """Return a subscription to a topic, or its end."""
        draw = self._random.random
        if draw() < 0.4:
            return Unsubscribe("t")
        return Subscribe(topic="t", since="start" if draw() < 0.5 else "now")

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
