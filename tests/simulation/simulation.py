"""One schedule: the real service, its tabs and two peers, in virtual time.

The schedule's seed determines all events. The service is complete from the engine to
the bytes of the stream, without sockets and HTTP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeAlias, final

import trio
from msgspec.structs import replace

from roundel_service.domain.items import Item
from roundel_service.domain.operations import DeleteUser, Operation
from roundel_service.domain.record import Record
from roundel_service.testing import MakeEngine

from .browser import Browser
from .faults import Fault, Saboteur
from .operations import READ, OperationGenerator
from .oracle import Oracle, has_copies_of, has_text, one_by_one
from .peers import CHANGE_LOG_SIZE, Deltas, Peer, Recounts, TwoSources
from .schedule import ClientParts, Outcome, Schedule
from .server import RECORD_LIMITS, TIMEOUTS, TOPICS, USER, Server


def archived(name: str, record: Record) -> dict[str, Item]:
    """Return the items that *record* holds, as the user has them."""
    mailbox = record.mailbox
    waiting = (each.item for each in mailbox.waiting.values())
    held = (*mailbox.items.values(), *waiting)
    if name == USER:
        return {item.id: item for item in held}
    return {item.id: replace(item, topic=name[1:]) for item in held}


def unread(record: Record) -> tuple[int, int]:
    """Return the unread items of the user's own and gauges, and those of topics."""
    mailbox = record.mailbox
    common = [
        item
        for item in mailbox.items.values()
        if item.topic is not None
        and item.is_counted
        and not mailbox.muted.covers(item.category, item.topic)
    ]
    return record.badge.unread - len(common), len(common)


def operation_of(record: Record) -> str | None:
    """Return the operation that led to *record*, if that is known."""
    return record.changes[-1].operation if record.changes else None


RandomEvent: TypeAlias = Callable[[], Awaitable[None]]


