"""The results of the steps in which an HTTP/2 connection handles what it receives."""

from __future__ import annotations

from typing import Final, final

import attrs
from h2.events import Event


@final
@attrs.frozen
class HeadTooLarge(Event):
    """A request opened a stream, and its head is above the limit."""

    stream_id: int


@final
@attrs.frozen
class GoAwayReceived(Event):
    """The client will open no further streams, or has failed with *code*."""

    code: int


@final
@attrs.frozen
class Step:
    """What one step has done, and what it has cost.

    *work* is the time in units of about 20 µs. *overhead* counts frames that open or
    carry nothing, and streams that the server had to reset. A client sends some of them
    because it has received data: *may_be_answer* says that this is one of them.
    """

    events: list[Event] = attrs.Factory(list)
    work: int = 1
    overhead: int = 0
    may_be_answer: bool = False


ANSWER: Final = Step(overhead=1, may_be_answer=True)
"""A frame without content that may be an answer to data."""
