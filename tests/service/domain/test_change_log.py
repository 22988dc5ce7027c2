"""The change log is immutable, although its versions share a list."""

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


def versions(log: ChangeLog) -> list[int]:
    return [change.v for change in log]


def log_of(*numbers: int) -> ChangeLog:
    return ChangeLog(map(change, numbers))


@given(
    max_length=st.integers(1, 20),
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=60),
)
def test_like_a_tuple(max_length, steps):
    """Extending any version of a log changes no other version."""
    logs, tuples = [ChangeLog()], [()]
    for back, count in steps:
        index = max(0, len(logs) - 1 - back)
        old = tuples[index]
        start = old[-1] + 1 if old else 1
        new = tuple(range(start, start + count))
        logs.append(logs[index].extend(map(change, new), max_length=max_length))
        tuples.append((*old, *new)[-max_length:])

    for log, numbers in zip(logs, tuples, strict=True):
        assert list(numbers) == versions(log)
        assert len(numbers) == len(log)
        assert bool(numbers) is bool(log)


def test_shared_list_is_bounded():
    """The shared list holds at most 1.25 times the limit."""
    log = ChangeLog()
    for v in range(1, 1_000):
        log = log.extend([change(v)], max_length=100)

    assert len(log._shared) <= 126


@pytest.mark.parametrize(
    ("v", "later"),
    [(0, [3, 4, 5]), (1, [3, 4, 5]), (2, [3, 4, 5]), (4, [5]), (5, []), (9, [])],
)
def test_since(v, later):
    """`since()` returns the changes after a version, if the log still has them."""
    assert later == [change.v for change in log_of(3, 4, 5).since(v)]


def test_since_of_an_empty_log():
    """An empty log has no changes."""
    assert not ChangeLog().since(0)


def test_index_and_slice():
    """A log supports indexes and slices like a tuple."""
    log = log_of(1, 2, 3).extend([change(4)], max_length=3)

    assert (2, 4) == (log[0].v, log[-1].v)
    assert [4, 3] == [change.v for change in log[:-3:-1]]
    with pytest.raises(IndexError):
        log[3]


def test_equality():
    """Logs are equal if their changes are equal."""
    assert log_of(2, 3) == log_of(1, 2).extend([change(3)], max_length=2)
    assert log_of(2, 3) != log_of(2)
    assert log_of(2, 3) != (change(2), change(3))
    assert f"ChangeLog([{change(2)!r}])" == repr(log_of(2))


def test_serialized_changes_are_decoded_once():
    """A serialized change is decoded on first access and not again."""
    decoded = []

    def decode(row: str) -> Change:
        decoded.append(row)
        return change(int(row))

    log = ChangeLog(["1", "2", "3"], decode).extend([change(4)], max_length=3)

    assert ([], 3, 4) == (decoded, len(log), log[-1].v)
    assert [3, 4] == [change.v for change in log.since(2)]
    assert [2, 3, 4] == versions(log) == versions(log)
    assert ["3", "2"] == decoded


@given(
    max_length=st.integers(1, 20),
    backs=st.lists(st.integers(0, 9), max_size=60),
)
def test_append_is_extend_by_one(max_length, backs):
    """Appending one change to any version gives what extending it gives."""
    appended, extended = [ChangeLog()], [ChangeLog()]
    for back in backs:
        index = max(0, len(appended) - 1 - back)
        new = change(versions(extended[index])[-1] + 1 if extended[index] else 1)
        appended.append(appended[index].append(new, max_length=max_length))
        extended.append(extended[index].extend([new], max_length=max_length))

    assert extended == appended
