"""The queue of followers that a sweep refreshes, with all topics in turn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import final

import attrs


@final
@attrs.frozen
class FinishedSweep:
    """The sweep of a *topic* that began at *started_at*, and its *followers*."""

    topic: str
    started_at: float
    followers: int


@final
@attrs.define(eq=False)
class _TopicQueue:
    started_at: float
    # Dictionaries, since a user may be found behind twice.
    users: dict[str, None] = attrs.field(factory=dict, init=False)
    failed: dict[str, None] = attrs.field(factory=dict, init=False)
    refreshed: int = attrs.field(default=0, init=False)


@final
@attrs.define(eq=False)
class RefreshQueue:
    """Holds the users to be refreshed, by the topic that has news for them.

    A chunk has users of all topics: the three followers of one topic do not wait for
    20,000 followers of a second topic.
    """

    _topics: dict[str, _TopicQueue] = attrs.field(factory=dict, init=False)
    _taken: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        """Return the number of users that are not refreshed yet."""
        queues = self._topics.values()
        return self._taken + sum(len(each.users) + len(each.failed) for each in queues)

    @property
    def is_ready(self) -> bool:
        """Whether `take()` returns any user."""
        return any(each.users for each in self._topics.values())

    def is_sweeping(self, topic: str) -> bool:
        """Return whether users of *topic* are still to be taken."""
        return topic in self._topics and bool(self._topics[topic].users)

    def add(self, topic: str, users: Iterable[str], *, started_at: float) -> None:
        """Add followers of *topic*, which changed at *started_at*."""
        queue = self._topics.setdefault(topic, _TopicQueue(started_at))
        for user in users:
            queue.failed.pop(user, None)
            queue.users[user] = None

    def take(self, count: int) -> dict[str, str]:
        """Remove and return up to *count* users, each with its topic."""
        chunk = dict(islice(self._in_turn(), count))
        self._taken = len(chunk)
        return chunk

    def _in_turn(self) -> Iterator[tuple[str, str]]:
        while ready := [(t, q.users) for t, q in self._topics.items() if q.users]:
            for topic, users in ready:
                # The latest one, in O(1): the first key of a dict takes O(n).
                yield users.popitem()[0], topic

    def end_chunk(
        self, chunk: Mapping[str, str], failed: Collection[str]
    ) -> list[FinishedSweep]:
        """Keep the users of *chunk* that *failed*; return the sweeps that are over."""
        self._taken = 0
        for user, topic in chunk.items():
            if user in failed:
                self._topics[topic].failed[user] = None
            else:
                self._topics[topic].refreshed += 1
        over = [t for t, q in self._topics.items() if not (q.users or q.failed)]
        queues = ((topic, self._topics.pop(topic)) for topic in over)
        return [FinishedSweep(t, q.started_at, q.refreshed) for t, q in queues]

    def retry(self) -> None:
        """Queue the users that failed again."""
        for queue in self._topics.values():
            queue.users |= queue.failed
            queue.failed.clear()
