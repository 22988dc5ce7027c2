"""How a stream begins: what a reader presents, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import final

import attrs
import trio

from roundel import (
    CloseMessage,
    Cursor,
    Event,
    History,
    ResumeInfo,
    ResumeOutcome,
    Stream,
)

from ..identity.tickets import Ticket
from ..telemetry.metrics import Metrics
from . import events as frames
from .channel import UserChannel, View
from .events import CloseReason
from .subscriber import Subscriber

WARNING = 60.0
"""How many seconds before its proof runs out a stream is told so."""

_KEY_TOPIC = "k"


@final
@attrs.frozen(kw_only=True)
class StreamTimeouts:
    """Of every stream, in seconds: *ping* when idle, *max_age* before it is ended.

    A reader whose one write takes *write_timeout* is ended too.
    """

    ping: float = 25.0
    max_age: float = 600.0
    write_timeout: float = 30.0


@final
@attrs.frozen(kw_only=True)
class SubscribeRequest:
    """How a reader presents itself: where it was, and until when it is known.

    With a *ticket*, its ids carry the resume key. A *refused* one is shed at once.
    """

    last_event_id: str | None = None
    expires_in: float = inf
    ticket: Ticket | None = None
    refused: bool = False
    request_id: str = ""


def open_subscriber(
    channel: UserChannel,
    view: View,
    request: SubscribeRequest,
    *,
    timeouts: StreamTimeouts,
    close_message: Callable[[CloseReason], CloseMessage],
    metrics: Metrics,
) -> Subscriber:
    """Make the stream of one reader, and what keeps its books.

    It ends at the *timing*'s max age or when the proof runs out, whichever is first.
    """
    lane = channel.view_history(view)
    expires_in = request.expires_in
    ages: CloseReason = "max_age" if timeouts.max_age <= expires_in else "expired"

    def hello(resume: ResumeInfo) -> Event:
        metrics.stream_opened(resume.outcomes[""])
        return frames.hello_event(resume, ping=timeouts.ping, expires_in=expires_in)

    stream = Stream(
        _topics(lane.history, request.ticket),
        now=trio.current_time(),
        last_event_id=request.last_event_id,
        hello=hello,
        gap=_gap,
        ping=frames.ping_event,
        heartbeat=timeouts.ping,
        max_age=max(min(timeouts.max_age, expires_in), 1e-3),
        close_message=_CloseOnMaxAge(close_message, ages),
        timed_event=_warning(expires_in),
    )
    reader = Subscriber(
        stream,
        channel,
        lane,
        max_age_reason=ages,
        slow_after=timeouts.write_timeout,
        close_message=close_message,
        request_id=request.request_id,
        metrics=metrics,
    )
    if request.refused:
        reader.end("shed")
    return reader


@final
@attrs.define(eq=False)
class _CloseOnMaxAge:
    """Makes the last words of a stream that nothing has ended before its time."""

    _last_words: Callable[[CloseReason], CloseMessage]
    _why: CloseReason

    def __call__(self) -> CloseMessage:
        return self._last_words(self._why)


def _topics(lane: History, ticket: Ticket | None) -> Mapping[str, History]:
    if ticket is None:
        return {"": lane}
    # A lane in which nothing ever happens: it makes every id carry the resume key.
    # The first, so that a reader has the key before it can have anything to resume.
    return {_KEY_TOPIC: History(ticket.resume_key), "": lane}


def resume_key(last_event_id: str | None) -> str | None:
    """Return the resume key that a presented id carries, if it carries one."""
    position = Cursor.parse(last_event_id).positions.get(_KEY_TOPIC)
    return position.epoch if position else None


def _warning(expires_in: float) -> tuple[float, Event] | None:
    if expires_in == inf:
        return None
    event = frames.auth_event(min(WARNING, expires_in))
    return max(0.0, expires_in - WARNING), event


def _gap(lane: str, outcome: ResumeOutcome) -> Event | None:
    # A snapshot speaks for itself; another epoch has to be announced.
    return frames.RESET if outcome == "reset" and not lane else None
