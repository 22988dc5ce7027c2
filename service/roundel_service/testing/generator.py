"""Random operations of producers and users."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from random import Random
from typing import final

from ..domain.content import encode_content
from ..domain.names import is_topic_mailbox
from ..domain.operations import (
    ClaimTopics,
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Mark,
    Notify,
    Operation,
    Refresh,
    Remove,
    Retract,
    SetGauge,
    SetMuted,
    Snooze,
    StartNewEpoch,
    Subscribe,
    Unsnooze,
    Unsubscribe,
    Update,
    UserOps,
)
from ..domain.subscriptions import Muted, Since
from ..engines.base import UserOperation
from .model import READ

TOPICS = ("all", "t", "u")
"""Topics to which users subscribe."""

_WEIGHTS = {
    "notify": 12,
    "ops": 8,
    "retract": 2,
    "update": 2,
    "gauge": 3,
    "delete_gauge": 1,
    "mute": 1,
    "disconnect": 1,
    "delete_user": 1,
    "refresh": 1,
    "renew": 1,
}
_TOPIC_WEIGHTS = {
    "notify": 12,
    "retract": 2,
    "update": 2,
    "refresh": 1,
    "retract_all": 1,
}
# Without new epochs: an engine that leaves topics out notes a new epoch later.
_SUBSCRIPTION_WEIGHTS = {"subscribe": 4, "unsubscribe": 2, "claim": 2}


@final
class OperationGenerator:
    """Draws random operations; some are repeated with the same operation id.

    *clock* returns seconds since 1970. Users follow topics if *with_topics*.
    """

    def __init__(
        self,
        random: Random,
        users: Sequence[str],
        clock: Callable[[], float],
        *,
        with_topics: bool = False,
    ) -> None:
        self._random = random
        self._users = users
        self._clock = clock
        self._weights = _WEIGHTS | (_SUBSCRIPTION_WEIGHTS if with_topics else {})
        self._numbers: Iterator[int] = count(1)
        self._generated: list[UserOperation] = []

    def batch(self, names: Sequence[str] | None = None) -> list[UserOperation]:
        """Return the operations of one call, on the users or on topics by *names*."""
        number = self._random.randrange(9)
        return [self._work(names or self._users) for _ in range(number)]

    def _work(self, names: Sequence[str]) -> UserOperation:
        if self._generated and self._random.random() < 0.1:
            work = self._random.choice(self._generated)
            if work[0] in names:
                return work
        name = self._random.choice(names)
        work = (name, self._operation(is_topic=is_topic_mailbox(name)))
        # An operation without an id must not repeat the id of an item or an epoch.
        if isinstance(work[1], Notify | UserOps) and work[1].op_id is not None:
            self._generated.append(work)
        return work

    def _operation(self, *, is_topic: bool) -> Operation:
        draw, number = self._random, next(self._numbers)
        weights = _TOPIC_WEIGHTS if is_topic else self._weights
        (kind,) = draw.choices([*weights], [*weights.values()])
        match kind:
            case "notify":
                return self._notify(number)
            case "ops":
                return UserOps(ops=self._ops(number), op_id=f"o{number}")
            case "retract":
                return self._selection(number)
            case "retract_all":
                return Retract(everything=True)
            case "update":
                return self._update(number)
            case "gauge":
                version = max(0, number - draw.choice((0, 0, 9)))
                count = draw.choice((0, 2, 2**53))
                category = self._category()
                return SetGauge(category=category, count=count, source_version=version)
            case "delete_gauge":
                return DeleteGauge(self._category())
            case "mute":
                return SetMuted(self._muted())
            case "disconnect":
                return Disconnect(revoke=draw.random() < 0.5)
            case "delete_user":
                return DeleteUser(f"forgot-{number:05}")
            case "renew":
                return StartNewEpoch(f"new-{number:07}")
            case "subscribe":
                return self._subscribe()
            case "unsubscribe":
                return Unsubscribe(draw.choice(TOPICS))
            case "claim":
                return self._claim()
        return Refresh()

    def _category(self) -> str:
        return self._random.choice(("dm", "dm", "a.b", "a.b", "a", "news"))

    def _selection(self, number: int) -> Retract:
        draw = self._random
        if draw.random() < 0.3:
            return Retract(id=self._id(number))
        source = draw.choice(("s", "t", None))
        return Retract(source=source, category=self._category(), key="k")

    def _id(self, number: int) -> str:
        """Return the id of an item that is probably one of the latest."""
        return f"i{max(1, number - self._random.randrange(20))}"

    def _notify(self, number: int) -> Notify:
        draw = self._random
        content = self._content()
        waits = draw.choice((None, None, None, None, 0.25, 1.0))
        return Notify(
            id=f"i{number}",
            category=self._category(),
            content=content,
            key=draw.choice((None, None, "k", "l")),
            source=draw.choice((None, "s", "t")),
            ttl=draw.choice((None, None, None, 0.25, 1.0, 4.0)),
            quiet=draw.random() < 0.2,
            replaces=self._id(number) if draw.random() < 0.1 else None,
            at=None if waits is None else self._clock() + waits,
            size=len(content) + draw.choice((0, 20, 70)),
            op_id=draw.choice((None, f"o{number}", "often")),
        )

    def _content(self) -> bytes:
        draw = self._random
        return encode_content(
            draw.choice(("t", "", "ünï \U0001f514\n\x00'\"%")),
            body=draw.choice((None, "b")),
            data=draw.choice((None, {"a": [1, None, 0.1]}, [], "x")),
        )

    def _update(self, number: int) -> Update:
        draw = self._random
        return Update(
            which=self._selection(number),
            content=draw.choice((b'{"title":"new"}', b'{"body":null}', b"{}")),
            expires=draw.random() < 0.3,
            ttl=draw.choice((None, 1.0)),
        )

    def _muted(self) -> Muted:
        def some(names: Sequence[str]) -> frozenset[str]:
            return frozenset(name for name in names if self._random.random() < 0.3)

        return Muted(categories=some(("dm", "news", "a")), topics=some(TOPICS))

    def _subscribe(self) -> Subscribe:
        sinces: tuple[Since, ...] = ("now", "start", self._clock() - 0.25)
        since = self._random.choice(sinces)
        return Subscribe(topic=self._random.choice(TOPICS), since=since)

    def _claim(self) -> ClaimTopics:
        draw = self._random
        topics = {
            topic: draw.choice((0.0, self._clock() - 0.25))
            for topic in TOPICS
            if draw.random() < 0.5
        }
        return ClaimTopics(topics=topics, issued_at=self._clock() - draw.choice((0, 9)))

    def _ops(self, number: int) -> tuple[Mark | Remove | Snooze | Unsnooze, ...]:
        draw = self._random
        flags = draw.choice((READ, {"read": False}, {"seen": True}, {"archived": True}))
        ids = frozenset(self._id(number) for _ in range(5))
        some = frozenset(self._id(number) for _ in range(2))
        until = self._clock() + draw.choice((0.25, 1.0))
        by_id = Mark(flags=flags, ids=ids)
        upto = Mark(flags={"seen": True}, upto=number // 8, category=self._category())
        return draw.choice(
            (
                (by_id,),
                (upto,),
                (by_id, upto),
                (),
                (Snooze(some, until),),
                (Snooze(ids, until), upto),
                (Unsnooze(ids), by_id),
                (Remove(some), by_id),
            )
        )
