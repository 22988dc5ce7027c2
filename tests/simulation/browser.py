"""All tabs of a user, the messages between them, and their network faults."""

from __future__ import annotations

from random import Random
from typing import Any, Final, final

from roundel import Event
from roundel_service.engines.base import MailboxDamaged

from .faults import Fault
from .oracle import Oracle
from .peers import Peer
from .schedule import VIEWS, ClientParts, Schedule
from .server import USER, Server
from .tab import Tab

STATE_EVENTS: Final = frozenset({"badge", "snapshot", "change"})


@final
class Browser:
    """Two or three tabs; faults of the first one also affect the *peers*."""

    def __init__(
        self,
        server: Server,
        oracle: Oracle,
        peers: tuple[Peer, ...],
        schedule: Schedule,
    ) -> None:
        self._server = server
        self._oracle = oracle
        self._peers = peers
        self._random = Random(f"browser {schedule.seed}")
        self._faults = schedule.faults
        self._fetched: list[tuple[Tab, dict[str, Any]]] = []
        self._relayed: list[tuple[Tab, Event]] = []

    def open(self, parts: ClientParts) -> None:
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
                wrap_stream=parts.wrap_stream,
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
        if event.type in STATE_EVENTS:
            self._oracle.check(tab.page)
            if Fault.REPEAT in self._faults and self._chance(0.3):
                same_view = (t for t in self.tabs if t.page.view == tab.page.view)
                self._relayed += [
                    (other, event) for other in same_view if other is not tab
                ]

    async def step(self) -> None:
        """Advance all tabs a little."""
        for tab in self.tabs:
            if not tab.is_online and self._chance(0.1):
                self._reconnect(tab)
            if self._chance(0.6):
                await self._advance(tab, 1 + self._random.getrandbits(2))
        for peer in self._peers:
            peer.read(self._random.getrandbits(2))
        while self._relayed and self._chance(0.6):
            self._deliver_relayed()
        if self._fetched and self._chance(0.2):
            self._apply_fetched()

    async def _advance(self, tab: Tab, limit: int) -> None:
        await tab.connect(self._server.hub, self._server.now)
        tab.write(self._server.now)
        tab.read(limit, self._server.now)

    def _deliver_relayed(self) -> None:
        other, event = self._relayed.pop(0)
        other.page.apply_relayed(event)
        self._oracle.check(other.page)

    def _random_tab(self) -> Tab:
        return self._random.choice((self.tabs[0], *self.tabs))

    async def fetch(self) -> None:
        """Fetch the state for a page, which applies it later."""
        tab = self._random_tab()
        try:
            response = await self._server.response(tab.page.view)
        except MailboxDamaged:
            return
        self._fetched.append((tab, response))
        if tab is self.tabs[0]:
            for peer in self._peers:
                peer.fetch()

    def _apply_fetched(self) -> None:
        tab, response = self._fetched.pop(0)
        tab.page.apply_response(response["badge"], response.get("items"))
        self._oracle.check(tab.page)
        if tab is self.tabs[0]:
            for peer in self._peers:
                peer.apply_fetched()

    async def disconnect(self) -> None:
        """Disconnect a tab."""
        self._disconnect(self._random_tab())

    async def disconnect_after_hello(self) -> None:
        """Disconnect a tab twice: it reconnects, receives one event and fails again."""
        tab = self.tabs[0]
        self._disconnect(tab)
        self._reconnect(tab)
        await self._server.pass_time(10.0)
        await self._advance(tab, 1)
        self._disconnect(tab)

    def disconnect_all(self) -> None:
        """Disconnect all tabs."""
        for tab in self.tabs:
            self._disconnect(tab)

    def _disconnect(self, tab: Tab) -> None:
        tab.disconnect(self._server.now, silently=self._chance(0.2))
        if tab is self.tabs[0]:
            for peer in self._peers:
                peer.disconnect()

    def _reconnect(self, tab: Tab) -> None:
        tab.is_online = True
        if tab is self.tabs[0]:
            for peer in self._peers:
                peer.reconnect()

    def stop_server(self, *, is_planned: bool) -> None:
        """Close all connections, with a close message if the shutdown is planned."""
        if is_planned:
            self._server.hub.drain()
            for tab in self.tabs:
                tab.write(self._server.now)
        for tab in self.tabs:
            tab.end_by_server()

    def stop_faults(self) -> None:
        """Stop all faults."""
        self._faults = frozenset()
        for tab in self.tabs:
            tab.loss = 0.0
            self._reconnect(tab)

    async def deliver_all(self) -> None:
        """Deliver everything in flight."""
        for tab in self.tabs:
            for _ in range(6):
                await self._advance(tab, 1_000)
        while self._relayed:
            self._deliver_relayed()

    def apply_all_fetched(self) -> None:
        """Apply all fetched states that were not applied yet."""
        while self._fetched:
            self._apply_fetched()
