"""Positions in one lane or several, and the event id that carries them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import final

import attrs

from ._errors import LocalProtocolError
from ._event import MAX_ID_LENGTH

MAX_TOPICS = 8
"""The most lanes that one cursor holds."""

MAX_OFFSET = 2**42 - 1
"""The highest offset: seven digits of a cursor, or 139 years of 1,000 a second."""

# Offsets are written in radix 64: seven digits instead of thirteen are what lets
# eight lanes fit into the 128 bytes that a browser sends without a preflight. The
# alphabet is safe in a header, a query and a cookie, and holds neither separator.
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
    """A place in one lane: *offset* events into the unbroken line named *epoch*.

    An offset means nothing without its epoch: a line that was begun anew counts
    from the start, and must never be taken for the old one (Centrifugo's rule).
    """

    epoch: str
    offset: int


FOREIGN = Position("", -1)
"""Where a peer stands whose cursor nobody here has written: nowhere."""


@final
@attrs.frozen
class Cursor:
    """Where one reader stands in each lane it follows; its text is the event id.

    *positions* maps the lane's name to its `Position`; a stream of one lane may
    call it ``""``. `str()` and `parse()` are exact inverses. The text uses only
    ``A-Z a-z 0-9 . _ ~ -``, so that no browser needs a preflight to send it.
    """

    positions: Mapping[str, Position] = attrs.field(factory=dict)
    foreign: bool = False

    def __str__(self) -> str:
        """Write the cursor as an event id; an empty one is the empty string."""
        return "~".join(
            f"{name}.{_topic_text(at)}" if name else _topic_text(at)
            for name, at in self.positions.items()
        )

    def position(self, topic: str) -> Position | None:
        """Tell where the reader stands in *lane*; ``None`` if it was never there.

        In a foreign cursor that is `FOREIGN`, a position of no history.
        """
        return FOREIGN if self.foreign else self.positions.get(topic)

    @classmethod
    def parse(cls, text: str | bytes | None) -> Cursor:
        """Read what a peer presents as its last event id; never raises.

        Nothing, or an empty id, is a reader without a position. Whatever `str()`
        could not have written is foreign.
        """
        if not text:
            return NOWHERE
        if isinstance(text, bytes):
            text = text.decode("latin-1")
        lanes = [_TOPIC.fullmatch(part) for part in text[:MAX_ID_LENGTH].split("~")]
        positions = {
            lane["name"] or "": Position(lane["epoch"], _number(lane["offset"]))
            for lane in lanes
            if lane
        }
        whole = len(positions) == len(lanes) <= MAX_TOPICS
        return cls(positions) if whole and len(text) <= MAX_ID_LENGTH else UNREADABLE


NOWHERE = Cursor()
UNREADABLE = Cursor(foreign=True)


def check_name(name: str, what: str) -> str:
    """Return *name* if a cursor can carry it, else raise `LocalProtocolError`."""
    if not _NAME.fullmatch(name):
        raise LocalProtocolError(
            f"{what}: expected 1 to 32 of A-Z a-z 0-9 _ -, got {name!r}"
        )
    return name


def check_topics(epochs: Mapping[str, str]) -> None:
    """Refuse lanes whose cursor might outgrow an event id, before it does.

    *epochs* maps each lane's name to its epoch. With eight lanes a name and its
    epoch may take six characters together, with three lanes 33.
    """
    if len(epochs) > MAX_TOPICS:
        raise LocalProtocolError(
            f"lanes: expected at most {MAX_TOPICS}, got {len(epochs)}"
        )
    # Each is written as NAME.EPOCH.OFFSET or EPOCH.OFFSET, with a ~ between two.
    names = sum([len(lane) + 1 for lane in epochs if lane])
    widest = sum([len(epoch) + _MAX_DIGITS + 2 for epoch in epochs.values()])
    length = names + widest - 1
    if length > MAX_ID_LENGTH:
        raise LocalProtocolError(
            f"lanes: expected names and epochs whose cursor takes at most "
            f"{MAX_ID_LENGTH} characters, these can take {length}"
        )


def _topic_text(at: Position) -> str:
    return f"{at.epoch}.{_digits(at.offset)}"


def _digits(number: int) -> str:
    text = _DIGITS[number & 63]
    while number := number >> 6:
        text = _DIGITS[number & 63] + text
    return text


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number << 6 | _VALUES[digit]
    return number
