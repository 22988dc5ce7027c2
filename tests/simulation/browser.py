"""All tabs of a user, the messages between them, and their network faults."""

from __future__ import annotations

from random import Random
from typing import Any, Final, final

from roundel import Event

from .faults import Fault
from .oracle import Truth
from .peers import Peer
from .schedule import VIEWS, Parts, Schedule
from .server import USER, Server
from .tab import Tab

STATES: Final = frozenset({"badge", "snapshot", "change"})


@final
class Browser:
    """Two or three tabs; faults of the first one also affect the *peers*."""

    def __init__(
        self,
        server: Server,
        truth: Truth,
        peers: tuple[Peer, ...],
        schedule: Schedule,
    ) -> None:
        self._server = server
        self._truth = truth
        self._peers = peers
        self._random = Random(f"browser {schedule.seed}")
        self._faults = schedule.faults
        self._fetched: list[tuple[Tab, dict[str, Any]]] = []
        self._relayed: list[tuple[Tab, Event]] = []

    def open(self, parts: Parts) -> None:
        """Open the tabs."""
        views = self._random.choices(VIEWS, k=3)
        # Tabs with the same view relay messages to each other.
        views[1] = self._random.choice(views[:2])
        del views[2 + self._random.getrandbits(1) :]
        self.tabs = [
            Tab(
                USER,
                parts.page(view),
                random=self._random,
                applied=self._applied,
                dress=parts.dress,
                loss=0.05 if Fault.LOSS in self._faults else 0.0,
            )
            for view in views
        ]

    def close(self) -> None:
        """Close the tabs."""
        for tab in self.tabs:
            tab.close()

    def _chance(self, rate: float) -> bool:
        return self._random.random() < rate

    def _applied(self, tab: Tab, event: Event) -> None:
        """Check the state of a page, and relay its messages."""
        if event.type in STATES:
            self._truth.check(tab.page)
            if Fault.REPEAT in self._faults and self._chance(0.3):
                alike = (t for t in self.tabs if t.page.view == tab.page.view)
                self._relayed += [(other, event) for other in alike if other is not tab]

    async def step(self) -> None:
        """Advance all tabs a little."""
        for tab in self.tabs:
            if not tab.is_up and self._chance(0.1):
                self._bring_back(tab)
            if self._chance(0.6):
                await self._move(tab, 1 + self._random.getrandbits(2))
        for peer in self._peers:
            peer.read(self._random.getrandbits(2))
        while self._relayed and self._chance(0.6):
            self._hear_relayed()
        if self._fetched and self._chance(0.2):
            self._show_fetched()

    async def _move(self, tab: Tab, most: int) -> None:
        await tab.connect(self._server.hub, self._server.now)
        tab.write(self._server.now)
        tab.read(most, self._server.now)

    def _hear_relayed(self) -> None:
        other, event = self._relayed.pop(0)
        other.page.overhear(event)
        self._truth.check(other.page)

    def _any(self) -> Tab:
        return self._random.choice((self.tabs[0], *self.tabs))

    async def fetch(self) -> None:
        """Fetch the state for a page, which applies it later."""
        tab = self._any()
        self._fetched.append((tab, await self._server.answer(tab.page.view)))
        if tab is self.tabs[0]:
            for peer in self._peers:
                peer.fetch()

    def _show_fetched(self) -> None:
        tab, answer = self._fetched.pop(0)
        tab.page.take(answer["badge"], answer.get("items"))
        self._truth.check(tab.page)
        if tab is self.tabs[0]:
            for peer in self._peers:
                peer.load()

    async def cut(self) -> None:
        """Disconnect a tab."""
        self._cut_off(self._any())

    async def cut_at_hello(self) -> None:
        """Disconnect a tab twice: it reconnects, receives one event and fails again."""
        tab = self.tabs[0]
        self._cut_off(tab)
        self._bring_back(tab)
        await self._server.pass_time(10.0)
        await self._move(tab, 1)
        self._cut_off(tab)

    def _cut_off(self, tab: Tab) -> None:
        tab.cut(self._server.now, silently=self._chance(0.2))
        if tab is self.tabs[0]:
            for peer in self._peers:
                peer.cut()

    def _bring_back(self, tab: Tab) -> None:
        tab.is_up = True
        if tab is self.tabs[0]:
            for peer in self._peers:
                peer.back()

    def lose_server(self, *, is_planned: bool) -> None:
        """Close all connections, with a close message if the shutdown is planned."""
        if is_planned:
            self._server.hub.drain()
            for tab in self.tabs:
                tab.write(self._server.now)
        for tab in self.tabs:
            tab.hang_up()

    def calm(self) -> None:
        """Stop all faults."""
        self._faults = frozenset()
        for tab in self.tabs:
            tab.loss = 0.0
            self._bring_back(tab)

    async def deliver_all(self) -> None:
        """Deliver everything in flight."""
        for tab in self.tabs:
            for _ in range(6):
                await self._move(tab, 1_000)
        while self._relayed:
            self._hear_relayed()

    def show_all_fetched(self) -> None:
        """Apply a fetched state that is late."""
        while self._fetched:
            self._show_fetched()
