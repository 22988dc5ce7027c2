"""Damage to the stored form of a mailbox, for the tests of the codec and the engines.

A snapshot has four lines of JSON: `head`, `items`, `results` and `changes`. An entry
is one object. A damage belongs to a part, and returns the damaged part.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, TypeAlias, final

import attrs
import pytest

from roundel_service.domain.log.entry import entry_between
from roundel_service.domain.operations import Operation
from roundel_service.domain.record import Record
from roundel_service.engines.codec.encoding import encode_entry, encode_snapshot

from .mailboxes import gauge, note, ops
from .operations import EMPTY, reduced

Damage: TypeAlias = Callable[[bytes], bytes]

LINES: Final = ("head", "items", "results", "changes")
"""The lines of a snapshot, in their order. The other part is an `entry`."""

_DATA: Final = b'"data":["secret"]'


@final
@attrs.frozen
class StoredMailbox:
    """A *record* as a *snapshot* and *entries*."""

    record: Record
    snapshot: bytes
    entries: list[bytes]

    def damaged(self, part: str, damage: Damage) -> tuple[bytes, list[bytes]]:
        """Return the snapshot and the entries with *damage* in *part*."""
        if part == "entry":
            return self.snapshot, [damage(self.entries[0]), *self.entries[1:]]
        return damaged_snapshot(self.snapshot, part, damage), self.entries


def damaged_snapshot(snapshot: bytes, part: str, damage: Damage) -> bytes:
    """Return *snapshot* with *damage* in its line *part*."""
    lines = snapshot.split(b"\n")
    index = LINES.index(part)
    lines[index] = damage(lines[index])
    return b"\n".join(lines)


def first_works() -> list[Operation]:
    """Return the operations of the snapshot, which an engine writes together."""
    return [note("1"), note("2", op_id="o", data=["secret"]), gauge(2, 1)]


def later_works() -> list[Operation]:
    """Return the operations of the entries, which an engine writes one by one."""
    read = ops({"read": ["1"]})
    return [note("3", op_id="p", data=["secret"]), read, gauge(9, 9)]


def _stored() -> StoredMailbox:
    before = reduced(EMPTY, *first_works())
    snapshot, entries, record = encode_snapshot(before), [], before
    for work in later_works():
        after = reduced(record, work)
        entry = entry_between(record, after)
        assert entry is not None
        entries.append(encode_entry(entry, len(entries) + 1))
        record = after
    return StoredMailbox(record, snapshot, entries)


STORED: Final = _stored()
"""A mailbox whose stored form has everything, and three entries."""


def put(value: object) -> Damage:
    """Replace the whole part."""
    return lambda _: value if isinstance(value, bytes) else json.dumps(value).encode()


def edit(*path: str | int, value: object = None) -> Damage:
    """Replace the value at *path*."""

    def damage(part: bytes) -> bytes:
        root = json.loads(part)
        inner = root
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return json.dumps(root).encode()

    return damage


def drop(*path: str | int) -> Damage:
    """Remove the value at *path*."""

    def damage(part: bytes) -> bytes:
        root = json.loads(part)
        inner = root
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        return json.dumps(root).encode()

    return damage


def append(*path: str | int) -> Damage:
    """Add a value to the list or object at *path*."""

    def damage(part: bytes) -> bytes:
        root = json.loads(part)
        inner = root
        for key in path:
            inner = inner[key]
        if isinstance(inner, list):
            inner.append("unknown")
        else:
            inner["unknown"] = 1
        return json.dumps(root).encode()

    return damage


def insert(text: bytes) -> Damage:
    """Insert bytes into the first string of the part."""

    def damage(part: bytes) -> bytes:
        start = part.index(b'"') + 1 if b'"' in part else len(part) // 2
        return part[:start] + text + part[start:]

    return damage


def nest(depth: int) -> Damage:
    """Replace `data` by nested lists."""
    return lambda part: part.replace(_DATA, b'"data":' + b"[" * depth + b"]" * depth)


ROWS: Final = {
    "items": ((1,), 11, ()),
    "results": (("producer o",), 7, ()),
    "changes": ((2,), 8, ()),
    "entry": (("changes", 0), 8, ()),
}
"""By part: the path to one row, and its number of fields."""


def _of_every_part():
    for part in (*LINES, "entry"):
        for text in ("", "x", "null", "0", '"\\ud800"', "[" * 100_000, "{" * 100_000):
            yield part, f"is {text[:9]!r}", put(text.encode())
        for code in (b"\xff", b"\x00", b"\x1c", b"\x1e", b"\n"):
            yield part, f"has {code!r} inside", insert(code)
        yield part, "is cut", lambda row: row[:-3]
        yield part, "is too long", lambda row: row + b" " * (1 << 24)
    for part in ("head", "entry"):
        yield part, "is a list", put([])
        yield part, "has an unknown field", append()
    yield "items", "is an object", put({})
    yield "changes", "is an object", put({})
    yield "results", "is a list", put([])


def _of_rows():
    for part, (path, length, _) in ROWS.items():
        yield part, "has a row with a field too many", append(*path)
        for position in range(length - 2 * (part == "results")):
            yield part, f"lacks field {position}", drop(*path, position)
            yield (
                part,
                f"has another type {position}",
                edit(*path, position, value=[[]]),
            )
    yield "entry", "has an item with a field too many", append("items", 0)
    for position in range(11):
        yield "entry", f"has an item without {position}", drop("items", 0, position)
    for name in ("title", "body", "url", "icon"):
        yield "items", f"has another type of {name}", edit(1, 3, name, value=[1])
    yield "items", "has no title", drop(1, 3, "title")
    yield "items", "has another text", append(1, 3)


def _of_one_part():
    for epoch in ("", "e\n", "e.f", "e" * 65, "é"):
        yield "head", f"has epoch {epoch[:5]!r}", edit("epoch", value=epoch)
    for value in (-1, 2**42, 10**30, 1.5):
        yield "head", f"has version {value:.3g}", edit("v", value=value)
        yield "changes", f"has version {value:.3g}", edit(2, 0, value=value)
        yield "items", f"has version {value:.3g}", edit(1, 1, value=value)
        yield "results", f"has version {value:.3g}", edit("producer o", 1, value=value)
        yield "entry", f"has number {value:.3g}", edit("number", value=value)
    for value in (2, 99):
        yield "head", f"has version {value}", edit("v", value=value)
        yield "changes", f"has version {value}", edit(0, 0, value=value)
        yield "entry", f"has version {value}", edit("changes", 0, 0, value=value)
    yield "head", "has a negative gauge", edit("gauges", value={"g": [-1, 1]})
    yield "head", "has another gauge", edit("gauges", value={"other": [1, 1]})
    yield "head", "has more of another type", edit("more", value=1)
    for flags in (-1, 8, 1.5, "1"):
        yield "items", f"has flags {flags}", edit(1, 10, value=flags)
    yield "items", "is newer than the mailbox", edit(1, 1, value=99)
    yield "items", "has another id", edit(0, 0, value="another")
    yield "items", "has an id twice", edit(0, 0, value="2")
    yield "items", "has another category", edit(1, 2, value="another")
    yield "items", "lacks an item", drop(0)
    yield "entry", "has another item", edit("items", 0, 0, value="another")
    yield "entry", "has another category", edit("items", 0, 2, value="another")
    yield "entry", "lacks its item", drop("items")
    yield (
        "entry",
        "drops keys of no field",
        edit("fields", "drop", value={"sung": ["a"]}),
    )
    for depth in (500, 965, 990, 5_000, 100_000):
        yield "items", f"is {depth} levels deep", nest(depth)
        yield "entry", f"is {depth} levels deep", nest(depth)
    for part, path in (("changes", (2,)), ("entry", ("changes", 0))):
        yield part, "is by an unknown caller", edit(*path, 4, value="nobody")
        for name, value in {
            "unknown step": [["sing", {}]],
            "no step": [[]],
            "unknown reason": [["remove", {"1": "c"}, "sung"]],
            "unknown flag": [["set", {"1": "c"}, {"sung": True}]],
            "step too long": [["remove", {"1": "c"}, "expired", 1]],
            "step too short": [["remove", {"1": "c"}]],
            "short item": [["add", "1", 1]],
        }.items():
            yield part, f"has {name}", edit(*path, 7, value=value)
    yield (
        "entry",
        "marks no item",
        edit("changes", 0, 7, value=[["set", {"no": "c"}, {"read": True}]]),
    )


DAMAGED: Final = [
    pytest.param(part, damage, id=f"{part} {name}")
    for part, name, damage in (*_of_every_part(), *_of_rows(), *_of_one_part())
]
"""Parameters *part* and *damage* of a test: each makes its mailbox damaged."""

DAMAGED_PARTS: Final = [
    pytest.param(part, damage, id=f"{part} {name}")
    for part, name, damage in _of_every_part()
]
"""Damages that need no knowledge of a part, for tests of a whole engine."""
