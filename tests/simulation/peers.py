"""Two common protocols for badges, in a simple and fair form.

Both receive the number before and after each change, over a connection that keeps the
order unless a fault is injected. Neither reads the number again without a reconnect,
although some real pages do so when they get the focus.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Protocol, TypeAlias, final

from .faults import Fault

CHANGE_LOG_SIZE = 6
"""Number of messages that can be replayed."""

Message: TypeAlias = tuple[int, int]
"""Time and content of a published message."""


class BadgeProtocol(Protocol):
    """Makes the messages of a badge protocol, and applies them on a page."""

    shown: int

    def message(self, before: int, after: int) -> int:
        """Return the message of a change."""
        ...

    def apply(self, message: Message) -> None:
        """Apply a message."""
        ...

    def apply_fetched(self, number: int, time: int) -> None:
        """Apply a number that was fetched."""
        ...

    def replay(self, log: deque[Message]) -> list[Message]:
        """Return the messages that a page receives after a reconnect."""
        ...


@final
class Deltas:
    """Publishes differences; a page that reconnects asks for messages by time."""

    def __init__(self) -> None:
        self.shown = 0
        self._newest = 0

    def message(self, before: int, after: int) -> int:
        """Return the difference."""
        return after - before

    def apply(self, message: Message) -> None:
        """Add the difference; the result is never negative."""
        time, difference = message
        self.shown = max(0, self.shown + difference)
        self._newest = max(self._newest, time)

    def apply_fetched(self, number: int, time: int) -> None:
        """Set the number; this does not change the position in the stream."""
        self.shown = number

    def replay(self, log: deque[Message]) -> list[Message]:
        """Return the stored messages that are newer than the latest received one."""
        return [message for message in log if message[0] > self._newest]


@final
class Recounts:
    """Publishes the whole count after each change, without a version."""

    def __init__(self) -> None:
        self.shown = 0

    def message(self, before: int, after: int) -> int:
        """Return the number."""
        return after

    def apply(self, message: Message) -> None:
        """Show the number."""
        self.shown = message[1]

    def apply_fetched(self, number: int, time: int) -> None:
        """Show the number."""
        self.shown = number

    def replay(self, log: deque[Message]) -> list[Message]:
        """Return nothing: the next change contains the number."""
        return []


@final
class Peer:
    """A page that follows *protocol*, and the network between it and the server."""

    def __init__(
        self, protocol: BadgeProtocol, *, seed: int, faults: frozenset[Fault]
    ) -> None:
        self.protocol = protocol
        self._random = Random(seed)
        self._faults = faults
        self._number = 0
        self._time = 0
        self._log: deque[Message] = deque(maxlen=CHANGE_LOG_SIZE)
        self._delayed: list[Message] = []
        self._in_flight: deque[Message] = deque()
        self._fetched: int | None = None
        self._is_online = True

    @property
    def number(self) -> int:
        """The server's number."""
        return self._number

    def set_number(self, number: int) -> None:
        """Set the server's number, and publish nothing."""
        self._number = number

    def change(self, number: int, *, is_published: bool) -> None:
        """Set the server's number, and publish it unless the publisher was bypassed."""
        before, self._number = self._number, number
        if is_published:
            self.publish(before, number)

    def publish(self, before: int, after: int) -> None:
        """Publish a change, with faults."""
        self._time += 1
        message = (self._time, self.protocol.message(before, after))
        self._log.append(message)
        if not self._is_online or self._injects(Fault.LOSS, 0.05):
            return
        self._delayed.append(message)
        if self._injects(Fault.REORDER, 0.5):
            return
        if Fault.REORDER in self._faults:
            self._random.shuffle(self._delayed)
        self._send_delayed()
        if self._injects(Fault.REPEAT, 0.1):
            self._in_flight.append(message)

    def _injects(self, fault: Fault, rate: float) -> bool:
        return fault in self._faults and self._random.random() < rate

    def _send_delayed(self) -> None:
        self._in_flight += self._delayed
        self._delayed.clear()

    def read(self, limit: int) -> None:
        """Deliver up to a number of messages."""
        for _ in range(min(limit, len(self._in_flight))):
            self.protocol.apply(self._in_flight.popleft())

    def fetch(self) -> None:
        """Fetch the number now, and apply it later."""
        self._fetched = self._number

    def apply_fetched(self) -> None:
        """Apply the fetched number."""
        if self._fetched is not None:
            self.protocol.apply_fetched(self._fetched, self._time)
            self._fetched = None

    def disconnect(self) -> None:
        """Close the connection, and lose the messages in flight."""
        self._is_online = False
        self._in_flight.clear()
        self._delayed.clear()

    def reconnect(self) -> None:
        """Reconnect, and receive the messages that the protocol replays."""
        if not self._is_online:
            self._is_online = True
            self._in_flight += self.protocol.replay(self._log)

    def restart(self, number: int, *, is_lost: bool) -> None:
        """Close the connection, or reload the page if the server lost its data."""
        self.disconnect()
        self._number = number
        if is_lost:
            self._log.clear()
            self._fetched = None
            self.protocol.apply_fetched(number, self._time)
        self.reconnect()

    def is_wrong(self) -> bool:
        """Deliver all messages in flight, and return the number on the page."""
        self.reconnect()
        self._send_delayed()
        self.read(len(self._in_flight))
        self.apply_fetched()
        return self.protocol.shown != self._number


@final
class TwoSources:
    """A page that adds two counts: of its user's items, and of unread broadcasts.

    The server merges nothing: the page reads, and is pushed, each count apart.
    """

    def __init__(self, *, seed: int, faults: frozenset[Fault]) -> None:
        self._own = Peer(Recounts(), seed=seed, faults=faults)
        self._common = Peer(Recounts(), seed=seed + 1, faults=faults)
        self._is_reading = False

    def change(self, own: int, common: int, *, is_published: bool) -> None:
        """Set both counts of the server, and push those that differ."""
        if own != self._own.number:
            self._own.change(own, is_published=is_published)
        if common != self._common.number:
            self._common.change(common, is_published=is_published)

    def read(self, limit: int) -> None:
        """Deliver up to a number of messages of each source."""
        self._own.read(limit)
        self._common.read(limit)
        if self._is_reading:
            self._is_reading = False
            self._common.fetch()

    def fetch(self) -> None:
        """Fetch the first count now, and the second one later."""
        self._own.fetch()
        self._is_reading = True

    def apply_fetched(self) -> None:
        """Apply the fetched counts."""
        self._own.apply_fetched()
        self._common.apply_fetched()

    def disconnect(self) -> None:
        """Close the connection."""
        self._own.disconnect()
        self._common.disconnect()

    def reconnect(self) -> None:
        """Reconnect."""
        self._own.reconnect()
        self._common.reconnect()

    def restart(self, own: int, common: int, *, is_lost: bool) -> None:
        """Close the connection, or reload the page if the server lost its data."""
        self._own.restart(own, is_lost=is_lost)
        self._common.restart(common, is_lost=is_lost)

    def is_wrong(self) -> bool:
        """Deliver everything in flight, and compare the sums."""
        total = self._own.number + self._common.number
        self._own.is_wrong()
        self._common.is_wrong()
        return self._own.protocol.shown + self._common.protocol.shown != total
