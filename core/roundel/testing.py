"""Both halves over a bad wire, in virtual time: to test without sockets or sleeps.

A `LossyLink` is the wire of one connection. A `Pair` joins a `Source` to any
`Stream` that you serve it, and moves from one deadline to the next, so that an hour of
reconnections takes milliseconds. All chance is a *random* of yours: the
same seed gives the same run.
The strategies at the end are for hypothesis, which is imported when one is called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Literal, TypeAlias, final

from ._errors import LocalProtocolError
from ._event import Event
from ._headers import read_last_event_id, stream_headers
from ._source import Source
from ._source_states import State
from ._stream import Stream

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Ending: TypeAlias = Literal["eof", "error"]
"""How a connection ends for its reader: as its peer meant it to, or not."""


@final
class LossyLink:
    """The way of one connection's bytes from a server to a client.

    It splits what it is sent, delays the pieces and keeps their order. When it is
    cut, the pieces that have not arrived are lost.

    Args:
        random: Draws from [0, 1).
        latency: The most seconds that a piece is under way.
        cut_rate: How likely a write is to be cut within, from 0 to 1.
        max_in_flight: With how many bytes under way the server has to wait.
    """

    __slots__ = (
        "_arrivals", "_cut_rate", "_is_over", "_latency", "_max_in_flight", "_random",
        "in_flight",
    )  # fmt: skip

    in_flight: int
    """How many bytes were sent and have not arrived."""

    def __init__(
        self,
        random: Callable[[], float],
        *,
        latency: float = 0.1,
        cut_rate: float = 0.0,
        max_in_flight: int = 1 << 16,
    ) -> None:
        if latency < 0 or not 0 <= cut_rate <= 1 or max_in_flight <= 0:
            raise LocalProtocolError(
                "expected latency >= 0, cut_rate from 0 to 1, max_in_flight > 0"
            )
        self._random = random
        self._latency = latency
        self._cut_rate = cut_rate
        self._max_in_flight = max_in_flight
        self._arrivals: deque[tuple[float, bytes | Ending]] = deque()
        self._is_over = False
        self.in_flight = 0

    @property
    def deadline(self) -> float:
        """When the next piece arrives."""
        return self._arrivals[0][0] if self._arrivals else inf

    @property
    def is_writable(self) -> bool:
        """Tell whether a server that heeds back-pressure would write now."""
        return self.in_flight < self._max_in_flight

    def send(self, data: bytes, now: float) -> None:
        """Send *data*; behind an end or a cut it goes nowhere."""
        is_cut = self._random() < self._cut_rate
        rest = data[: int(self._random() * len(data))] if is_cut else data
        while rest:
            # Mostly small pieces: the smaller, the more often within a line.
            size = 1 + int(self._random() ** 3 * len(rest))
            self._put(rest[:size], now)
            rest = rest[size:]
        if is_cut:
            self._end("error", now)

    def end(self, now: float) -> None:
        """End the connection behind all that was sent."""
        self._end("eof", now)

    def cut(self, now: float, *, silently: bool = False) -> None:
        """Lose all that is under way; *silently*, and only a timeout will tell."""
        self._arrivals.clear()
        self.in_flight = 0
        if silently:
            self._is_over = True
        else:
            self._is_over = False
            self._end("error", now)

    def receive(self, now: float) -> list[bytes | Ending]:
        """Take what has arrived by *now*, in the order in which it was sent."""
        arrived: list[bytes | Ending] = []
        while self.deadline <= now:
            piece = self._arrivals.popleft()[1]
            if isinstance(piece, bytes):
                self.in_flight -= len(piece)
            arrived.append(piece)
        return arrived

    def _end(self, how: Ending, now: float) -> None:
        self._put(how, now)
        self._is_over = True

    def _put(self, piece: bytes | Ending, now: float) -> None:
        if not self._is_over:
            last = self._arrivals[-1][0] if self._arrivals else now
            arrival = max(last, now + self._random() * self._latency)
            self._arrivals.append((arrival, piece))
            self.in_flight += len(piece) if isinstance(piece, bytes) else 0


@final
class Pair:
    """A `Source` and the `Stream` it reads, joined by one `LossyLink` after another.

    Args:
        source: The client.
        serve: Answers a request, from the last event id that it presents and the
            time: with a stream, or with the status of a refusal.
        wire: Lays the link of one connection.
        now: When it begins; the clock of *source*.
    """

    __slots__ = ("_serve", "_wire", "link", "now", "source", "stream")

    now: float
    link: LossyLink | None
    """The wire of the connection that is up, if there is one."""
    stream: Stream | None
    """What is being served on it, until it has said all."""

    def __init__(
        self,
        source: Source,
        serve: Callable[[str, float], Stream | int],
        *,
        wire: Callable[[], LossyLink],
        now: float = 0.0,
    ) -> None:
        self.source = source
        self._serve = serve
        self._wire = wire
        self.link = None
        self.stream = None
        self.now = now

    @property
    def deadline(self) -> float:
        """When anything happens next by itself; news of yours is told at once."""
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
    def is_quiet(self) -> bool:
        """Tell whether the stream is open and nothing of it is under way."""
        return self.stream is not None and self.link is not None and (
            self.link.deadline == inf
        )  # fmt: skip

    def step(self) -> list[Event]:
        """Do all that is due, then pass the time to the next deadline, if any.

        Returns the events that the source was told.
        """
        events = self._do_all_due()
        if self.deadline < inf:
            self.now = max(self.now, self.deadline)
        return events

    def run_until(self, time: float) -> list[Event]:
        """Do all that is due up to *time*, and return the events."""
        events = self._do_all_due()
        while self.deadline <= time:
            self.now = max(self.now, self.deadline)
            events += self._do_all_due()
        self.now = max(self.now, time)
        return events

    def cut(self, *, silently: bool = False) -> None:
        """Cut the link that is up, if there is one."""
        if self.link:
            self.link.cut(self.now, silently=silently)

    def _do_all_due(self) -> list[Event]:
        events = self._turn()
        while self.deadline <= self.now:
            events += self._turn()
        return events

    def _turn(self) -> list[Event]:
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
        for piece in self.link.receive(self.now) if self.link else ():
            if self.source.state is State.OPEN:
                match piece:
                    case "eof":
                        self.source.receive_eof(now=self.now)
                    case "error":
                        self.source.receive_error(now=self.now)
                    case _:
                        events += self.source.receive_data(piece, now=self.now)
        return events

    def _connect(self) -> None:
        field = dict(self.source.request_headers()).get("Last-Event-ID")
        answer = self._serve(read_last_event_id(field), self.now)
        if isinstance(answer, int):
            self.source.receive_response(answer, [], now=self.now)
        else:
            self.source.receive_response(200, stream_headers(), now=self.now)
            self.link, self.stream = self._wire(), answer

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
    """Return a strategy for events that can be written, without ids."""
    from hypothesis import strategies as st

    text = st.text(st.characters(exclude_categories=["Cs"]))
    line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
    return st.builds(Event, text, line)


def pieces(data: bytes) -> SearchStrategy[list[bytes]]:
    """Return a strategy for ways to cut *data*: a peer may send it in any."""
    from hypothesis import strategies as st

    def cut(places: set[int]) -> list[bytes]:
        ends = [*sorted(places), len(data)]
        return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    return st.sets(st.integers(0, len(data))).map(cut)


def chances() -> SearchStrategy[Callable[[], float]]:
    """Return a strategy for the *random* of a `Source`, a `Stream` or a `LossyLink`."""
    from hypothesis import strategies as st

    return st.randoms(use_true_random=False).map(lambda source: source.random)
