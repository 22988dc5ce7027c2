"""A shared, durable engine in memory that can have a flaw."""

from __future__ import annotations

import secrets
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import final

import attrs
import msgspec
import trio
from msgspec.structs import replace

from roundel_service.domain.content import decode_content
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.names import is_topic_mailbox
from roundel_service.domain.operations import (
    Disconnect,
    Notify,
    Operation,
    Retract,
    StartNewEpoch,
)
from roundel_service.domain.record import Record
from roundel_service.domain.refusals import OperationRefused
from roundel_service.engines.base import (
    ApplyResult,
    ChangeListener,
    EngineUnavailable,
    UserOperation,
)
from roundel_service.engines.epochs import first_epoch
from roundel_service.testing import MakeEngine, Setup
from support.flawed_presence import PresenceReports
from support.flawed_topics import TopicReader, stored_form
from support.flaws import Flaw


@final
@attrs.define
class Store:
    """A store and its running engines."""

    key: bytes = attrs.field(factory=lambda: secrets.token_bytes(32))
    secret: bytes | None = None
    records: dict[str, Record] = attrs.field(factory=dict)
    users: list[str] = attrs.field(factory=list)
    claims: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    presence: PresenceReports = attrs.field(factory=PresenceReports)
    nodes: list[FlawedEngine] = attrs.field(factory=list)
    lock: trio.Lock = attrs.field(factory=trio.Lock)


