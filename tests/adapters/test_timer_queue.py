"""The queue of timers: the earliest time of each key fires, and it fires once."""

from __future__ import annotations

import tracemalloc
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel_adapters.timer_queue import TimerQueue

RESOLUTION = 0.25


def test_empty_queue_is_never_due():
    """The next time of an empty queue is infinity."""
    timers = TimerQueue()

    assert inf == timers.next
    assert [] == timers.due(1e9)


def test_earliest_time_of_a_key_counts():
    """`set()` ignores a later time, and reports a new first time."""
    timers = TimerQueue()

    assert timers.set("alice", 9.0)
    assert timers.set("bob", 5.0)
    assert not timers.set("alice", 7.0)
    assert not timers.set("alice", 8.0)
    assert not timers.set("carol", inf)
    assert ([], 5.0) == (timers.due(4.9), timers.next)
    assert ["bob", "alice"] == timers.due(9.0)


def test_key_can_be_set_again_after_it_fired():
    """A stale entry of an earlier `set()` does not fire."""
    timers = TimerQueue()
    timers.set("alice", 20.0)
    timers.set("alice", 10.0)

    assert ["alice"] == timers.due(10.0)
    assert "alice" not in timers
    timers.set("alice", 25.0)
    assert [] == timers.due(20.0)
    assert ["alice"] == timers.due(25.0)
    assert inf == timers.next


@pytest.mark.parametrize(
    ("at", "rounded"),
    [(15.0, 15.0), (15.01, 15.25), (15.25, 15.25), (0.0, 0.0), (-inf, 0.0)],
)
def test_time_is_rounded_up_to_the_resolution(at, rounded):
    """A key is due at its time or less than the resolution later, never earlier."""
    timers = TimerQueue(resolution=RESOLUTION)
    timers.set("alice", at)

    assert rounded == timers.next
    assert [] == timers.due(rounded - 0.001)
    assert ["alice"] == timers.due(rounded)


@pytest.mark.parametrize("resolution", [0.0, RESOLUTION])
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100), st.booleans())),
)
def test_queue_agrees_with_a_dict(resolution, calls):
    """A key fires at the first `due()` after its earliest time, and only once."""
    timers, earliest = TimerQueue(resolution=resolution), {}
    for key, time, is_due in calls:
        if is_due:
            fired = {key: earliest.pop(key) for key in timers.due(time)}

            assert all(at <= time for at in fired.values())
            assert all(at > time - resolution for at in earliest.values())
        else:
            timers.set(key, time)
            earliest[key] = min(time, earliest.get(key, inf))
        assert timers.next <= min(earliest.values(), default=inf) + resolution


def test_stale_entries_are_dropped():
    """A key that is set to ever earlier times takes bounded memory."""
    timers = TimerQueue()
    tracemalloc.start()
    try:
        for number in range(10_000):
            timers.set("alice", 10_000.0 - number)
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert size < 50_000
    assert ["alice"] == timers.due(1.0)
