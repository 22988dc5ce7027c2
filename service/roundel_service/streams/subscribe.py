"""Creates the subscriber of a stream request."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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

from ..telemetry.metrics import Metrics
from . import events
from .channel import UserChannel
from .events import CloseReason
from .subscriber import Subscriber
from .view_history import View

EXPIRY_WARNING = 60.0
"""Time between the `auth` event and the expiry of the credential, in seconds."""

_KEY_TOPIC = "k"


@final
@attrs.frozen(kw_only=True)
class StreamTimeouts:
    """Timeouts of every stream, in seconds.

    *ping* is the heartbeat interval, *max_age* the maximum lifetime. A write that takes
    *write_timeout* ends the stream. *retry* is the reconnection time after a cut, and
    the minimum after a drain.
    """

    ping: float = 25.0
    max_age: float = 600.0
    write_timeout: float = 30.0
    retry: float = 5.0


@final
@attrs.frozen(kw_only=True)
class SubscribeRequest:
    """A request for a stream.

    *expires_in* is the remaining lifetime of the credential, in seconds. Each event id
    carries the *resume_key*, if there is one. A *refused* stream ends at once.
    """

    last_event_id: str | None = None
    expires_in: float = inf
    resume_key: str | None = None
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
    """Create the subscriber of *request*.

    It ends after the maximum age, or when the credential expires.
    """
    view_history = channel.view_history(view)
    expires_in = request.expires_in
    max_age_reason: CloseReason = (
        "max_age" if timeouts.max_age <= expires_in else "expired"
    )

    def hello(resume: ResumeInfo) -> Event:
        metrics.streams_opened.add(resume.outcomes[""])
        return events.hello_event(resume, ping=timeouts.ping, expires_in=expires_in)

    topics = {"": view_history.history}
    if request.resume_key is not None:
        # A topic without events: its epoch, in every id, is the resume key. It comes
        # first: the client has the key before it has a position to resume from.
        topics = {_KEY_TOPIC: History(request.resume_key), **topics}
    stream = Stream(
        topics,
        now=trio.current_time(),
        last_event_id=request.last_event_id,
        hello=hello,
        retry=round(1_000 * timeouts.retry),
        gap=_gap,
        ping=events.ping_event,
        heartbeat=timeouts.ping,
        max_age=max(min(timeouts.max_age, expires_in), 1e-3),
        close_message=partial(close_message, max_age_reason),
        timed_event=_expiry_warning(expires_in),
    )
    subscriber = Subscriber(
        stream=stream,
        channel=channel,
        view_history=view_history,
        max_age_reason=max_age_reason,
        slow_after=timeouts.write_timeout,
        close_message=close_message,
        request_id=request.request_id,
        metrics=metrics,
    )
    if request.refused:
        subscriber.end("shed")
    return subscriber


def resume_key(last_event_id: str | None) -> str | None:
    """Return the resume key in *last_event_id*, if there is one."""
    position = Cursor.parse(last_event_id).positions.get(_KEY_TOPIC)
    return position.epoch if position else None


def _expiry_warning(expires_in: float) -> tuple[float, Event] | None:
    if expires_in == inf:
        return None
    event = events.auth_event(min(EXPIRY_WARNING, expires_in))
    return max(0.0, expires_in - EXPIRY_WARNING), event


def _gap(topic: str, outcome: ResumeOutcome) -> Event | None:
    # A snapshot needs no announcement; a new epoch does.
    return events.RESET if outcome == "reset" and not topic else None
