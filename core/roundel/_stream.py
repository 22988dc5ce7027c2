"""The server half of one response: what to write next, and when to ask again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from math import inf
from typing import final

from ._cursor import FOREIGN, NOWHERE, Cursor, Position, check_name, check_topics
from ._encoded_event import EncodedEvent
from ._errors import LocalProtocolError
from ._event import Event, encode, encode_comment, encode_id
from ._history import History, ResumeOutcome
from ._stream_messages import CloseMessage, ResumeInfo

_COMMENT = encode_comment()

# Thousands of idle streams say one of a few things, again and again.
_heartbeat = lru_cache(maxsize=256)(encode)


@final
class Stream:
    """One reader of one lane, or of several under one cursor.

    It keeps no queue: it is a position in each lane, and what it has to say is what
    the lanes hold after that. Ask `data_to_send()` until there is nothing, wait for
    news or for `deadline`, whichever is first, and ask again. Asking early or twice
    changes nothing. If a function of yours raises, the stream ends there and then:
    nothing is skipped, and the reader's next connection is told what it missed.

    Args:
        lanes: A `History`, or several by name; 1 to 32 of ``A-Z a-z 0-9 _ -``
            each, or ``""``. `check_lanes()` says how many fit into one cursor.
        now: Seconds, of the clock that every later *now* is of.
        last_event_id: What the peer presents; untrusted, see `Cursor.parse()`.
        hello: Makes the first frame, from how the reader was resumed.
        gap: Makes a frame to go before the state that stands in for lost events in a
            *running* stream, from the lane's name and outcome; `None` makes none.
        ping: Makes what is sent when nothing was for *heartbeat* seconds, from
            where the reader stands, and not again while it stands there; an empty
            comment if it is not given.
        max_age: For how many seconds the stream is served, before its *last_words*.
        last_words: Those, or what makes them when the time has come.
        notice: After how many seconds an event is to be said, and which: once.
        random: Draws from [0, 1); with it the *max_age* is shortened by up to a
            fifth, so that streams that began together do not end together.
        max_write: The most bytes that one `data_to_send()` answers.
    """

    __slots__ = (
        "_calm_until",
        "_close_message",
        "_closing",
        "_cursor",
        "_due",
        "_ends",
        "_gap",
        "_greeted",
        "_heartbeat",
        "_hello",
        "_left",
        "_max_age",
        "_max_write",
        "_only",
        "_ping",
        "_pinged",
        "_pings",
        "_positions",
        "_rest",
        "_timed_event",
        "_timed_event_at",
        "_topics",
        "_words",
        "is_open",
    )  # fmt: skip

    is_open: bool
    """False once the last words are taken, or at once if there are none."""

    def __init__(
        self,
        topics: History | Mapping[str, History],
        *,
        now: float,
        last_event_id: str | bytes | None = None,
        hello: Callable[[ResumeInfo], Event] | None = None,
        gap: Callable[[str, ResumeOutcome], Event | None] | None = None,
        ping: Callable[[Cursor], Event] | None = None,
        heartbeat: float = 15.0,
        max_age: float = inf,
        random: Callable[[], float] | None = None,
        close_message: CloseMessage | Callable[[], CloseMessage] | None = None,
        timed_event: tuple[float, Event] | None = None,
        max_write: int = 1 << 16,
    ) -> None:
        if heartbeat <= 0 or max_age <= 0 or max_write <= 0:
            raise LocalProtocolError("expected times and bounds above 0")
        self._cursor = Cursor.parse(last_event_id)
        self._greeted = self._left = False
        self._positions: dict[str, Position | None] = {}
        self._follow(_by_name(topics))
        for name, lane in self._topics.items():
            self._positions[name] = self._resume_position(name, lane)
        self._hello, self._gap, self._ping = hello, gap, ping
        self._pinged: Position | None = None
        self._pings = b""
        self._heartbeat = heartbeat
        self._max_age = max_age * (0.8 + 0.2 * random() if random else 1)
        self._ends = now + self._max_age
        self._close_message = (
            close_message.encode()
            if isinstance(close_message, CloseMessage)
            else close_message
        )
        self._timed_event_at, self._timed_event = inf, b""
        if timed_event is not None:
            self._timed_event_at, self._timed_event = (
                now + timed_event[0],
                encode(timed_event[1]),
            )
        self._max_write = max_write
        self._due = now
        self._rest = self._words = b""
        self._closing = False
        # Until then nothing can have to be said but news of the lanes, or a heartbeat.
        self._calm_until = -inf
        self.is_open = True

    @property
    def deadline(self) -> float:
        """When to call `data_to_send()` at the latest, even without news.

        ``-inf`` while there is an end to be told, and for ever after it: a closed
        stream is overdue, not idle.
        """
        if self._closing:
            return -inf
        return min(self._due, self._ends, self._timed_event_at)

    @property
    def cursor(self) -> Cursor:
        """Where the reader stands after all that was handed out."""
        return Cursor(
            {
                lane: at
                for lane, at in self._positions.items()
                if at is not None and at is not FOREIGN
            }
        )

    def position(self, topic: str = "") -> Position | None:
        """Tell where the reader stands in *lane*; ``None`` before its first state."""
        at = self._positions[topic]
        return None if at is FOREIGN else at

    def subscribe(self, name: str, history: History) -> None:
        """Follow one more lane; once the stream has begun it is new to the reader.

        The ids that were sent since do not have it, so that what the peer presented
        at the beginning says nothing any more.
        """
        if name in self._topics:
            raise LocalProtocolError(f"lanes: {name!r} is followed already")
        self._follow({**self._topics, check_name(name, "lane"): history})
        self._positions[name] = (
            None if self._greeted else self._resume_position(name, history)
        )
        self._calm_until = -inf

    def unsubscribe(self, name: str) -> None:
        """Follow one lane less; the peer is told that its position is gone."""
        if name not in self._topics:
            raise LocalProtocolError(f"lanes: {name!r} is not followed")
        lanes = dict(self._topics)
        del lanes[name]
        self._follow(lanes)
        del self._positions[name]
        self._left = True
        self._calm_until = -inf

    def _follow(self, topics: dict[str, History]) -> None:
        check_topics({name: lane.head.epoch for name, lane in topics.items()})
        self._topics = topics
        # The lane whose own ids are the stream's: with another they would be longer.
        self._only = topics.get("") if len(topics) == 1 else None

    def _resume_position(self, name: str, lane: History) -> Position | None:
        # A position that this lane never had is not kept, since no id of ours may
        # hold it: nobody has measured whether it fits.
        at = self._cursor.position(name)
        return at if at is None or lane.contains(at) else FOREIGN

    def close(self, close_message: CloseMessage | None = None) -> None:
        """End the stream, with its *last_words*; the first call counts.

        A stream that has not begun says hello before them, since that is always first.
        What the reader has not been told waits in the lanes for its next connection.
        """
        self._end(close_message.encode() if close_message else b"")

    def _end(self, close_message: bytes) -> None:
        if not self._closing:
            self._closing = True
            self._calm_until = -inf
            self._words = close_message
            self.is_open = bool(self._rest or self._words)

    def data_to_send(self, now: float) -> list[bytes]:
        """Hand out what is to be written now; nothing, if it is all said.

        The chunks are taken as written: the reader's position moves behind them.
        """
        try:
            if now < self._calm_until and (live := self._fast_path(now)) is not None:
                return live
            return self._next_write(now)
        except BaseException:
            # Positions have moved behind chunks that are lost with the exception.
            self._rest = self._words = b""
            self._closing, self.is_open = True, False
            self._calm_until = -inf
            raise

    def _next_write(self, now: float) -> list[bytes]:
        if now >= self._ends and not self._closing:
            words = self._close_message
            self._end(words().encode() if callable(words) else words or b"")
        chunks = self._bounded(self._next_chunks(now))
        if not chunks and now >= self._due and self.is_open:
            chunks = self._bounded([self._heartbeat_chunk()])
        if chunks:
            self._due = now + self._heartbeat
        is_busy = self._closing or self._rest
        self._calm_until = -inf if is_busy else min(self._ends, self._timed_event_at)
        return chunks

    def _fast_path(self, now: float) -> list[bytes] | None:
        """Answer in short for one lane and at most one frame; `None` is no answer.

        It says what `_said()` would. Most steps of most streams are these.
        """
        lane = self._only
        if lane is None or (at := self._positions[""]) is None:
            return None
        news = None if at is lane.head else lane.single_event_after(at)
        if news is None:
            if at is not lane.head and lane.has_events_after(at):
                return None
            if now < self._due:
                return []
            news = self._heartbeat_chunk(), at
        frame, told = news
        if len(frame) > self._max_write:
            return None
        self._positions[""] = told
        self._due = now + self._heartbeat
        return [frame]

    def _bounded(self, chunks: Iterable[bytes]) -> list[bytes]:
        """Take chunks while there is room, and keep what is left of the last one."""
        taken: list[bytes] = []
        room = self._max_write
        for chunk in chunks:
            taken.append(chunk[:room])
            self._rest = chunk[room:]
            room -= len(chunk)
            if room <= 0:
                break
        if self._closing:
            self.is_open = bool(self._rest or self._words)
        return taken

    def _next_chunks(self, now: float) -> Iterator[bytes]:
        # A generator, so that no position moves behind a chunk that found no room.
        if self._rest:
            yield self._rest
        if self._closing and not self._words:
            return
        if not self._greeted:
            self._greeted = True
            yield from self._encode_hello(now)
        if self._closing:
            words, self._words = self._words, b""
            yield words
            return
        if now >= self._timed_event_at:
            self._timed_event_at = inf
            yield self._timed_event
        if self._left:
            self._left = False
            yield self._id_only_block()
        for name, lane in list(self._topics.items()):
            if lane.has_events_after(self._positions[name]):
                # To the back of the line: no lane can keep the others from talking.
                self._topics[name] = self._topics.pop(name)
                yield from self._encode_topic_updates(name, lane, now)

    def _encode_hello(self, now: float) -> Iterator[bytes]:
        replays = {
            name: lane.since(self._positions[name], now=now)
            for name, lane in self._topics.items()
        }
        told = {name: replay.position for name, replay in replays.items()}
        for name, replay in replays.items():
            if not replay.is_contiguous:
                self._positions[name] = None
        # A lane that the peer knows and that is not followed has been left: it could
        # join again, and what the peer knew of it would be out of date.
        self._left |= not self._cursor.positions.keys() <= self._topics.keys()
        # What is only for the beginning need not be kept for as long as all the rest.
        hello, self._hello, self._cursor = self._hello, None, NOWHERE
        if hello:
            outcomes = {name: replay.outcome for name, replay in replays.items()}
            yield encode(hello(ResumeInfo(outcomes, Cursor(told), self._max_age)))

    def _encode_topic_updates(
        self, name: str, lane: History, now: float
    ) -> Iterator[bytes]:
        at = self._positions[name]
        replay = lane.since(at, now=now)
        # A late reader of a latest-wins lane is "replayed" its state: nothing is lost.
        if at is not None and replay.outcome in ("snapshot", "reset"):
            self._positions[name] = None
            if notice := self._gap and self._gap(name, replay.outcome):
                yield encode(notice)
        for entry in replay.entries:
            told, self._positions[name] = self._positions[name], entry.at
            yield self._frame(entry.rebased_on(told))
        self._positions[name] = replay.position
        if not replay.entries:
            # So that what is lost is not asked for again.
            yield self._id_only_block()

    def _id_only_block(self) -> bytes:
        # WHATWG 9.2.6: a block without data moves the last event id and is no event.
        return encode_id(str(self.cursor)) + b"\n"

    def _frame(self, entry: EncodedEvent) -> bytes:
        return entry.frame if self._only else entry.frame_at(self.cursor)

    def _heartbeat_chunk(self) -> bytes:
        if self._ping is None:
            return _COMMENT
        # Who stands where it stood is told the same again.
        at = self._positions[""] if self._only else None
        if at is None or at is not self._pinged:
            self._pinged = at
            self._pings = _heartbeat(self._ping(self.cursor))
        return self._pings


def _by_name(lanes: History | Mapping[str, History]) -> dict[str, History]:
    if isinstance(lanes, History):
        return {"": lanes}
    return {name and check_name(name, "lane"): lane for name, lane in lanes.items()}