@final
class Simulation:
    """A user's mailbox, the user's tabs, and random events."""

    def __init__(
        self,
        make_engine: MakeEngine,
        schedule: Schedule,
        parts: ClientParts,
        nursery: trio.Nursery,
        saboteur: Saboteur | None = None,
    ) -> None:
        self._faults = schedule.faults
        self._client_parts = parts
        self._random = Random(schedule.seed)
        self._operations = OperationGenerator(self._random)
        self._oracle = Oracle()
        self._deltas = Peer(Deltas(), seed=schedule.seed, faults=schedule.faults)
        self._recounts = Peer(Recounts(), seed=schedule.seed, faults=schedule.faults)
        self._merged = TwoSources(seed=schedule.seed, faults=schedule.faults)
        self._counter = Peer(Deltas(), seed=schedule.seed + 2, faults=schedule.faults)
        self._peers = (self._deltas, self._recounts)
        self._archive: dict[str, Item] = {}
        self._topics: dict[str, Record] = {}
        self._unread = (0, 0)
        self._applied: list[Operation] = []
        self._record: Record | None = None
        self._server = Server(
            make_engine,
            schedule,
            on_change=self._on_change,
            nursery=nursery,
            saboteur=saboteur,
        )
        self._browser = Browser(
            self._server,
            self._oracle,
            (*self._peers, self._merged, self._counter),
            schedule,
        )
        self._random_events, self._weights = self._possible_events()

    def _possible_events(self) -> tuple[list[RandomEvent], list[int]]:
        weighted: list[tuple[RandomEvent, int, Fault | None]] = [
            (self._notify, 42, None),
            (self._mark, 20, None),
            (self._mark_upto, 8, None),
            (self._retract, 6, None),
            (self._apply_rare_operation, 6, None),
            (self._wait, 8, None),
            (self._browser.disconnect, 7, Fault.CUT),
            (self._browser.disconnect_after_hello, 4, Fault.CUT),
            (self._browser.fetch, 8, Fault.RACE),
            (self._restart, 3, Fault.RESTART),
            (self._lose_mailbox, 3, Fault.EVICTED),
            (self._damage_mailbox, 3, Fault.DAMAGED),
            (self._delete_user, 3, Fault.DAMAGED),
            (self._broadcast, 16, Fault.BROADCAST),
            (self._retract_broadcast, 5, Fault.BROADCAST),
            (self._go_away, 4, Fault.AWAY),
            (self._snooze, 8, Fault.SNOOZE),
            (self._edit, 10, Fault.EDIT),
            (self._mute, 6, Fault.MUTE),
            (self._follow, 8, Fault.FOLLOW),
            (self._lose_topic, 3, Fault.TOPIC_EVICTED),
        ]
        possible = [w for w in weighted if w[2] is None or w[2] in self._faults]
        return [w[0] for w in possible], [w[1] for w in possible]

    async def start(self) -> None:
        """Start the service and open the tabs."""
        self._record = await self._server.start()
        self._oracle.record_state(self._record)
        self._browser.open(self._client_parts)

    def _on_change(self, user: str, record: Record) -> None:
        """Record each state of the engine, and publish it to the peers."""
        self._archive |= archived(user, record)
        if user != USER:
            self._on_topic(user, record)
            return
        before, self._record = self._record, record
        if record == before:
            return  # a repeated call without a change
        steps = one_by_one(before, record, self._archive)
        for step in steps:
            self._on_version(step)
        self._publish_parts(record, {operation_of(step) for step in steps})

    def _on_topic(self, name: str, record: Record) -> None:
        """Publish a broadcast to the peers as the user would find it."""
        before = self._topics.get(name)
        self._topics[name] = record
        if self._record is None:
            return
        count = len(record.mailbox.items) - (len(before.mailbox.items) if before else 0)
        found = self._record.refresh(
            now=self._server.clock(), limits=RECORD_LIMITS, topics=self._topics
        )
        before_count, self._unread = sum(self._unread), unread(found)
        if name == "#all" or name[1:] in self._record.mailbox.subscriptions:
            # The counter counts what leaves the topic, read or not.
            difference = sum(self._unread) - before_count
            self._counter.publish(0, count if count < 0 else difference)
        self._counter.set_number(found.badge.unread)
        self._merged.change(*self._unread, is_published=True)

    def _on_version(self, record: Record) -> None:
        self._oracle.record_state(record)
        is_bypassed = self._is_bypassed(operation_of(record))
        for peer in self._peers:
            peer.change(record.badge.unread, is_published=not is_bypassed)

    def _is_bypassed(self, operation: str | None) -> bool:
        return operation == "retract" and Fault.BYPASS in self._faults

    def _publish_parts(self, record: Record, operations: set[str | None]) -> None:
        """Publish own items and broadcasts apart, unless they were published before."""
        before, self._unread = self._unread, unread(record)
        is_published = not any(map(self._is_bypassed, operations))
        self._merged.change(*self._unread, is_published=is_published)
        self._counter.set_number(record.badge.unread)
        difference = self._unread[0] - before[0]
        if "expire" not in operations:
            # A broadcast expires in its topic.
            difference += self._unread[1] - before[1]
        if difference and is_published:
            self._counter.publish(0, difference)

    async def step(self) -> None:
        """Run one random event, and advance everything a little."""
        (event,) = self._random.choices(self._random_events, self._weights)
        await event()
        await self._server.pass_time(self._random.choice((0.0, 0.0, 0.25, 1.0)))
        if self._chance(0.4):
            self._server.engine.deliver_late()
        await self._browser.step()

    def _chance(self, rate: float) -> bool:
        return self._random.random() < rate

    async def _apply(self, operation: Operation) -> None:
        is_accepted = await self._server.apply(operation)
        if not is_accepted or isinstance(operation, DeleteUser):
            return  # each deletion starts another epoch
        self._applied.append(operation)
        if Fault.REPEAT in self._faults and self._chance(0.3):
            # A caller without a response repeats the operation.
            again = self._random.choice((operation, self._random.choice(self._applied)))
            await self._server.apply(again)

    async def _notify(self) -> None:
        await self._apply(self._operations.notify())

    async def _mark(self) -> None:
        flags = self._random.choice(
            (READ, READ, {"read": False}, {"archived": True}, {"archived": False})
        )
        operation = self._operations.mark(flags, self._record.mailbox)
        if flags is READ and Fault.READ_TWICE in self._faults:
            self._subtract_again(operation.ops[0].ids or frozenset())
        await self._apply(operation)

    def _subtract_again(self, ids: frozenset[str]) -> None:
        """Decrement the peers' count without checking whether the item was read."""
        items = self._record.mailbox.items
        for item in filter(None, map(items.get, ids)):
            if not item.is_counted:
                self._deltas.publish(1, 0)

    async def _mark_upto(self) -> None:
        v = max(0, self._random.choice(self._browser.tabs).page.v)
        make = (
            self._operations.read_upto
            if self._chance(0.6)
            else self._operations.seen_upto
        )
        await self._apply(make(v))

    async def _retract(self) -> None:
        await self._apply(self._operations.retract())

    async def _apply_rare_operation(self) -> None:
        operations = self._operations
        makers = (
            operations.gauge,
            operations.gauge,
            operations.gauge,
            operations.delete_user,
            operations.disconnect,
        )
        await self._apply(self._random.choice(makers)())

    async def _delete_user(self) -> None:
        await self._apply(self._operations.delete_user())

    async def _lose_mailbox(self) -> None:
        record = await self._server.lose_mailbox()
        if record is not None:
            self._record = record
            self._oracle.record_state(record)
            for peer in self._peers:
                peer.change(record.badge.unread, is_published=False)

    async def _damage_mailbox(self) -> None:
        self._server.damage_mailbox()

    async def _broadcast(self) -> None:
        operation = self._operations.broadcast(self._server.clock())
        await self._server.apply(operation, self._topic())

    async def _go_away(self) -> None:
        """Disconnect all tabs, and change more in topics than a change log holds."""
        self._browser.disconnect_all()
        for _ in range(CHANGE_LOG_SIZE + 2):
            is_retraction = self._chance(0.3)
            await (self._retract_broadcast if is_retraction else self._broadcast)()
            await self._server.pass_time(1.0)

    def _topic(self) -> str:
        is_other = Fault.FOLLOW in self._faults and self._chance(0.5)
        return "#t" if is_other else "#all"

    async def _retract_broadcast(self) -> None:
        await self._server.apply(self._operations.retract(), self._topic())

    async def _snooze(self) -> None:
        now, mailbox = self._server.clock(), self._record.mailbox
        await self._apply(self._operations.snooze(mailbox, now))

    async def _edit(self) -> None:
        name = self._random.choice((USER, self._topic()))
        record = self._record if name == USER else self._topics.get(name)
        if record is not None:
            await self._server.apply(self._operations.edit(record.mailbox), name)

    async def _mute(self) -> None:
        await self._apply(self._operations.mute())

    async def _follow(self) -> None:
        await self._server.apply(self._operations.follow())

    async def _lose_topic(self) -> None:
        name = self._topic()
        await self._server.lose_topic(name)
        self._topics.pop(name, None)

    async def _wait(self) -> None:
        await self._server.pass_time(self._random.choice((3.0, 10.0, 30.0)))

    async def _restart(self) -> None:
        self._browser.stop_server(is_planned=self._chance(0.5))
        is_lost = self._chance(0.5)
        self._record = await self._server.restart(is_lost=is_lost)
        self._oracle.record_state(self._record)
        number = self._record.badge.unread
        for peer in (*self._peers, self._counter):
            peer.restart(number, is_lost=is_lost)
        self._unread = unread(self._record)
        self._merged.restart(*self._unread, is_lost=is_lost)
        if is_lost:
            self._topics.clear()

    async def settle(self) -> Outcome:
        """Stop the faults, wait one heartbeat, and return the wrong final states."""
        # Only a new stream finds out that its mailbox was lost.
        settles_at = self._server.now
        if Fault.EVICTED in self._faults:
            settles_at += TIMEOUTS.max_age
        self._faults = frozenset()
        self._server.engine.stop_faults()
        await self._server.repaired_record()
        self._browser.stop_faults()
        quiet_for = 0
        for _ in range(60):
            # A topic that was lost without a notification is found by a read.
            await self._server.engine.read(USER)
            await self._browser.deliver_all()
            is_quiet = all(tab.is_quiet for tab in self._browser.tabs)
            quiet_for = quiet_for + 1 if is_quiet else 0
            if quiet_for >= 2 and self._server.now > settles_at:
                break
            await self._server.pass_time(TIMEOUTS.ping + 1.0)
        self._browser.apply_all_fetched()
        outcome = await self._outcome()
        self._browser.close()
        return outcome

    async def _outcome(self) -> Outcome:
        mailbox = (await self._server.engine.read(USER)).mailbox
        at = (mailbox.epoch, mailbox.v)
        tabs = self._browser.tabs
        topics = {name: await self._server.engine.read(name) for name in TOPICS}
        wrong = {
            "±1 deltas": self._deltas.is_wrong(),
            "pushed recounts": self._recounts.is_wrong(),
            "±1 with broadcasts": self._counter.is_wrong(),
            "two sources": self._merged.is_wrong(),
            "Roundel": not has_copies_of(topics, mailbox)
            or not all(
                tab.is_quiet
                and self._oracle.agrees(tab.page, at)
                and has_text(tab.page, mailbox)
                for tab in tabs
            ),
        }
        return Outcome(wrong=wrong, unsafe=tuple(self._oracle.unsafe))
