"""The ring of changes: a value, whatever its versions share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel_service.domain.badge import Badge
from roundel_service.domain.change_log import ChangeLog
from roundel_service.domain.changes import Change


def change(v: int) -> Change:
    badge = Badge("e", v, 0, 0, more=False, by={})
    return Change(
        v=v, steps=(), badge=badge, operation="notify", by="producer", time=0.0
    )


def versions(ring: ChangeLog) -> list[int]:
    return [change.v for change in ring]


def ring_of(*numbers: int) -> ChangeLog:
    return ChangeLog(map(change, numbers))


@given(
    keep=st.integers(1, 20),
    turns=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=60),
)
def test_is_like_a_tuple(keep, turns):
    """Whoever goes on from any of them, at any time, changes no other."""
    rings, tuples = [ChangeLog()], [()]
    for back, count in turns:
        place = max(0, len(rings) - 1 - back)
        old = tuples[place]
        start = old[-1] + 1 if old else 1
        new = tuple(range(start, start + count))
        rings.append(rings[place].extend(map(change, new), keep=keep))
        tuples.append((*old, *new)[-keep:])

    for ring, numbers in zip(rings, tuples, strict=True):
        assert list(numbers) == versions(ring)
        assert len(numbers) == len(ring)
        assert bool(numbers) is bool(ring)


def test_holds_no_more_than_a_part_of_what_is_over():
    """What nobody is replayed any more is let go."""
    ring = ChangeLog()
    for v in range(1, 1_000):
        ring = ring.extend([change(v)], keep=100)

    assert len(ring._shared) <= 126


@pytest.mark.parametrize(
    ("v", "later"),
    [(0, [3, 4, 5]), (1, [3, 4, 5]), (2, [3, 4, 5]), (4, [5]), (5, []), (9, [])],
)
def test_since(v, later):
    """It tells what is later than a version, as far as that is there."""
    assert later == [change.v for change in ring_of(3, 4, 5).since(v)]


def test_nothing_is_later_than_nothing():
    """Where nothing is kept, nothing can be told."""
    assert not ChangeLog().since(0)


def test_places_and_parts():
    """It is read as any sequence is."""
    ring = ring_of(1, 2, 3).extend([change(4)], keep=3)

    assert (2, 4) == (ring[0].v, ring[-1].v)
    assert [4, 3] == [change.v for change in ring[:-3:-1]]
    with pytest.raises(IndexError):
        ring[3]


def test_equal_are_those_of_equal_changes():
    """What they share or were made of does not matter."""
    assert ring_of(2, 3) == ring_of(1, 2).extend([change(3)], keep=2)
    assert ring_of(2, 3) != ring_of(2)
    assert ring_of(2, 3) != (change(2), change(3))
    assert f"Ring([{change(2)!r}])" == repr(ring_of(2))


def test_rows_are_made_when_somebody_looks_and_once():
    """A mailbox that is only written to never makes the changes of its past."""
    made = []

    def make(row: str) -> Change:
        made.append(row)
        return change(int(row))

    ring = ChangeLog(["1", "2", "3"], make).extend([change(4)], keep=3)

    assert ([], 3, 4) == (made, len(ring), ring[-1].v)
    assert [3, 4] == [change.v for change in ring.since(2)]
    assert [2, 3, 4] == versions(ring) == versions(ring)
    assert ["3", "2"] == made
