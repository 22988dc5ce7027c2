"""The states of a `Source` and the table of all that can happen to it."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a `Source` is between its connections."""

    CONNECTING = "connecting"
    """A request is to be made, or under way."""
    OPEN = "open"
    """The response is an event stream and is being read."""
    WAITING = "waiting"
    """The reconnection time is passing; a browser shows it as CONNECTING, too."""
    CLOSED = "closed"
    """It is over for good."""


class Input(Enum):
    """What can happen to a `Source`."""

    ACCEPT = "response is an event stream"
    REFUSE = "response is anything else"
    DEFER = "status is in retry_statuses"
    DATA = "data"
    LOSS = "end or network error"
    BREAK = "event over the bound"
    TIMEOUT = "deadline"
    CLOSE = "close"


TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.CONNECTING, Input.ACCEPT): State.OPEN,
    (State.CONNECTING, Input.REFUSE): State.CLOSED,
    (State.CONNECTING, Input.DEFER): State.WAITING,
    (State.CONNECTING, Input.LOSS): State.WAITING,
    (State.CONNECTING, Input.TIMEOUT): State.WAITING,
    (State.CONNECTING, Input.CLOSE): State.CLOSED,
    (State.OPEN, Input.DATA): State.OPEN,
    (State.OPEN, Input.LOSS): State.WAITING,
    (State.OPEN, Input.BREAK): State.CLOSED,
    (State.OPEN, Input.TIMEOUT): State.WAITING,
    (State.OPEN, Input.CLOSE): State.CLOSED,
    (State.WAITING, Input.TIMEOUT): State.CONNECTING,
    (State.WAITING, Input.CLOSE): State.CLOSED,
    (State.CLOSED, Input.TIMEOUT): State.CLOSED,
    (State.CLOSED, Input.CLOSE): State.CLOSED,
}
"""The whole machine. An input that is not here is refused and changes nothing."""
