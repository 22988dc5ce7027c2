"""Ids of items."""

from __future__ import annotations

import os

import pytest

from roundel_service.http.ulid import new_id

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def number(ulid: str) -> int:
    """Read an id digit by digit."""
    total = 0
    for digit in ulid:
        total = total * 32 + DIGITS.index(digit)
    return total


def test_id_begins_with_the_time():
    """It is a ULID: 48 bits of milliseconds, then 80 that differ each time."""
    now = 1_763_690_000.123
    ids = {new_id(now) for _ in range(100)}

    assert {26} == {len(ulid) for ulid in ids}
    assert {1_763_690_000_123} == {number(ulid) >> 80 for ulid in ids}
    assert len({number(ulid) & (1 << 80) - 1 for ulid in ids}) == 100


def test_ids_sort_by_time():
    """What came later sorts behind, as text."""
    ids = [new_id(now) for now in (0.0, 0.001, 1.0, 1_763_690_000.0, 1e11)]

    assert sorted(ids) == ids


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked there")
def test_process_that_is_forked_has_ids_of_its_own():
    """What was drawn ahead is not drawn from by two."""
    new_id(0.0)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, new_id(0.0).encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reading, 26).decode() != new_id(0.0)
    os.close(reading)
    os.close(writing)
