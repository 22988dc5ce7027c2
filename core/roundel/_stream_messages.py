"""What a stream reports of itself: how it was resumed, and why it closes."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import final, get_args

import attrs

from ._cursor import Cursor
from ._event import Event, encode, encode_retry
from ._history import ResumeOutcome


@final
@attrs.frozen
class ResumeInfo:
    """How a subscriber was resumed, for the hello event.

    *outcomes* has one entry per topic. *cursor* is the subscriber's after the events
    that follow hello. *max_age* is the stream's lifetime in seconds.
    """

    outcomes: Mapping[str, ResumeOutcome]
    cursor: Cursor
    max_age: float = inf

    @property
    def outcome(self) -> ResumeOutcome:
        """The most severe outcome of all topics; ``"current"`` without a topic."""
        severity = get_args(ResumeOutcome).index
        return max(self.outcomes.values(), key=severity, default="current")


@final
@attrs.frozen
class CloseMessage:
    """The last output of a stream: an *event*, and the time before a reconnect.

    *retry* is in milliseconds; the peer keeps it for its later reconnections.
    """

    event: Event | None = None
    retry: int | None = None

    def encode(self) -> bytes:
        """Encode the message, the reconnection time first."""
        if self.event is not None:
            return encode(self.event, retry=self.retry)
        return b"" if self.retry is None else encode_retry(self.retry) + b"\n"
