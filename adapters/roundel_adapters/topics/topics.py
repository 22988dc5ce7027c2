"""Named topics for an application that publishes and streams in one process.

A `History` and its subscribers are plain objects. An application that embeds them needs
a place for the histories, a lock, a wakeup for each subscriber, and an end at shutdown.
`Topics` is that place.

**Threads.** One lock guards all histories and all streams. It is held while an event is
appended and while a stream makes its next chunks, which takes microseconds. Wakeups are
called outside of it.

**Lifetime.** A topic knows its streams by weak references. So a response that a server
never starts needs no clean-up: the topic is idle again when the stream is collected.
An idle topic is dropped when it is old, or when others need its place. The next use
makes it again, with another epoch, so that a subscriber of the old one gets outcome
``"reset"`` and no gap.

**Clocks.** Histories use the clock of `Topics`, and a driver uses the clock of its
event loop. The first `data_to_send()` of a stream measures the difference.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from math import inf
from random import random
from typing import TypeAlias, final
from weakref import WeakSet

import attrs

from roundel import (
    CloseMessage,
    Cursor,
    Delta,
    Event,
    History,
    Position,
    ResumeInfo,
    ResumeOutcome,
    Stream,
)

from .drain import Drain, default_close_message
from .topic_stream import TopicStream

MakeHistory: TypeAlias = Callable[[str, str], History]
"""Makes the history of a topic, from its name and the epoch to use."""

EventToPublish: TypeAlias = Event | Callable[[], Event] | Delta
"""An event, or a function that makes it when the first subscriber needs it."""

MAX_NAME = 256
"""Longest name of a topic, in characters."""


class TooManyTopics(Exception):  # noqa: N818, the name says it
    """Every topic has a stream, so that none can make room for another."""


def default_history(name: str, epoch: str) -> History:
    """Return a history of at most 256 events and 1 MiB."""
    return History(epoch, capacity=256, max_bytes=1 << 20)


@final
@attrs.define(eq=False)
class _Topic:
    name: str
    history: History
    used_at: float
    streams: WeakSet[TopicStream] = attrs.field(factory=WeakSet, init=False)


@final
class Topics:
    """The topics of one process: publish to them by name, and stream several at once.

    All methods can be called in any thread, in tasks and in callbacks. With several
    processes a stream gets only what its own process publishes: run the service, or
    publish to each process.

    Args:
        make_history: Makes a topic's history when the topic is first used. It is called
            with the lock held, so it must not wait. The epoch is new each time.
        max_topics: The most topics. The one that was not used for the longest time is
            dropped, among those without a stream.
        max_idle: Seconds after which a topic without a stream may be dropped.
        close_message: Makes the message that ends a stream, at `close()` and when a
            stream reaches its *max_age*.
        signals: Whether SIGTERM and SIGINT call `close()`, in front of the server's own
            handlers (see `Drain`).
        clock: The time in seconds, in any thread. It matters to *max_idle* and to the
            *retention* of a history.
    """

    def __init__(
        self,
        make_history: MakeHistory = default_history,
        *,
        max_topics: int = 10_000,
        max_idle: float = 3_600.0,
        close_message: Callable[[], CloseMessage] = default_close_message,
        signals: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_topics < 1 or max_idle < 0:
            raise ValueError("expected at least one topic, and a time of 0 or more")
        self._make_history = make_history
        self._max_topics = max_topics
        self._max_idle = max_idle
        self._close_message = close_message
        self._clock = clock
        # In the order of their last use. A dict takes O(n) to find its first key after
        # deletions at its front.
        self._topics: OrderedDict[str, _Topic] = OrderedDict()
        # Reentrant: a function that a stream calls may publish.
        self._lock = threading.RLock()
        self.drain: Drain = Drain(lambda: self._close_message(), signals=signals)
        """Ends the streams; `close()` begins it."""

    def __len__(self) -> int:
        return len(self._topics)

    def __contains__(self, name: object) -> bool:
        return name in self._topics

    def publish(
        self,
        name: str,
        event: EventToPublish,
        *,
        snapshot: Event | Callable[[], Event] | None = None,
    ) -> Position:
        """Append *event* to a topic, wake its streams, and return its position.

        *snapshot* is the state right after the event, for new subscribers and for those
        that missed too much. Raises `ValueError` for a name that is empty or has more
        than 256 characters, and `TooManyTopics`.
        """
        with self._lock:
            now = self._clock()
            topic = self._topic(name, now)
            position = topic.history.append(event, now=now, snapshot=snapshot)
            streams = list(topic.streams)
        for stream in streams:
            stream.wakeup.notify()
        return position

    def stream(
        self,
        names: str | Iterable[str] | Mapping[str, str],
        *,
        last_event_id: str | bytes | None = None,
        hello: Callable[[ResumeInfo], Event] | None = None,
        retry: int | None = None,
        gap: Callable[[str, ResumeOutcome], Event | None] | None = None,
        ping: Callable[[Cursor], Event] | None = None,
        heartbeat: float = 15.0,
        max_age: float = inf,
        timed_event: tuple[float, Event] | None = None,
        max_write: int = 1 << 16,
    ) -> TopicStream:
        """Return a stream of one topic or several, for the response to one request.

        *names* is one topic, several topics, or a mapping of the names in the stream to
        topics. A name in the stream has 1 to 32 of ``A-Z a-z 0-9 _ -``, as it is a part
        of each event id. One topic alone has no name in the stream. The other arguments
        are those of `roundel.Stream`; a *max_age* is shortened by up to a fifth.

        Raises `LocalProtocolError` for other names in the stream, and what `publish()`
        raises.
        """
        with self._lock:
            topics = self._topics_of(_by_name_in_stream(names))
            stream = Stream(
                {name: topic.history for name, topic in topics.items()},
                now=self._clock(),
                last_event_id=last_event_id,
                hello=hello,
                retry=retry,
                gap=gap,
                ping=ping,
                heartbeat=heartbeat,
                max_age=max_age,
                random=random,
                close_message=lambda: self._close_message(),
                timed_event=timed_event,
                max_write=max_write,
            )
            return self._add_stream(stream, topics.values())

    def close(
        self, close_message: CloseMessage | Callable[[], CloseMessage] | None = None
    ) -> None:
        """End all streams, and each later one at once.

        The default message is that of the constructor: a `bye` event, and a
        reconnection time of 5 to 10 seconds.
        """
        if isinstance(close_message, CloseMessage):
            self._close_message = lambda: close_message
        elif close_message is not None:
            self._close_message = close_message
        self.drain.begin()

    def _topics_of(self, names: Mapping[str, str]) -> dict[str, _Topic]:
        now = self._clock()
        topics = {name: self._topic(names[name], now) for name in names}
        if any(self._topics.get(topic.name) is not topic for topic in topics.values()):
            # The last ones took the place of the first ones.
            raise TooManyTopics(f"no room for {len(topics)} topics")
        return topics

    def _topic(self, name: str, now: float) -> _Topic:
        """Return a topic, which is made if there is none, as the last one used."""
        self._drop_idle(now)
        topic = self._topics.get(name)
        if topic is None:
            if not 0 < len(name) <= MAX_NAME:
                raise ValueError(f"topic: expected 1 to {MAX_NAME} characters")
            if len(self._topics) >= self._max_topics:
                self._drop_least_recently_used(now)
            topic = _Topic(name, self._make_history(name, _new_epoch()), now)
            self._topics[name] = topic
        self._use(topic, now)
        return topic

    def _use(self, topic: _Topic, now: float) -> None:
        if self._topics.get(topic.name) is topic:
            topic.used_at = now
            self._topics.move_to_end(topic.name)

    def _drop_idle(self, now: float) -> None:
        while self._topics:
            oldest = next(iter(self._topics.values()))
            if oldest.used_at + self._max_idle > now:
                return
            self._drop_or_use(oldest, now)

    def _drop_least_recently_used(self, now: float) -> None:
        for _ in range(len(self._topics)):
            if self._drop_or_use(next(iter(self._topics.values())), now):
                return
        raise TooManyTopics(f"each of {len(self._topics)} topics has a stream")

    def _drop_or_use(self, topic: _Topic, now: float) -> bool:
        """Drop *topic*, unless it has streams, which use it."""
        if topic.streams:
            self._use(topic, now)
            return False
        del self._topics[topic.name]
        return True

    def _add_stream(self, stream: Stream, topics: Collection[_Topic]) -> TopicStream:
        added = TopicStream(
            stream,
            self.drain,
            lock=self._lock,
            clock=self._clock,
            on_close=partial(self._remove_stream, topics),
        )
        for topic in topics:
            topic.streams.add(added)
        return added

    def _remove_stream(self, topics: Collection[_Topic], stream: TopicStream) -> None:
        now = self._clock()
        for topic in topics:
            if stream in topic.streams:
                topic.streams.discard(stream)
                self._use(topic, now)


def _by_name_in_stream(
    names: str | Iterable[str] | Mapping[str, str],
) -> Mapping[str, str]:
    """Return the topics by their names in the stream."""
    if isinstance(names, str):
        return {"": names}
    return names if isinstance(names, Mapping) else {name: name for name in names}


def _new_epoch() -> str:
    # 48 random bits: a restarted process must not continue an epoch by chance.
    return secrets.token_urlsafe(6)
