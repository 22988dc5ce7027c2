"""ULIDs: ids of items."""

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
    """An id is 48 bits of milliseconds, then 80 bits that differ each time."""
    now = 1_763_690_000.123
    ids = {new_id(now) for _ in range(100)}

    assert {26} == {len(ulid) for ulid in ids}
    assert {1_763_690_000_123} == {number(ulid) >> 80 for ulid in ids}
    assert len({number(ulid) & (1 << 80) - 1 for ulid in ids}) == 100


def test_ids_sort_by_time():
    """A later id sorts after an earlier one, as text."""
    ids = [new_id(now) for now in (0.0, 0.001, 1.0, 1_763_690_000.0, 1e11)]

    assert sorted(ids) == ids


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked there")
def test_forked_process_has_other_ids():
    """A child process does not reuse the random parts of its parent."""
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
