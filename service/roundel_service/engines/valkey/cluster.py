"""The slot map of a cluster: which primary serves a key.

The map groups commands by primary. The client library routes each command and follows
redirections, so a stale map makes batches smaller and does no other harm.
"""

from __future__ import annotations

from binascii import crc_hqx
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, final

import attrs

from .client import Command

SLOTS: Final = 16_384
"""Number of hash slots of a cluster."""


@final
@attrs.frozen
class SlotMap:
    """Maps keys to primaries, which are numbered from 0 to *count* - 1.

    *starts* holds the first slot of each range, in ascending order, and *owners* the
    primary of each range. By default one primary serves all keys.
    """

    count: int = 1
    starts: Sequence[int] = ()
    owners: Sequence[int] = ()

    def primary(self, key: str) -> int:
        """Return the number of the primary that serves *key*."""
        if self.count == 1:
            return 0
        return self.owners[bisect_right(self.starts, slot(key)) - 1]

    def split(self, commands: Sequence[Command]) -> dict[int, Sequence[int]]:
        """Return the indexes of *commands* for each primary."""
        if self.count == 1:
            return {0: range(len(commands))}
        indexes: dict[int, list[int]] = {}
        for index, command in enumerate(commands):
            indexes.setdefault(self.primary(_key(command)), []).append(index)
        return {**indexes}


def parse_slots(reply: object) -> SlotMap | None:
    """Parse the reply to `CLUSTER SLOTS`; return `None` if it contains no slots.

    Primaries are numbered in the order of their slots. So a replica that is promoted
    keeps the number of its primary.
    """
    ranges = sorted(_ranges(reply))
    numbers: dict[bytes, int] = {}
    owners = [numbers.setdefault(node, len(numbers)) for _, node in ranges]
    if not numbers:
        return None
    return SlotMap(len(numbers), [first for first, _ in ranges], owners)


def _ranges(reply: object) -> Iterator[tuple[int, bytes]]:
    for part in reply if isinstance(reply, list) else ():
        match part:
            case [int(first), int(), [_, _, bytes(node), *_], *_]:
                yield first, node


def slot(key: str) -> int:
    """Return the hash slot of *key*, by the Redis Cluster specification.

    If the key contains a hash tag, `{tag}`, only the tag is hashed.
    """
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
