"""Which primary of a cluster is the home of a key.

It is a hint, by which is asked apart what does not depend on each other. The client
library finds the way by itself, and what is moved meanwhile is grouped less well.
"""

from __future__ import annotations

from binascii import crc_hqx
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, final

import attrs

from .client import Command

SLOTS: Final = 16_384


@final
@attrs.frozen
class SlotMap:
    """So many homes by *count*, and at *firsts* the slots at which another begins.

    Each of *numbers* is whose slots those are. Where nothing is known all is one home.
    """

    count: int = 1
    firsts: Sequence[int] = ()
    numbers: Sequence[int] = ()

    def primary(self, key: str) -> int:
        """Return the number of the home of *key*."""
        if self.count == 1:
            return 0
        return self.numbers[bisect_right(self.firsts, slot(key)) - 1]

    def split(self, commands: Sequence[Command]) -> dict[int, Sequence[int]]:
        """Return the places of *commands* that belong to each home."""
        if self.count == 1:
            return {0: range(len(commands))}
        places: dict[int, list[int]] = {}
        for place, command in enumerate(commands):
            places.setdefault(self.primary(_key(command)), []).append(place)
        return {**places}


def parse_slots(told: object) -> SlotMap | None:
    """Read what `CLUSTER SLOTS` answers; there is none if that says nothing.

    They are numbered by their slots, so that a replica has the number of its primary.
    """
    ranges = sorted(_ranges(told))
    known: dict[bytes, int] = {}
    numbers = [known.setdefault(node, len(known)) for _, node in ranges]
    return (
        SlotMap(len(known), [first for first, _ in ranges], numbers) if known else None
    )


def _ranges(told: object) -> Iterator[tuple[int, bytes]]:
    for part in told if isinstance(told, list) else ():
        match part:
            case [int(first), int(), [_, _, bytes(node), *_], *_]:
                yield first, node


def slot(key: str) -> int:
    """Return the slot of *key*: by what it has in braces, if it has."""
    _, _, rest = key.partition("{")
    tag, brace, _ = rest.partition("}")
    return crc_hqx((tag if tag and brace else key).encode(), 0) % SLOTS


def _key(command: Command) -> str:
    match command:
        case ["EVALSHA" | "EVAL", _, _, str(key), *_]:
            return key
        case ["XREAD", *_]:
            return str(command[command.index("STREAMS") + 1])
        case [_, str(key), *_]:
            return key
    return ""
