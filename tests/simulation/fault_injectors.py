"""Fault injectors: engines, streams and pages with a fault to detect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import cycle
from typing import Any, final

import msgspec
from msgspec.structs import replace

from roundel import Cursor, Position
from roundel_service.domain.change_log import ChangeLog
from roundel_service.domain.changes import Added, Change, Removed
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import DeleteUser, Operation, Pull, Refresh
from roundel_service.domain.pull import pulls
from roundel_service.domain.record import Record
from roundel_service.domain.subscriptions import Subscription
from roundel_service.engines.base import (
    ApplyResult,
    ChangeListener,
    Engine,
    UserOperation,
)
from roundel_service.engines.memory import MemoryEngine
from roundel_service.streams.view_history import View
from roundel_service.testing import Setup

from .page import Page
from .simulate import memory
from .tab import ServerStream


def reuses_epochs(setup: Setup) -> Engine:
    """Return an engine that reuses its epoch after a loss of data."""
    return MemoryEngine(setup.limits, clock=setup.clock, key=b"always the same")


def repeats_epochs(setup: Setup) -> Engine:
    """Return an engine that gives a lost mailbox one of two epochs."""
    return RepeatedEpochs(memory(setup))


def retracts_without_version(setup: Setup) -> Engine:
    """Return an engine whose retractions do not change the version."""
    return AlteredEngine(memory(setup), _without_retracted)


def increments_count(setup: Setup) -> Engine:
    """Return an engine that stores a count and increments it."""
    return AlteredEngine(memory(setup), _with_incremented_count())


def _without_retracted(record: Record) -> Record:
    changes = record.changes
    if not changes or changes[-1].operation != "retract":
        return record
    v = record.mailbox.v - 1
    badge = replace(record.badge, v=v)
    mailbox = replace(record.mailbox, v=v)
    newest = replace(changes[-1], v=v, badge=badge)
    return Record(mailbox, ChangeLog((*changes[:-2], newest)))


def _with_incremented_count() -> Callable[[Record], Record]:
    counts: dict[str, int] = {}

    def alter(record: Record) -> Record:
        changes, epoch = record.changes, record.mailbox.epoch
        if not changes:
            return record
        if changes[-1].operation == "notify":
            counts[epoch] = counts.get(epoch, 0) + 1
        else:
            counts[epoch] = record.badge.unread
        badge = replace(record.badge, unread=counts[epoch])
        newest = replace(changes[-1], badge=badge)
        return Record(record.mailbox, ChangeLog((*changes[:-1], newest)))

    return alter


def merges_without_write(setup: Setup) -> Engine:
    """Return an engine whose reads add the broadcasts, and store nothing."""
    return MergingEngine(memory(setup), setup)


@final
class MergingEngine:
    """An engine that adds topics to a mailbox of *inner* at each read."""

    def __init__(self, inner: Engine, setup: Setup) -> None:
        self._inner = inner
        self._setup = setup
        self._listeners: list[ChangeListener] = []
        # The mailbox itself pulls nothing.
        inner._topics = lambda *args: {}  # type: ignore[attr-defined]
        inner.listen(self._on_change, ())

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Call *listener* after each change."""
        self._listeners.append(listener)

    def _on_change(self, user: str, record: Record) -> None:
        for listener in self._listeners:
            listener(user, record)

    async def read(self, user: str) -> Record:
        """Return the record of *user* and what is new in topics."""
        record = await self._inner.read(user)
        topics = {
            name: await self._inner.read(name) for name in record.topics(Refresh())
        }
        scope = {"now": self._setup.clock(), "limits": self._setup.limits.of(user)}
        return record.refresh(topics=topics, **scope)

    def __getattr__(self, name: str) -> Any:
        """Forward all other calls to *inner*."""
        return getattr(self._inner, name)


def pulls_from_log(
    mailbox: Mailbox,
    name: str,
    subscription: Subscription,
    topic: Mailbox,
    changes: Sequence[Change],
) -> Iterator[Pull]:
    """Pull what the log of a topic says, and nothing that was trimmed from it."""
    upto = subscription.pulled_upto(topic)
    for change in changes if upto is not None else ():
        if change.v <= upto or change.badge.epoch != topic.epoch:
            continue
        for step in change.steps:
            if isinstance(step, Removed):
                yield Pull(topic=name, removed={"retracted": list(step.ids)})
            elif isinstance(step, Added) and step.id in topic.items:
                yield Pull(topic=name, added=topic.items[step.id])


def pulls_without_edits(*args: Any) -> Iterator[Pull]:
    """Pull new items and retractions, and keep the text of copies."""
    for each in pulls(*args):
        if each.added or each.removed or each.is_incomplete:
            yield replace(each, updated=())


@final
class AlteredEngine:
    """An engine that replaces each record of *inner* by `alter(record)`."""

    def __init__(self, inner: Engine, alter: Callable[[Record], Record]) -> None:
        self._inner = inner
        self._alter = alter
        self._altered: dict[str, Record] = {}
        self._listeners: list[ChangeListener] = []
        inner.listen(self._on_change, ())

    def _on_change(self, user: str, record: Record) -> None:
        self._altered[user] = self._alter(record)
        for listener in self._listeners:
            listener(user, self._altered[user])

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        """Call *listener* after each change."""
        self._listeners.append(listener)

    async def read(self, user: str) -> Record:
        """Return the latest altered record."""
        record = await self._inner.read(user)
        return self._altered.get(user, record)

    def __getattr__(self, name: str) -> Any:
        """Forward all other calls to *inner*."""
        return getattr(self._inner, name)


@final
class HelloWithId:
    """A stream whose hello has the id of the state that follows it."""

    def __init__(self, stream: ServerStream) -> None:
        self._stream = stream

    @property
    def is_open(self) -> bool:
        """False after the close message was written."""
        return self._stream.is_open

    def data_to_send(self, now: float) -> list[bytes]:
        """Return the chunks of the stream, with an id in the hello."""
        return [_with_id(chunk) for chunk in self._stream.data_to_send(now)]

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


def _with_id(chunk: bytes) -> bytes:
    if b"event: hello\n" not in chunk:
        return chunk
    hello = msgspec.json.decode(chunk.partition(b"data: ")[2])
    cursor = Cursor({"": Position(hello["epoch"], hello["v"])})
    return b"%bid: %b\n\n" % (chunk.removesuffix(b"\n"), str(cursor).encode())


def stale_page(view: View) -> Page:
    """Return a page that applies each message without comparing versions."""
    return Page(view, applies_stale=True)


def page_without_from(view: View) -> Page:
    """Return a page that does not detect gaps between changes."""
    return Page(view, ignores_gaps=True)


def page_without_pings(view: View) -> Page:
    """Return a page that ignores the version of a ping."""
    return Page(view, ignores_pings=True)


@final
class RepeatedEpochs:
    """An engine that gives an emptied mailbox of *inner* one of two epochs in turn."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self._epochs = cycle(("repeated-one", "repeated-two"))

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        """Apply operations; a deletion starts a repeated epoch."""
        return await self._inner.apply(
            [
                (user, DeleteUser(next(self._epochs)) if is_deletion(op) else op)
                for user, op in work
            ]
        )

    def __getattr__(self, name: str) -> Any:
        """Forward all other calls to *inner*."""
        return getattr(self._inner, name)


def is_deletion(operation: Operation) -> bool:
    """Return whether *operation* empties the mailbox."""
    return isinstance(operation, DeleteUser)
