"""Two ways in which badges are commonly kept, as simple and as fair as can be.

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
"""How many messages can be replayed."""

Message: TypeAlias = tuple[int, int]
"""When something was published, and what it says."""


class Rule(Protocol):
    """What is published of a change, and what a page makes of it."""

    shown: int

    def say(self, before: int, after: int) -> int:
        """Return what is published of a change."""
        ...

    def hear(self, message: Message) -> None:
        """Take what was published."""
        ...

    def load(self, number: int, time: int) -> None:
        """Take the number as it was read."""
        ...

    def missed(self, log: deque[Message]) -> list[Message]:
        """Return what a page that comes back is told."""
        ...


@final
class Deltas:
    """Each change is told as a difference; a page that was away asks by time."""

    def __init__(self) -> None:
        self.shown = 0
        self._newest = 0

    def say(self, before: int, after: int) -> int:
        """Say the difference."""
        return after - before

    def hear(self, message: Message) -> None:
        """Add it, and never show less than nothing."""
        time, difference = message
        self.shown = max(0, self.shown + difference)
        self._newest = max(self._newest, time)

    def load(self, number: int, time: int) -> None:
        """Show the number; where the stream stands is another matter."""
        self.shown = number

    def missed(self, log: deque[Message]) -> list[Message]:
        """Return what is younger than the newest that was heard, if it is kept."""
        return [message for message in log if message[0] > self._newest]


@final
class Recounts:
    """After each change the whole number is counted and told, without a version."""

    def __init__(self) -> None:
        self.shown = 0

    def say(self, before: int, after: int) -> int:
        """Say the number."""
        return after

    def hear(self, message: Message) -> None:
        """Show it."""
        self.shown = message[1]

    def load(self, number: int, time: int) -> None:
        """Show it."""
        self.shown = number

    def missed(self, log: deque[Message]) -> list[Message]:
        """Return nothing: the next change will tell."""
        return []


@final
class Peer:
    """One page that follows *rule*, and the way from its server to it."""

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
        """Take a new number, and tell of it unless the hook was bypassed."""
        before, self._number = self._number, number
        if is_published:
            self.publish(before, number)

    def publish(self, before: int, after: int) -> None:
        """Tell of a change, as far as what goes wrong lets it."""
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
        """Let the page hear at most so many messages."""
        for _ in range(min(most, len(self._wire))):
            self.rule.hear(self._wire.popleft())

    def fetch(self) -> None:
        """Read the number now, to be shown later."""
        self._loaded = self._number

    def load(self) -> None:
        """Show what was read."""
        if self._loaded is not None:
            self.rule.load(self._loaded, self._time)
            self._loaded = None

    def cut(self) -> None:
        """Lose the connection and all that is under way."""
        self._is_up = False
        self._wire.clear()
        self._held.clear()

    def back(self) -> None:
        """Come back, and be told whatever the protocol tells then."""
        if not self._is_up:
            self._is_up = True
            self._wire += self.rule.missed(self._log)

    def restart(self, number: int, *, is_lost: bool) -> None:
        """Lose the connection, or load the page anew if the server lost its data."""
        self.cut()
        self._number = number
        if is_lost:
            self._log.clear()
            self._loaded = None
            self.rule.load(number, self._time)
        self.back()

    def is_wrong(self) -> bool:
        """Let everything arrive that is under way, and look at the page."""
        self.back()
        self._send_held()
        self.read(len(self._wire))
        self.load()
        return self.rule.shown != self._number
