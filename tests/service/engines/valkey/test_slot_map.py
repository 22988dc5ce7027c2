"""The slot map of a cluster."""

from __future__ import annotations

import pytest

from roundel_service.engines.valkey.cluster import SlotMap, parse_slots, slot
from roundel_service.engines.valkey.scripts import LOAD


def part(first: int, last: int, node: bytes) -> list[object]:
    """Return a slot range of a `CLUSTER SLOTS` reply, with a replica."""
    replica = [b"127.0.0.1", 7001, node.upper(), {}]
    return [first, last, [b"127.0.0.1", 7000, node, {}], replica]


THREE = [part(10_922, 16_383, b"a"), part(0, 5_460, b"c"), part(5_461, 10_921, b"b")]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("123456789", 12_739),
        ("foo", 12_182),
        ("roundel:{foo}:u:alice", 12_182),
        ("{foo}{bar}", 12_182),
        ("{}foo", 9_500),
        ("{foo", 13_308),
        ("", 0),
    ],
)
def test_slot(key, expected):
    """Only the hash tag of a key is hashed, if it has one."""
    assert expected == slot(key)


def test_primaries_are_numbered_by_slots():
    """The order of the reply and the identity of a primary do not matter."""
    found = parse_slots(THREE)

    assert SlotMap(3, [0, 5_461, 10_922], [0, 1, 2]) == found
    assert found == parse_slots([*THREE[1:], part(10_922, 16_383, b"another")])


def test_moved_slots():
    """A primary may own several ranges."""
    moved = [part(0, 99, b"a"), part(100, 199, b"b"), part(200, 16_383, b"a")]
    found = parse_slots(moved)

    assert SlotMap(2, [0, 100, 200], [0, 1, 0]) == found


@pytest.mark.parametrize(
    "reply", [None, [], [[]], b"OK", [[0, 1]], ValueError(), [[0, 1, [None]]]]
)
def test_reply_without_slots(reply):
    """A reply without slots is ignored."""
    assert parse_slots(reply) is None


@pytest.mark.parametrize(
    "command",
    [
        ["GET", "{foo}:1"],
        ["SET", "{foo}:2", "{bar}", "NX"],
        ["XREAD", "COUNT", "500", "STREAMS", "{foo}:3", "0-0"],
        LOAD.call(["{foo}:4", "{foo}:5"], ["{bar}"]),
        ["EVAL", LOAD.text, "1", "{foo}:6"],
    ],
)
def test_commands_are_grouped_by_primary(command):
    """Every kind of command is grouped by its first key."""
    found = parse_slots(THREE)
    assert found is not None
    commands = [["GET", "{bar}"], command, ["GET", "{bar}"]]

    assert {0: [0, 2], 2: [1]} == found.split(commands)


def test_default_map():
    """By default one primary serves all keys, as at a single server."""
    commands = [["GET", "{foo}"], ["PING"], ["GET", "{bar}"]]

    assert {0: range(3)} == SlotMap().split(commands)
    assert 0 == SlotMap().primary("{foo}")
