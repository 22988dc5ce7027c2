"""The states and inputs of a `Source`, and the table of its transitions."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """The state of a `Source`."""

    CONNECTING = "connecting"
    """The request has to be made, or is being made."""
    OPEN = "open"
    """The response is an event stream and is read."""
    WAITING = "waiting"
    """The reconnection time has not passed. A browser reports it as CONNECTING."""
    CLOSED = "closed"
    """The source does not reconnect."""


class Input(Enum):
    """An input of a `Source`; the value is its label in the diagram."""

    ACCEPT = "response is an event stream"
    REJECT = "response is not an event stream"
    RETRY = "status is in retry_statuses"
    DATA = "data"
    DISCONNECT = "end or network error"
    OVERFLOW = "event over max_event_size"
    TIMEOUT = "deadline"
    CLOSE = "close"


TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.CONNECTING, Input.ACCEPT): State.OPEN,
    (State.CONNECTING, Input.REJECT): State.CLOSED,
    (State.CONNECTING, Input.RETRY): State.WAITING,
    (State.CONNECTING, Input.DISCONNECT): State.WAITING,
    (State.CONNECTING, Input.TIMEOUT): State.WAITING,
    (State.CONNECTING, Input.CLOSE): State.CLOSED,
    (State.OPEN, Input.DATA): State.OPEN,
    (State.OPEN, Input.DISCONNECT): State.WAITING,
    (State.OPEN, Input.OVERFLOW): State.CLOSED,
    (State.OPEN, Input.TIMEOUT): State.WAITING,
    (State.OPEN, Input.CLOSE): State.CLOSED,
    (State.WAITING, Input.TIMEOUT): State.CONNECTING,
    (State.WAITING, Input.CLOSE): State.CLOSED,
    (State.CLOSED, Input.TIMEOUT): State.CLOSED,
    (State.CLOSED, Input.CLOSE): State.CLOSED,
}
"""The state machine. Any other pair raises `LocalProtocolError`."""
