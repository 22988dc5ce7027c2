"""The service without HTTP: an engine with faults, the hub and virtual time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, final

import trio
from trio.testing import MockClock

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import DeleteUser, Operation
from roundel_service.domain.record import Record, RecordLimits, needs_topics
from roundel_service.domain.refusals import OperationRefused
from roundel_service.engines.base import EngineUnavailable, MailboxDamaged
from roundel_service.streams.events import SNAPSHOT_ITEMS, item_page
from roundel_service.streams.hub import Hub
from roundel_service.streams.subscribe import StreamTimeouts
from roundel_service.streams.view_history import View
from roundel_service.telemetry.metrics import Metrics
from roundel_service.testing import MakeEngine, Setup
from support.documents import document, plain

from .faults import FaultyEngine, Saboteur
from .peers import CHANGE_LOG_SIZE
from .schedule import Schedule

START: Final = 1_763_690_000.0
USER: Final = "alice"
TOPICS: Final = ("#all", "#t")
LIMITS: Final = MailboxLimits(items=8)
RECORD_LIMITS: Final = RecordLimits(mailbox=LIMITS, change_log_size=CHANGE_LOG_SIZE)
TIMEOUTS: Final = StreamTimeouts(ping=25.0, max_age=200.0)
METRICS: Final = Metrics()
"""Metrics of all schedules: creating them costs as much as a short schedule."""


@final
class Server:
    """The real engine and the real hub, with restarts of the process.

    *on_change* is called at once for each state, even if its notification is lost.
    """

    hub: Hub
    engine: FaultyEngine

    def __init__(
        self,
        make_engine: MakeEngine,
        schedule: Schedule,
        *,
        on_change: Callable[[str, Record], None],
        nursery: trio.Nursery,
        saboteur: Saboteur | None = None,
    ) -> None:
        self._saboteur = saboteur
        self._make_engine = make_engine
        self._schedule = schedule
        # A separate generator, so that its draws do not change the schedule.
        self._random = Random(f"server {schedule.seed}")
        self._on_change = on_change
        self._nursery = nursery
        # Equal to `trio.current_time()`, and cheaper to read.
        self.now = self._repeated_at = trio.current_time()

    def clock(self) -> float:
        """Return seconds since 1970."""
        return START + self.now

    async def start(self) -> Record:
        """Start with an empty engine."""
        self._choose_store_name()
        await self._start_engine()
        await self._start_hub()
        return await self.engine.read(USER)

    async def lose_mailbox(self) -> Record | None:
        """Lose the user's mailbox; return what is left, if that is known."""
        if self._saboteur is None:
            return await self.engine.lose(USER)
        self._saboteur.lose(self._store_name, USER)
        return None

    def damage_mailbox(self) -> None:
        """Make the user's mailbox undecodable."""
        if self._saboteur is None:
            self.engine.damage(USER)
        else:
            self._saboteur.damage(self._store_name, USER)

    async def restart(self, *, is_lost: bool) -> Record:
        """Start a new process, with or without the data of the engine.

        A damaged mailbox is replaced.
        """
        self._hub_runs.cancel()
        self.engine.restart()
        if is_lost:
            self._choose_store_name()
        if is_lost or self._schedule.reopens:
            self._engine_runs.cancel()
            await self._engine_ended.wait()
            await self._start_engine()
        await self._start_hub()
        return await self.repaired_record()

    async def repaired_record(self) -> Record:
        """Return the user's record; delete the user if it is damaged."""
        try:
            return await self.engine.read(USER)
        except MailboxDamaged:
            epoch = f"{self._random.getrandbits(48):012x}"
            await self.hub.apply(USER, DeleteUser(epoch))
            return await self.engine.read(USER)

    def _choose_store_name(self) -> None:
        self._store_name = self._random.randbytes(16).hex()

    async def _start_engine(self) -> None:
        setup = Setup(clock=self.clock, limits=RECORD_LIMITS, name=self._store_name)
        self.engine = FaultyEngine(
            self._make_engine(setup),
            self._on_change,
            users={USER, *TOPICS},
            random=self._random,
            faults=self._schedule.faults,
            change_log_size=CHANGE_LOG_SIZE,
        )
        self._engine_runs, self._engine_ended = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._run_engine)

    async def _run_engine(self, task_status: trio.TaskStatus[None]) -> None:
        with self._engine_runs:
            await self.engine.run(task_status=task_status)
        self._engine_ended.set()

    async def _start_hub(self) -> None:
        self.hub = Hub(
            self.engine,
            timeouts=TIMEOUTS,
            change_log_size=CHANGE_LOG_SIZE,
            clock=self.clock,
            random=self._random.random,
            metrics=METRICS,
        )
        self._hub_runs = trio.CancelScope()
        await self._nursery.start(self._run_hub)

    async def _run_hub(self, task_status: trio.TaskStatus[None]) -> None:
        with self._hub_runs:
            await self.hub.run(task_status=task_status)

    async def pass_time(self, seconds: float) -> None:
        """Advance the time, and run everything that is due."""
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        clock.jump(seconds)
        self.now = trio.current_time()
        await self._let_expire()
        while self.engine.is_busy:
            await self.engine.wait_for_work()
            await self._let_expire()
        if self.now - self._repeated_at >= TIMEOUTS.ping:
            self._repeated_at = self.now
            self.engine.deliver_lost()

    async def _let_expire(self) -> None:
        # The hub's task expires the due items at its next checkpoints.
        for _ in range(3):
            await trio.lowlevel.checkpoint()

    async def apply(self, operation: Operation, name: str = USER) -> bool:
        """Apply *operation* as a request would; return whether it was accepted."""
        try:
            await self.hub.apply(name, operation)
        except (MailboxDamaged, OperationRefused):
            return False
        except EngineUnavailable:
            # A topic that is damaged or away: the operation had no effect.
            if needs_topics(operation):
                return False
            raise
        return True

    async def lose_topic(self, name: str) -> None:
        """Lose the mailbox of a topic, without a notification."""
        if self._saboteur is None:
            await self.engine.lose(name)
        else:
            self._saboteur.lose(self._store_name, name)

    async def response(self, view: View) -> dict[str, Any]:
        """Return the response of `GET /v1/badge`, or `GET /v1/items` at that level."""
        if view.level == "badge":
            channel = await self.hub.channel(USER)
            return {"badge": document(channel.badge)}
        mailbox = (await self.engine.read(USER)).mailbox
        return {"badge": document(mailbox.badge), **_listed(mailbox, view.categories)}


def _listed(mailbox: Mailbox, only: frozenset[str] | None) -> dict[str, Any]:
    items = mailbox.items.values()
    listed = [item for item in items if not only or item.category in only]
    page, next_cursor = item_page(listed[::-1], SNAPSHOT_ITEMS)
    return {"items": plain(page), "next": next_cursor}
