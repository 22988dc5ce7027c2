"""Two common protocols for badges, in a simple and fair form.

Both hear of each change the number before and after it, over a connection that keeps
the order, as long as nothing goes wrong. Neither reads the number again on its own,
as some real pages do when they get the focus.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Protocol, TypeAlias, final

from .faults import Fault

RING = 6
"""Number of messages that can be replayed."""

Message: TypeAlias = tuple[int, int]
"""Time and content of a published message."""


class Rule(Protocol):
    """The messages of a protocol, and how a page applies them."""

    shown: int

    def say(self, before: int, after: int) -> int:
        """Return the message of a change."""
        ...

    def hear(self, message: Message) -> None:
        """Apply a message."""
        ...

    def load(self, number: int, time: int) -> None:
        """Apply a number that was fetched."""
        ...

    def missed(self, log: deque[Message]) -> list[Message]:
        """Return the messages that a page receives after a reconnect."""
        ...


@final
class Deltas:
    """Publishes differences; a page that reconnects asks for messages by time."""

    def __init__(self) -> None:
        self.shown = 0
        self._newest = 0

    def say(self, before: int, after: int) -> int:
        """Return the difference."""
        return after - before

    def hear(self, message: Message) -> None:
        """Add the difference; the result is never negative."""
        time, difference = message
        self.shown = max(0, self.shown + difference)
        self._newest = max(self._newest, time)

    def load(self, number: int, time: int) -> None:
        """Set the number; this does not change the position in the stream."""
        self.shown = number

    def missed(self, log: deque[Message]) -> list[Message]:
        """Return the stored messages that are newer than the latest received one."""
        return [message for message in log if message[0] > self._newest]


@final
class Recounts:
    """Publishes the whole count after each change, without a version."""

    def __init__(self) -> None:
        self.shown = 0

    def say(self, before: int, after: int) -> int:
        """Return the number."""
        return after

    def hear(self, message: Message) -> None:
        """Show it."""
        self.shown = message[1]

    def load(self, number: int, time: int) -> None:
        """Show it."""
        self.shown = number

    def missed(self, log: deque[Message]) -> list[Message]:
        """Return nothing: the next change contains the number."""
        return []


@final
class Peer:
    """A page that follows *rule*, and the network between it and the server."""

    def __init__(self, rule: Rule, *, seed: int, faults: frozenset[Fault]) -> None:
        self.rule = rule
        self._random = Random(seed)
        self._faults = faults
        self._number = 0
        self._time = 0
        self._log: deque[Message] = deque(maxlen=RING)
        self._held: list[Message] = []
        self._wire: deque[Message] = deque()
        self._loaded: int | None = None
        self._is_up = True

    def change(self, number: int, *, is_published: bool) -> None:
        """Set the server's number, and publish it unless the publisher was bypassed."""
        before, self._number = self._number, number
        if is_published:
            self.publish(before, number)

    def publish(self, before: int, after: int) -> None:
        """Publish a change, with faults."""
        self._time += 1
        message = (self._time, self.rule.say(before, after))
        self._log.append(message)
        if not self._is_up or self._befalls(Fault.LOSS, 0.05):
            return
        self._held.append(message)
        if self._befalls(Fault.REORDER, 0.5):
            return
        if Fault.REORDER in self._faults:
            self._random.shuffle(self._held)
        self._send_held()
        if self._befalls(Fault.REPEAT, 0.1):
            self._wire.append(message)

    def _befalls(self, fault: Fault, rate: float) -> bool:
        return fault in self._faults and self._random.random() < rate

    def _send_held(self) -> None:
        self._wire += self._held
        self._held.clear()

    def read(self, most: int) -> None:
        """Deliver up to a number of messages."""
        for _ in range(min(most, len(self._wire))):
            self.rule.hear(self._wire.popleft())

    def fetch(self) -> None:
        """Fetch the number now, and apply it later."""
        self._loaded = self._number

    def load(self) -> None:
        """Apply the fetched number."""
        if self._loaded is not None:
            self.rule.load(self._loaded, self._time)
            self._loaded = None

    def cut(self) -> None:
        """Close the connection, and lose the messages in flight."""
        self._is_up = False
        self._wire.clear()
        self._held.clear()

    def back(self) -> None:
        """Reconnect, and receive the messages that the protocol replays."""
        if not self._is_up:
            self._is_up = True
            self._wire += self.rule.missed(self._log)

    def restart(self, number: int, *, is_lost: bool) -> None:
        """Close the connection, or reload the page if the server lost its data."""
        self.cut()
        self._number = number
        if is_lost:
            self._log.clear()
            self._loaded = None
            self.rule.load(number, self._time)
        self.back()

    def is_wrong(self) -> bool:
        """Deliver all messages in flight, and return the number on the page."""
        self.back()
        self._send_held()
        self.read(len(self._wire))
        self.load()
        return self.rule.shown != self._number
