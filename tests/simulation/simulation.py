"""One schedule: the real service, its tabs and two peers, in virtual time.

The schedule's seed determines all events. The service is complete from the engine to
the bytes of the stream, without sockets and HTTP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeAlias, final

import trio

from roundel_service.domain.operations import DeleteUser, Operation
from roundel_service.domain.record import Record
from roundel_service.testing import MakeEngine

from .browser import Browser
from .faults import Fault, Saboteur
from .operations import READ, OperationGenerator
from .oracle import Oracle, one_by_one
from .peers import Deltas, Peer, Recounts
from .schedule import ClientParts, Outcome, Schedule
from .server import TIMEOUTS, USER, Server

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
        self._peers = (self._deltas, self._recounts)
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
            self._peers,
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
        before, self._record = self._record, record
        if record == before:
            return  # a repeated call without a change
        for step in one_by_one(before, record):
            self._on_version(step)

    def _on_version(self, record: Record) -> None:
        self._oracle.record_state(record)
        operation = record.changes[-1].operation if record.changes else None
        is_bypassed = operation == "retract" and Fault.BYPASS in self._faults
        for peer in self._peers:
            peer.change(record.badge.unread, is_published=not is_bypassed)

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

    async def _wait(self) -> None:
        await self._server.pass_time(self._random.choice((3.0, 10.0, 30.0)))

    async def _restart(self) -> None:
        self._browser.stop_server(is_planned=self._chance(0.5))
        is_lost = self._chance(0.5)
        self._record = await self._server.restart(is_lost=is_lost)
        self._oracle.record_state(self._record)
        for peer in self._peers:
            peer.restart(self._record.badge.unread, is_lost=is_lost)

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
        wrong = {
            "±1 deltas": self._deltas.is_wrong(),
            "pushed recounts": self._recounts.is_wrong(),
            "Roundel": not all(
                tab.is_quiet and self._oracle.agrees(tab.page, at) for tab in tabs
            ),
        }
        return Outcome(wrong=wrong, unsafe=tuple(self._oracle.unsafe))
