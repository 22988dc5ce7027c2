"""Damage to the stored rows of a mailbox, for the tests of every engine.

A row is JSON (see `roundel_service.engines.codec.earlier`). Each damage belongs to
one kind of row: a test applies it to the first such row that its store holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, TypeAlias

import pytest

Damage: TypeAlias = Callable[[str], str | bytes]

ROWS: Final = {
    "mailbox": 6,
    "item": 13,
    "result": 7,
    "change": 9,
}
"""The kinds of rows, and their number of fields. The other kind is `flags`."""

_DATA: Final = 9
"""Position of the field of an item row that is any JSON."""


def put(value: object) -> Damage:
    """Replace the whole row."""
    return lambda row: value if isinstance(value, (str, bytes)) else json.dumps(value)


def edit(position: int, value: object) -> Damage:
    """Replace one field."""

    def damage(row: str) -> str:
        fields = json.loads(row)
        fields[position] = value
        return json.dumps(fields)

    return damage


def drop(position: int) -> Damage:
    """Remove one field."""

    def damage(row: str) -> str:
        fields = json.loads(row)
        del fields[position]
        return json.dumps(fields)

    return damage


def append(row: str) -> str:
    """Add an unknown field."""
    return json.dumps([*json.loads(row), "unknown"])


def insert(text: bytes) -> Damage:
    """Insert bytes in the middle of the row."""

    def damage(row: str) -> bytes:
        encoded = row.encode()
        middle = len(encoded) // 2
        return encoded[:middle] + text + encoded[middle:]

    return damage


def nest(depth: int) -> Damage:
    """Replace `data` by nested lists."""

    def damage(row: str) -> str:
        fields = json.loads(row)
        fields[_DATA] = "DATA"
        return json.dumps(fields).replace('"DATA"', "[" * depth + "]" * depth)

    return damage


def steps(value: object) -> Damage:
    """Replace the steps of a change."""
    return edit(8, value)


def _of_every_kind():
    for kind, length in ROWS.items():
        for text in ("", "x", "null", "{}", "[]", "0", '"\\ud800"', "[" * 100_000):
            yield kind, f"is {text[:9]!r}", put(text)
        for code in (b"\xff", b"\x00", b"\x1c", b"\x1d", b"\x1e", b"\x1f"):
            yield kind, f"has {code!r} inside", insert(code)
        yield kind, "has a field too many", append
        yield kind, "is cut", lambda row: row[:-3]
        yield kind, "is too long", lambda row: row + " " * (1 << 22)
        for position in range(length):
            if (kind, position) not in (("result", 5), ("result", 6)):
                # Rows of earlier versions lack field 6.
                yield kind, f"lacks field {position}", drop(position)
            if (kind, position) != ("item", _DATA):
                yield kind, f"has another type {position}", edit(position, [[]])


def _of_one_kind():
    for text in ("x", "", "-1", "8", "1e3", "9" * 30, "9" * 5_000):
        yield "flags", f"are {text[:9]!r}", put(text)
    for epoch in ("", "e\n", "e.f", "e" * 65, "é"):
        yield "mailbox", f"has epoch {epoch[:5]!r}", edit(0, epoch)
        yield "change", f"has epoch {epoch[:5]!r}", edit(0, epoch)
    for kind, number in (("mailbox", 1), ("change", 1), ("item", 1), ("result", 1)):
        for value in (-1, 2**42, 10**30, 1.5):
            yield kind, f"has version {value:.3g}", edit(number, value)
    yield "mailbox", "is behind its change", edit(1, 1)
    yield "mailbox", "is before its change", edit(1, 99)
    yield "mailbox", "has a negative gauge", edit(5, {"g": [-1, 1]})
    yield "mailbox", "has another gauge", edit(5, {"other": [1, 1]})
    yield "item", "is newer than the mailbox", edit(1, 99)
    yield "item", "has another id", edit(0, "another")
    yield "item", "has another category", edit(2, "another")
    for depth in (500, 965, 990, 5_000, 100_000):
        yield "item", f"is {depth} levels deep", nest(depth)
    yield "change", "is by an unknown caller", edit(5, "nobody")
    yield "change", "has other counts", edit(3, {"other": [7, 7]})
    for name, value in {
        "unknown step": [["sing", {}]],
        "no step": [[]],
        "unknown reason": [["remove", {"1": "c"}, "sung"]],
        "unknown flag": [["set", {"1": "c"}, {"sung": True}]],
        "step too long": [["remove", {"1": "c"}, "expired", 1]],
        "step too short": [["remove", {"1": "c"}]],
        "short item": [["add", ["1", 1]]],
    }.items():
        yield "change", f"has {name}", steps(value)


DAMAGED_ROWS: Final = [
    pytest.param(kind, damage, id=f"{kind} {name}")
    for kind, name, damage in (*_of_every_kind(), *_of_one_kind())
]
"""Parameters *kind* and *damage* of a test: every row makes its mailbox damaged."""
