"""One topic: its history, and the streams that show it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import TypeAlias, final
from weakref import ref

import attrs

from roundel import History, Stream

from .topic_stream import TopicStream

MakeHistory: TypeAlias = Callable[[str, str], History]
"""Makes the history of a topic, from its name and the epoch to use."""

MAX_NAME = 256
"""Longest name of a topic, in characters."""


def default_history(name: str, epoch: str) -> History:
    """Return a history of at most 256 events and 1 MiB."""
    return History(epoch, capacity=256, max_bytes=1 << 20)


@final
@attrs.define(eq=False)
class Topic:
    """A history, and the streams that show it."""

    name: str
    history: History
    used_at: float
    epoch: str
    streams: set[ref[TopicStream]] = attrs.field(factory=set, init=False)

    def add(self, stream: TopicStream) -> None:
        """Notify *stream* as long as it exists."""
        # A WeakSet is not safe in threads: a removal can meet an iteration.
        self.streams.add(ref(stream, self.streams.discard))

    def discard(self, stream: TopicStream) -> bool:
        """Remove *stream*; return whether it was there."""
        count = len(self.streams)
        self.streams.discard(ref(stream))
        return len(self.streams) < count

    def notify(self) -> None:
        """Wake each stream."""
        # A copy in one step: other threads and finalizers remove streams.
        for reference in self.streams.copy():
            if stream := reference():
                stream.wakeup.notify()

    def start_own_epoch(self) -> None:
        """Continue with another epoch, unless *make_history* has chosen its own."""
        if self.history.head.epoch == self.epoch:
            self.epoch = new_epoch()
            self.history.continue_as(self.epoch)


def check_name(name: str) -> None:
    """Raise `ValueError` for a name that is empty or too long."""
    if not 0 < len(name) <= MAX_NAME:
        raise ValueError(f"topic: expected 1 to {MAX_NAME} characters")


def check_names(names: Mapping[str, str]) -> None:
    """Raise an error if no stream can have these topics by name, with any epochs."""
    for name in names.values():
        check_name(name)
    Stream(dict.fromkeys(names, _SHORTEST), now=0.0)


_SHORTEST = History("0", capacity=0)
"""A history with the shortest epoch."""


def new_epoch() -> str:
    """Return a random name for an epoch."""
    # 48 random bits: a restarted process must not continue an epoch by chance.
    return secrets.token_urlsafe(6)
