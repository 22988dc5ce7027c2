"""Which primary of a cluster is the home of a key, as far as is known."""

from __future__ import annotations

import pytest

from roundel_service.engines.valkey.cluster import SlotMap, parse_slots, slot
from roundel_service.engines.valkey.scripts import LOAD


def part(first: int, last: int, node: bytes) -> list[object]:
    """Return slots as `CLUSTER SLOTS` tells of them, with a replica."""
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
def test_slot_is_where_the_store_has_it(key, expected):
    """Of a key with something in braces nothing else counts."""
    assert expected == slot(key)


def test_homes_are_numbered_by_their_slots():
    """In whatever order they are told, and whoever is the primary of some."""
    found = parse_slots(THREE)

    assert SlotMap(3, [0, 5_461, 10_922], [0, 1, 2]) == found
    assert found == parse_slots([*THREE[1:], part(10_922, 16_383, b"another")])


def test_slots_that_were_moved():
    """A home may have them in several places."""
    moved = [part(0, 99, b"a"), part(100, 199, b"b"), part(200, 16_383, b"a")]
    found = parse_slots(moved)

    assert SlotMap(2, [0, 100, 200], [0, 1, 0]) == found


@pytest.mark.parametrize(
    "told", [None, [], [[]], b"OK", [[0, 1]], ValueError(), [[0, 1, [None]]]]
)
def test_answer_that_says_nothing(told):
    """Then nothing is known from it."""
    assert parse_slots(told) is None


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
def test_commands_go_by_their_keys(command):
    """What is asked of one home is asked together, whatever the command."""
    found = parse_slots(THREE)
    assert found is not None
    commands = [["GET", "{bar}"], command, ["GET", "{bar}"]]

    assert {0: [0, 2], 2: [1]} == found.split(commands)


def test_nothing_is_known_at_first():
    """Then all is one home, as it is at a store that is no cluster."""
    commands = [["GET", "{foo}"], ["PING"], ["GET", "{bar}"]]

    assert {0: range(3)} == SlotMap().split(commands)
    assert 0 == SlotMap().primary("{foo}")
