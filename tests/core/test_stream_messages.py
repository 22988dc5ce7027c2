"""What a stream reports of itself: how it was resumed, and why it closes."""

from __future__ import annotations

import pytest

from roundel._cursor import Cursor
from roundel._errors import LocalProtocolError
from roundel._event import Event
from roundel._stream_messages import CloseMessage, ResumeInfo


def test_most_severe_outcome() -> None:
    """The outcome of several topics is the most severe one."""
    cursor = Cursor()

    assert "reset" == ResumeInfo({"a": "current", "b": "reset"}, cursor).outcome
    assert "snapshot" == ResumeInfo({"a": "snapshot", "b": "replayed"}, cursor).outcome
    assert "current" == ResumeInfo({}, cursor).outcome


@pytest.mark.parametrize(
    ("message", "encoded"),
    [
        pytest.param(CloseMessage(), b"", id="empty"),
        pytest.param(CloseMessage(retry=500), b"retry: 500\n\n", id="retry"),
        pytest.param(CloseMessage(Event("bye")), b"data: bye\n\n", id="event"),
        pytest.param(
            CloseMessage(Event("bye"), retry=0), b"retry: 0\ndata: bye\n\n", id="both"
        ),
    ],
)
def test_close_message(message: CloseMessage, encoded: bytes) -> None:
    """The reconnection time precedes the event; both are optional."""
    assert encoded == message.encode()


def test_close_message_that_cannot_be_encoded() -> None:
    """An invalid close message raises an error that names the field."""
    with pytest.raises(LocalProtocolError, match="retry: expected"):
        CloseMessage(retry=-1).encode()
