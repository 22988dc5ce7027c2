"""Positions in topics, and the event id that carries them.

A cursor is written as ``NAME.EPOCH.OFFSET``, or ``EPOCH.OFFSET`` for an unnamed topic,
joined by ``~``. Offsets are in radix 64: seven digits instead of thirteen let eight
topics fit into the 128 bytes that a browser sends without a CORS preflight. All
characters are safe in a header, a query and a cookie.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import final

import attrs

from ._errors import LocalProtocolError
from ._event import MAX_ID_LENGTH

MAX_TOPICS = 8
"""The most topics in one cursor."""

MAX_OFFSET = 2**42 - 1
"""The highest offset: seven digits, or 1,000 events a second for 139 years."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_MAX_DIGITS = 7
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_TOPIC = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_-]{1,32})\.)?"
    r"(?P<epoch>[A-Za-z0-9_-]{1,32})\."
    r"(?P<offset>0|[A-Za-z1-9_-][A-Za-z0-9_-]{0,6})"
)


@final
@attrs.frozen
class Position:
    """A position in one topic: an *offset* in the sequence that *epoch* names.

    Offsets of different epochs are not comparable, since a new epoch may count from
    the start again (as in Centrifugo).
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        """Return the position's text in an event id."""
        number = self.offset
        digits = _DIGITS[number & 63]
        while number := number >> 6:
            digits = _DIGITS[number & 63] + digits
        return f"{self.epoch}.{digits}"


INVALID_POSITION = Position("", -1)
"""The position in every topic of an invalid cursor; no history contains it."""


@final
@attrs.frozen
class Cursor:
    """A subscriber's position in each of its topics; its text is the event id.

    *positions* maps the topic's name to its `Position`; a stream of one topic may
    name it ``""``. `str()` and `parse()` are exact inverses. The text uses only
    ``A-Z a-z 0-9 . _ ~ -``, so that a browser sends it without a CORS preflight.
    """

    positions: Mapping[str, Position] = attrs.field(factory=dict)
    is_invalid: bool = False

    def __str__(self) -> str:
        """Return the event id; an empty cursor is the empty string."""
        return "~".join(
            f"{name}.{position}" if name else str(position)
            for name, position in self.positions.items()
        )

    def position(self, topic: str) -> Position | None:
        """Return the position in *topic*, or `None` if the cursor has none.

        An invalid cursor returns a position that no history contains.
        """
        return INVALID_POSITION if self.is_invalid else self.positions.get(topic)

    @classmethod
    def parse(cls, text: str | bytes | None) -> Cursor:
        """Parse the last event id that a peer presents; never raises.

        `None` and an empty id are the empty cursor. Text that `str()` cannot return is
        an invalid cursor.
        """
        if not text:
            return EMPTY_CURSOR
        if isinstance(text, bytes):
            text = text.decode("latin-1")
        topics = [_TOPIC.fullmatch(part) for part in text[:MAX_ID_LENGTH].split("~")]
        positions = {
            topic["name"] or "": Position(topic["epoch"], _offset(topic["offset"]))
            for topic in topics
            if topic
        }
        is_complete = len(positions) == len(topics) <= MAX_TOPICS
        if is_complete and len(text) <= MAX_ID_LENGTH:
            return cls(positions)
        return cls(is_invalid=True)


EMPTY_CURSOR = Cursor()


def check_name(name: str, what: str) -> str:
    """Return *name* if a cursor can carry it, else raise `LocalProtocolError`."""
    if not _NAME.fullmatch(name):
        raise LocalProtocolError(
            f"{what}: expected 1 to 32 of A-Z a-z 0-9 _ -, got {name!r}"
        )
    return name


def check_topics(epochs: Mapping[str, str]) -> None:
    """Raise `LocalProtocolError` if a cursor of these topics can exceed an event id.

    *epochs* maps each topic's name to its epoch. With eight topics a name and its
    epoch may have six characters together, with three topics 33.
    """
    count = len(epochs)
    if count > MAX_TOPICS:
        raise LocalProtocolError(f"topics: expected at most {MAX_TOPICS}, got {count}")
    names = sum([len(name) + 1 for name in epochs if name])
    length = names - 1 + sum([len(e) + _MAX_DIGITS + 2 for e in epochs.values()])
    if length > MAX_ID_LENGTH:
        raise LocalProtocolError(
            f"topics: expected names and epochs whose cursor takes at most "
            f"{MAX_ID_LENGTH} characters, these can take {length}"
        )


def _offset(digits: str) -> int:
    offset = 0
    for digit in digits:
        offset = offset << 6 | _VALUES[digit]
    return offset
