"""Tests without sockets or sleeps: both halves over a lossy link, in virtual time.

A `LossyLink` carries the bytes of one connection. A `Pair` connects a `Source` to the
streams that a test serves, and moves the time from one deadline to the next, so that
an hour of reconnections takes milliseconds. All randomness is the *random* that a test
gives: the same seed gives the same run. The strategies need hypothesis.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Literal, TypeAlias, final

import attrs

from ._errors import LocalProtocolError
from ._event import Event
from ._headers import read_last_event_id, stream_headers
from ._source import Source
from ._source_states import State
from ._stream import Stream

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

LinkEnd: TypeAlias = Literal["eof", "error"]
"""How a connection ends for the client: a clean end or a network error."""


@final
@attrs.define(eq=False)
class LossyLink:
    """A one-way link from a server to a client, for one connection.

    It splits the data into chunks, delays them and keeps their order. A cut loses the
    chunks in flight.

    Args:
        random: Draws from [0, 1).
        latency: Longest delay of a chunk in seconds.
        cut_rate: Probability that a write is cut within, from 0 to 1.
        max_in_flight: Bytes in flight at which the link is not writable.
    """

    # Pyright knows no aliases but explicit ones.
    _random: Callable[[], float] = attrs.field(alias="random")
    _latency: float = attrs.field(alias="latency", default=0.1, kw_only=True)
    _cut_rate: float = attrs.field(alias="cut_rate", default=0.0, kw_only=True)
    _max_in_flight: int = attrs.field(
        alias="max_in_flight", default=1 << 16, kw_only=True
    )
    _arrivals: deque[tuple[float, bytes | LinkEnd]] = attrs.field(
        factory=deque, init=False
    )
    _has_ended: bool = attrs.field(default=False, init=False)
    in_flight: int = attrs.field(default=0, init=False)
    """Bytes that were sent and have not arrived."""

    def __attrs_post_init__(self) -> None:
        if self._latency < 0 or not 0 <= self._cut_rate <= 1 or self._max_in_flight < 1:
            raise LocalProtocolError(
                "expected latency >= 0, cut_rate from 0 to 1, max_in_flight > 0"
            )

    @property
    def deadline(self) -> float:
        """The time at which the next chunk arrives."""
        return self._arrivals[0][0] if self._arrivals else inf

    @property
    def is_writable(self) -> bool:
        """Whether a server that respects back-pressure may write."""
        return self.in_flight < self._max_in_flight

    def send(self, data: bytes, now: float) -> None:
        """Send *data*; after an end or a cut it is lost."""
        is_cut = self._random() < self._cut_rate
        rest = data[: int(self._random() * len(data))] if is_cut else data
        while rest:
            # Mostly small chunks, because they split lines more often.
            size = 1 + int(self._random() ** 3 * len(rest))
            self._schedule(rest[:size], now)
            rest = rest[size:]
        if is_cut:
            self.end(now, "error")

    def end(self, now: float, end: LinkEnd = "eof") -> None:
        """End the connection after all data that was sent."""
        self._schedule(end, now)
        self._has_ended = True

    def cut(self, now: float, *, silently: bool = False) -> None:
        """Lose the data in flight; *silently* the client gets no error."""
        self._arrivals.clear()
        self.in_flight = 0
        self._has_ended = silently
        if not silently:
            self.end(now, "error")

    def receive(self, now: float) -> list[bytes | LinkEnd]:
        """Return the chunks, and the end, that have arrived by *now*."""
        arrived: list[bytes | LinkEnd] = []
        while self.deadline <= now:
            chunk = self._arrivals.popleft()[1]
            if isinstance(chunk, bytes):
                self.in_flight -= len(chunk)
            arrived.append(chunk)
        return arrived

    def _schedule(self, chunk: bytes | LinkEnd, now: float) -> None:
        if not self._has_ended:
            last = self._arrivals[-1][0] if self._arrivals else now
            arrival = max(last, now + self._random() * self._latency)
            self._arrivals.append((arrival, chunk))
            self.in_flight += len(chunk) if isinstance(chunk, bytes) else 0


@final
@attrs.define(eq=False)
class Pair:
    """A `Source` and its streams, over one `LossyLink` per connection.

    Args:
        source: The client.
        serve: Answers a request, from its last event id and the time: with a stream, or
            with an error status.
        make_link: Makes the link of one connection.
        now: The time at the start, of the clock of *source*.
    """

    source: Source
    _serve: Callable[[str, float], Stream | int] = attrs.field(alias="serve")
    _make_link: Callable[[], LossyLink] = attrs.field(alias="make_link", kw_only=True)
    now: float = attrs.field(default=0.0, kw_only=True)
    link: LossyLink | None = attrs.field(default=None, init=False)
    """The link of the current connection, if there is one."""
    stream: Stream | None = attrs.field(default=None, init=False)
    """The stream on the link, until it is closed and drained."""

    @property
    def deadline(self) -> float:
        """The time of the next step; an appended event is sent without one."""
        if self.source.state is State.CLOSED:
            return inf
        if self.source.state is State.CONNECTING:
            return self.now
        deadline = self.source.deadline
        if self.link:
            deadline = min(deadline, self.link.deadline)
            if self.stream and self.link.is_writable:
                deadline = min(deadline, self.stream.deadline)
        return deadline

    @property
    def is_idle(self) -> bool:
        """Whether the stream is open and nothing is in flight."""
        link = self.link
        return self.stream is not None and link is not None and link.deadline == inf

    def step(self) -> list[Event]:
        """Run all that is due, then move the time to the next deadline, if any.

        Returns the events that the source received.
        """
        events = self.run_until(self.now)
        if self.deadline < inf:
            self.now = max(self.now, self.deadline)
        return events

    def run_until(self, time: float) -> list[Event]:
        """Run all that is due up to *time*; return the events."""
        events = self._run_once()
        while self.deadline <= time:
            self.now = max(self.now, self.deadline)
            events += self._run_once()
        self.now = max(self.now, time)
        return events

    def cut(self, *, silently: bool = False) -> None:
        """Cut the current link, if there is one."""
        if self.link:
            self.link.cut(self.now, silently=silently)

    def _run_once(self) -> list[Event]:
        events = self._read()
        self.source.handle_timeout(self.now)
        if self.source.state is not State.OPEN:
            self.link = self.stream = None
        if self.source.state is State.CONNECTING:
            self._connect()
        self._write()
        return events

    def _read(self) -> list[Event]:
        events: list[Event] = []
        for chunk in self.link.receive(self.now) if self.link else ():
            if self.source.state is State.OPEN:
                match chunk:
                    case "eof":
                        self.source.receive_eof(now=self.now)
                    case "error":
                        self.source.receive_error(now=self.now)
                    case _:
                        events += self.source.receive_data(chunk, now=self.now)
        return events

    def _connect(self) -> None:
        header = dict(self.source.request_headers()).get("Last-Event-ID")
        response = self._serve(read_last_event_id(header), self.now)
        if isinstance(response, int):
            self.source.receive_response(response, [], now=self.now)
        else:
            self.source.receive_response(200, stream_headers(), now=self.now)
            self.link, self.stream = self._make_link(), response

    def _write(self) -> None:
        while self.link and self.stream and self.link.is_writable:
            if chunks := self.stream.data_to_send(self.now):
                self.link.send(b"".join(chunks), self.now)
            elif self.stream.is_open:
                return
            else:
                self.link.end(self.now)
                self.stream = None


def events() -> SearchStrategy[Event]:
    """Return a strategy for events that can be encoded, without ids."""
    from hypothesis import strategies as st

    text = st.text(st.characters(exclude_categories=["Cs"]))
    line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
    return st.builds(Event, text, line)


def chunkings(data: bytes) -> SearchStrategy[list[bytes]]:
    """Return a strategy for all ways to split *data* into chunks."""
    from hypothesis import strategies as st

    def split(offsets: set[int]) -> list[bytes]:
        bounds = pairwise([0, *sorted(offsets), len(data)])
        return [data[start:end] for start, end in bounds]

    return st.sets(st.integers(0, len(data))).map(split)


def randoms() -> SearchStrategy[Callable[[], float]]:
    """Return a strategy for the *random* of a `Source`, `Stream` or `LossyLink`."""
    from hypothesis import strategies as st

    return st.randoms(use_true_random=False).map(lambda generator: generator.random)
