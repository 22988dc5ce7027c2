"""What a stream says of itself: how its reader was resumed, and why it ends."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import final

import attrs

from ._cursor import Cursor
from ._event import Event, encode, encode_retry
from ._history import ResumeOutcome

_SEVERITY: tuple[ResumeOutcome, ...] = ("current", "replayed", "snapshot", "reset")


@final
@attrs.frozen
class ResumeInfo:
    """How a reader was resumed: what its first frame may tell it.

    *outcomes* has one for each lane. After the frames that follow the reader stands
    at *cursor*. *max_age* is for how many seconds the stream will be served.
    """

    outcomes: Mapping[str, ResumeOutcome]
    cursor: Cursor
    max_age: float = inf

    @property
    def outcome(self) -> ResumeOutcome:
        """The gravest of the lanes' outcomes; ``"current"`` without a lane."""
        return max(self.outcomes.values(), key=_SEVERITY.index, default="current")


@final
@attrs.frozen
class CloseMessage:
    """What a stream says before a planned end: an *event*, and when to come back.

    *retry* is in milliseconds; the peer keeps it for its later reconnections.
    """

    event: Event | None = None
    retry: int | None = None

    def encode(self) -> bytes:
        """Encode them, the reconnection time first."""
        if self.event is not None:
            return encode(self.event, retry=self.retry)
        return b"" if self.retry is None else encode_retry(self.retry) + b"\n"
