"""What a stream says of itself, first and last."""

from __future__ import annotations

import pytest

from roundel._cursor import Cursor
from roundel._errors import LocalProtocolError
from roundel._event import Event
from roundel._stream_messages import CloseMessage, ResumeInfo


def test_gravest_outcome() -> None:
    """A reader of several lanes was resumed as badly as its worst lane."""
    cursor = Cursor()

    assert "reset" == ResumeInfo({"a": "current", "b": "reset"}, cursor).outcome
    assert "snapshot" == ResumeInfo({"a": "snapshot", "b": "replayed"}, cursor).outcome
    assert "current" == ResumeInfo({}, cursor).outcome


@pytest.mark.parametrize(
    ("words", "written"),
    [
        pytest.param(CloseMessage(), b"", id="empty"),
        pytest.param(CloseMessage(retry=500), b"retry: 500\n\n", id="retry"),
        pytest.param(CloseMessage(Event("bye")), b"data: bye\n\n", id="event"),
        pytest.param(
            CloseMessage(Event("bye"), retry=0), b"retry: 0\ndata: bye\n\n", id="both"
        ),
    ],
)
def test_last_words(words: CloseMessage, written: bytes) -> None:
    """The reconnection time goes first, and stands alone if there is no event."""
    assert written == words.encode()


def test_last_words_that_cannot_be_written() -> None:
    """They are refused, and the field is named."""
    with pytest.raises(LocalProtocolError, match="retry: expected"):
        CloseMessage(retry=-1).encode()