@final
class FlawedEngine:
    """An engine that is correct except for its *flaw*."""

    def __init__(self, setup: Setup, store: Store, flaw: Flaw | None) -> None:
        self._setup = setup
        self._store = store
        self._flaw = flaw
        self.is_shared = flaw is not Flaw.HIDES_NODES
        self._listeners: list[tuple[ChangeListener, Collection[str]]] = []
        self._known: dict[str, Record] = {}
        self._page_ends: dict[str, int] = {}
        self._latest_write: tuple[str, Record | None] | None = None
        self._before_topics: dict[str, Record] = {}
        self._remote_changes = 0
        self._is_stopped = False
        self._nursery: trio.Nursery | None = None
        self._topics = TopicReader(flaw, setup.limits, self._record, self._store_record)

    def listen(self, listener: ChangeListener, users: Collection[str]) -> None:
        if self._flaw is Flaw.COPIES_USERS:
            users = frozenset(users)
        self._listeners.append((listener, users))

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._store.nodes.append(self)
        records = dict(self._store.records)
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._store.nodes.remove(self)
            self._is_stopped = True
            self._on_stop(records)

    def _on_stop(self, records: dict[str, Record]) -> None:
        if self._flaw is Flaw.REUSES_EPOCHS:
            self._store.records.clear()
            self._store.users.clear()
        if self._flaw is Flaw.RESTORES_OLD_STORE:
            self._store.records.clear()
            self._store.records.update(records)
        if self._flaw is Flaw.LOSES_CLAIMS:
            self._store.claims.clear()
        if self._flaw is Flaw.LOSES_SECRET:
            self._store.secret = None
        if self._flaw is Flaw.LOSES_LATEST_WRITE and self._latest_write is not None:
            user, record = self._latest_write
            self._store.records[user] = record or self._unwritten(user)
        if self._flaw is Flaw.LOSES_TOPICS:
            self._store.records.update(self._before_topics)

    async def _round_trip(self) -> None:
        """Simulate the round trip to the store."""
        if self._is_stopped:
            if self._flaw is Flaw.HANGS:
                await trio.sleep_forever()
            raise EngineUnavailable("the engine has stopped")
        await trio.lowlevel.checkpoint()

    async def check(self) -> None:
        await self._round_trip()

    # Mailboxes.

    def _unwritten(self, user: str) -> Record:
        key = self._store.key
        if self._flaw is Flaw.NEW_EPOCHS:
            key = secrets.token_bytes(8)
        if self._flaw is Flaw.SAME_EPOCH:
            user = ""
        return Record(Mailbox(epoch=first_epoch(key, user)))

    def _record(self, user: str) -> Record:
        return self._store.records.get(user) or self._unwritten(user)

    def _name(self, user: str) -> str:
        if self._flaw is Flaw.NORMALIZES_NAMES:
            return unicodedata.normalize("NFC", user)
        if self._flaw is Flaw.FOLDS_TOPICS and is_topic_mailbox(user):
            return user.lower()
        return user[:128] if self._flaw is Flaw.TRUNCATES_NAMES else user

    async def read(self, user: str) -> Record:
        await self._round_trip()
        user = self._name(user)
        if self._flaw is Flaw.READS_STALE and user in self._known:
            return self._known[user]
        if self._flaw is Flaw.NOTIFIES_EARLY:
            return self._record(user)
        if self._flaw is Flaw.PULLS_WITHOUT_LOCK:
            return await self._refresh(user)
        async with self._store.lock:
            return await self._refresh(user)

    async def _refresh(self, user: str) -> Record:
        before = self._record(user)
        if self._flaw is Flaw.LATE_EXPIRY:
            return before
        if self._flaw is Flaw.WRITES_ON_READ:
            await self._store_record(user, None, before)
        record = await self._topics.refresh(user, before, self._setup.clock())
        for _ in range(9 if self._flaw is Flaw.PULLS_WITHOUT_LOCK else 0):
            await trio.lowlevel.checkpoint()
        keeps = self._flaw in (Flaw.LOSES_EXPIRY, Flaw.KEEPS_PULLS_IN_MEMORY)
        if record is not before and not keeps:
            await self._store_record(user, before, record)
        await self._topics.store_late()
        self._known[user] = record
        return record

    async def peek(self, name: str) -> Record:
        await self._round_trip()
        if self._flaw is Flaw.PEEK_PULLS:
            return await self.read(name)
        return self._record(self._name(name))

    async def apply(self, work: Sequence[UserOperation]) -> list[ApplyResult]:
        await self._round_trip()
        operations = list(work)
        if self._flaw is Flaw.REVERSES_BATCHES:
            operations.reverse()
        results = []
        for number, (user, operation) in enumerate(operations):
            results.append(await self._apply_one(self._name(user), operation))
            if number % 50 == 49:
                await trio.lowlevel.checkpoint()
        return results

    async def _apply_one(self, user: str, operation: Operation) -> ApplyResult:
        if self._flaw is Flaw.LOSES_UPDATES:
            record = self._record(user)
            await trio.lowlevel.checkpoint()
            return await self._change(user, operation, record)
        if self._flaw is Flaw.LEAKS_LOCK:
            await self._store.lock.acquire()
            await trio.lowlevel.checkpoint()
            result = await self._change(user, operation, self._record(user))
            self._store.lock.release()
            return result
        async with self._store.lock:
            if self._flaw is Flaw.APPLIES_TWICE:
                await self._change(user, operation, self._record(user))
            return await self._change(user, operation, self._record(user))

    async def _change(
        self, user: str, operation: Operation, before: Record
    ) -> ApplyResult:
        now, limits, record = self._setup.clock(), self._topics.limits_of(user), before
        if self._flaw is Flaw.LOSES_RESULTS:
            record = replace(record, mailbox=replace(record.mailbox, results={}))
        if self._flaw is Flaw.KEEPS_EPOCH and isinstance(operation, StartNewEpoch):
            operation = Disconnect()
        if self._flaw is Flaw.TRUNCATES_TEXT and isinstance(operation, Notify):
            content = decode_content(operation.content)
            short = replace(content, title=content.title.partition("\0")[0])
            operation = replace(operation, content=msgspec.json.encode(short))
        if self._flaw is Flaw.ROUNDS_TIMES:
            now = round(now, 3)
        topics = {}
        if self._flaw is not Flaw.PULLS_ON_READ_ONLY:
            topics = await self._topics.topics(user, before, operation, now)
        result: ApplyResult
        try:
            record, result = record.apply(
                operation, now=now, limits=limits, topics=topics
            )
        except OperationRefused as error:
            result = error
            record = record.refresh(now=now, limits=limits, topics=topics)
            if self._flaw is Flaw.CLOSES_ON_REJECTION:
                record, _ = record.apply(Disconnect(), now=now, limits=limits)
        if record is not before:
            await self._store_record(user, before, record)
        await self._topics.store_late()
        if self._flaw is Flaw.PUSHES_TO_USERS and is_topic_mailbox(user):
            await self._push()
        return result

    async def _push(self) -> None:
        for user in [user for user in self._store.users if not is_topic_mailbox(user)]:
            await self._refresh(user)

    async def _store_record(
        self, user: str, before: Record | None, record: Record
    ) -> None:
        record = stored_form(self._flaw, record)
        if self._flaw is Flaw.NOTIFIES_EARLY:
            self._notify_all(user, record)
            for _ in range(9):
                await trio.lowlevel.checkpoint()
        if self._flaw is Flaw.PARTIAL_WRITES and before is not None:
            self._write(user, replace(before, mailbox=record.mailbox))
            await trio.lowlevel.checkpoint()
        self._latest_write = (user, before)
        if is_topic_mailbox(user) and before is not None:
            self._before_topics[user] = before
        self._write(user, record)
        self._notify_all(user, record)

    def _write(self, user: str, record: Record) -> None:
        users = self._store.users
        if self._flaw is Flaw.LATEST_FIRST and user in users:
            users.remove(user)
        if user not in users:
            is_odd = self._flaw in (Flaw.LATEST_FIRST, Flaw.PAGES_BY_INDEX)
            users.insert(0 if is_odd else len(users), user)
        self._store.records[user] = record

    # Listeners.

    def _notify_all(self, user: str, record: Record) -> None:
        for node in self._store.nodes:
            if self._flaw is Flaw.NEVER_NOTIFIES:
                continue
            if self._flaw is Flaw.NOTIFIES_LATE and node is self:
                assert self._nursery is not None
                self._nursery.start_soon(self._notify_later, user, record)
            elif node is self:
                self.notify(user, record)
            else:
                node.notify_remote(user, record)

    async def _notify_later(self, user: str, record: Record) -> None:
        await trio.sleep(0.01)
        self.notify(user, record)

    def notify(self, user: str, record: Record) -> None:
        if self._flaw is Flaw.NOTIFIES_WRONG_RECORD:
            mailbox = replace(record.mailbox, more=True)
            record = replace(record, mailbox=mailbox)
        for listener, users in self._listeners:
            if user in users:
                listener(user, record)

    def notify_remote(self, user: str, record: Record) -> None:
        """Call listeners for a change of another node."""
        self._remote_changes += 1
        if self._flaw is not Flaw.SKIPS_NOTIFICATIONS or self._remote_changes % 2:
            self.notify(user, record)

    # Presence.

    async def report_presence(
        self, streams: Mapping[str, int], *, ttl: float
    ) -> list[int | EngineUnavailable]:
        await self._round_trip()
        presence, now = self._store.presence, self._setup.clock()
        return [
            await presence.report_presence(self, user, count, now, ttl, self._flaw)
            for user, count in streams.items()
        ]

    # Listings.

    async def holders(self, retract: Retract) -> list[str]:
        await self._round_trip()
        found = [
            user
            for user, record in self._store.records.items()
            if record.holds(retract)
            and not (self._flaw is Flaw.OMITS_TOPICS and is_topic_mailbox(user))
        ]
        return found[:-1] if self._flaw is Flaw.OMITS_A_HOLDER else found

    async def users(self, after: str | None, limit: int) -> list[str]:
        await self._round_trip()
        users = self._store.users
        start = users.index(after) + 1 if after in users else 0
        if self._flaw is Flaw.SKIPS_A_USER and start:
            start += 1
        if self._flaw is Flaw.PAGES_BY_INDEX and after is not None:
            start = self._page_ends.get(after, start)
        page = users[start : start + limit]
        if page:
            self._page_ends[page[-1]] = start + len(page)
        return page

    # Claims.

    async def claim(self, key: str, value: str, *, ttl: float) -> str:
        await self._round_trip()
        current = self._claimed(key)
        if self._flaw is Flaw.TWO_WINNERS:
            await trio.lowlevel.checkpoint()
        if current is not None and self._flaw is not Flaw.LATEST_CLAIM_WINS:
            return current
        self._store.claims[key] = (value, self._setup.clock() + ttl)
        return value

    async def claimed(self, key: str) -> str | None:
        await self._round_trip()
        return self._claimed(key)

    def _claimed(self, key: str) -> str | None:
        value, expires_at = self._store.claims.get(key, (None, 0.0))
        if self._flaw is Flaw.ENDLESS_CLAIMS:
            return value
        if self._flaw is Flaw.SHORT_CLAIMS:
            expires_at -= 3_600.0
        return value if expires_at > self._setup.clock() else None

    # The secret.

    async def secret(self) -> bytes:
        await self._round_trip()
        match self._flaw:
            case Flaw.SAME_SECRET:
                return b"a constant of the program, long!"
            case Flaw.SECRET_PER_NODE:
                return blake2b(f"{id(self)}".encode()).digest()
            case Flaw.CONSTANT_SECRET:
                return self._store.key[:1] * 32
        found = self._store.secret
        if self._flaw is Flaw.TWO_SECRETS:
            await trio.lowlevel.checkpoint()
        if found is None:
            length = 8 if self._flaw is Flaw.SHORT_SECRET else 32
            found = self._store.secret = secrets.token_bytes(length)
        return found


def engine_with(flaw: Flaw | None) -> MakeEngine:
    """Return a function that makes engines with *flaw*; their stores outlive them."""
    stores: defaultdict[str, Store] = defaultdict(Store)
    if flaw is Flaw.REUSES_EPOCHS:
        stores = defaultdict(partial(Store, key=b"always the same"))
    return lambda setup: FlawedEngine(setup, stores[setup.name], flaw)
