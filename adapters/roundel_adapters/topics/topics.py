"""Named topics for an application that publishes and streams in one process.

A `History` and its subscribers are plain objects. An application that embeds them needs
a place for the histories, a lock, a wakeup for each subscriber, and an end at shutdown.
`Topics` is that place.

**Threads.** One lock guards all histories and all streams. It is held while an event is
appended and while a stream makes its next chunks, which takes microseconds. Wakeups are
called outside of it. A signal handler or a finalizer that publishes while its own
thread holds the lock is deferred until the release.

**Processes.** A forked process has the same topics, each in an epoch of its own.

**Lifetime.** A topic knows its streams by weak references. So a response that a server
never starts needs no clean-up: the topic is idle again when the stream is collected.
An idle topic is dropped when it is old, or when others need its place. The next use
makes it again, with another epoch, so that a subscriber of the old one gets outcome
``"reset"`` and no gap.

**Clocks.** Histories use the clock of `Topics`, and a driver uses the clock of its
event loop. The first `data_to_send()` of a stream measures the difference.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from math import inf
from random import random
from typing import TypeAlias, final
from weakref import WeakSet

from roundel import (
    CloseMessage,
    Cursor,
    Delta,
    Event,
    Position,
    ResumeInfo,
    ResumeOutcome,
    Stream,
)

from ..drain import Drain, default_close_message
from .deferring_lock import DeferringLock
from .topic import (
    MakeHistory,
    Topic,
    check_name,
    check_names,
    default_history,
    new_epoch,
)
from .topic_stream import TopicStream

EventToPublish: TypeAlias = Event | Callable[[], Event] | Delta
"""An event, or a function that makes it when the first subscriber needs it."""


class TooManyTopics(Exception):  # noqa: N818, the name says it
    """Every topic has a stream, so that none can make room for another."""


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
        self._topics: OrderedDict[str, Topic] = OrderedDict()
        self._lock = DeferringLock()
        _all_topics.add(self)
        self.drain: Drain = Drain(lambda: self._close_message(), signals=signals)
        """Ends the streams; `close()` begins it."""

    def __len__(self) -> int:
        return len(self._topics)

    def __contains__(self, name: object) -> bool:
        return name in self._topics

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the topics that exist now."""
        with self._lock.lock:
            return iter(tuple(self._topics))

    def publish(
        self,
        name: str,
        event: EventToPublish,
        *,
        snapshot: Event | Callable[[], Event] | None = None,
        offset: int | None = None,
    ) -> Position | None:
        """Append *event* to a topic, wake its streams, and return its position.

        *snapshot* is the state right after the event, for new subscribers and for those
        that missed too much. *offset* is the event's number if another database counts;
        it has to rise, and `LocalProtocolError` is raised if it does not. Raises
        `ValueError` for a name that is empty or has more than 256 characters, and
        `TooManyTopics`.

        Returns `None` if the event is appended later: when a signal handler, a
        finalizer or a function of a stream publishes while its own thread is within
        another call of these topics, then right after that call.
        """
        check_name(name)
        append = partial(self._append, name, event, snapshot, offset)
        if self._lock.is_interrupted():
            self._lock.defer(lambda: append()[0].notify)
            return None
        # Earlier events first, in the order of their calls.
        self._lock.run_deferred()
        try:
            with self._lock.lock:
                topic, position = append()
            topic.notify()
            return position
        finally:
            self._lock.run_deferred()

    def _append(
        self,
        name: str,
        event: EventToPublish,
        snapshot: Event | Callable[[], Event] | None,
        offset: int | None,
    ) -> tuple[Topic, Position]:
        now = self._clock()
        topic = self._topic(name, now)
        return topic, topic.history.append(
            event, now=now, snapshot=snapshot, offset=offset
        )

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
        try:
            with self._lock.lock:
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
        finally:
            self._lock.run_deferred()

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

    def _topics_of(self, names: Mapping[str, str]) -> dict[str, Topic]:
        now = self._clock()
        if not self._topics.keys() >= set(names.values()):
            # Names of a request that cannot be a stream take no topic's place.
            check_names(names)
        topics = {name: self._topic(names[name], now) for name in names}
        if any(self._topics.get(topic.name) is not topic for topic in topics.values()):
            # The last ones took the place of the first ones.
            raise TooManyTopics(f"no room for {len(topics)} topics")
        return topics

    def _topic(self, name: str, now: float) -> Topic:
        """Return a topic, which is made if there is none, as the last one used."""
        self._drop_idle(now)
        topic = self._topics.get(name)
        if topic is None:
            check_name(name)
            epoch = new_epoch()
            # Before another topic is dropped: it may raise.
            topic = Topic(name, self._make_history(name, epoch), now, epoch)
            if len(self._topics) >= self._max_topics:
                self._drop_least_recently_used(now)
            self._topics[name] = topic
        self._use(topic, now)
        return topic

    def _use(self, topic: Topic, now: float) -> None:
        if self._topics.get(topic.name) is topic:
            topic.used_at = now
            self._topics.move_to_end(topic.name)

    def _drop_idle(self, now: float) -> None:
        for _ in range(len(self._topics)):
            oldest = next(iter(self._topics.values()))
            if oldest.used_at + self._max_idle > now:
                return
            self._drop_or_use(oldest, now)

    def _drop_least_recently_used(self, now: float) -> None:
        for _ in range(len(self._topics)):
            if self._drop_or_use(next(iter(self._topics.values())), now):
                return
        raise TooManyTopics(f"each of {len(self._topics)} topics has a stream")

    def _drop_or_use(self, topic: Topic, now: float) -> bool:
        """Drop *topic*, unless it has streams, which use it."""
        if topic.streams:
            self._use(topic, now)
            return False
        del self._topics[topic.name]
        return True

    def _add_stream(self, stream: Stream, topics: Collection[Topic]) -> TopicStream:
        added = TopicStream(
            stream,
            self.drain,
            lock=self._lock,
            clock=self._clock,
            on_close=partial(self._remove_stream, topics),
        )
        for topic in topics:
            topic.add(added)
        return added

    def _remove_stream(self, topics: Collection[Topic], stream: TopicStream) -> None:
        now = self._clock()
        for topic in topics:
            if topic.discard(stream):
                self._use(topic, now)

    def _continue_in_child(self) -> None:
        self._lock.reset()
        for topic in self._topics.values():
            topic.start_own_epoch()


_all_topics: WeakSet[Topics] = WeakSet()


def _continue_in_child() -> None:
    """Give each topic of a forked process an epoch of its own.

    Its events will differ from those of the other processes at the same offsets.
    """
    for topics in _all_topics:
        topics._continue_in_child()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_continue_in_child)


def _by_name_in_stream(
    names: str | Iterable[str] | Mapping[str, str],
) -> Mapping[str, str]:
    """Return the topics by their names in the stream."""
    if isinstance(names, str):
        return {"": names}
    return names if isinstance(names, Mapping) else {name: name for name in names}
