"""When the next item of each user expires who is looking."""

from __future__ import annotations

import tracemalloc
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from roundel_service.streams.expiry import ExpiryQueue


def test_alarms():
    """The earliest of a user's times counts, once, and so does that of all."""
    alarms = ExpiryQueue()

    assert inf == alarms.next
    assert alarms.set("alice", 9.0)
    assert alarms.set("bob", 5.0)
    assert not alarms.set("alice", 7.0)
    assert not alarms.set("alice", 8.0)
    assert not alarms.set("carol", inf)
    assert ([], 5.0) == (list(alarms.due(4.9)), alarms.next)
    assert ["bob", "alice"] == list(alarms.due(9.0))
    assert alarms.set("alice", 9.0)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans())),
)
def test_no_alarm_is_late(calls):
    """Whoever is due is told at the first time that was set since the last telling."""
    alarms, earliest = ExpiryQueue(), {}
    for user, time, is_asked in calls:
        if is_asked:
            due = {name for name, set_for in earliest.items() if set_for <= time}

            assert due == set(alarms.due(time))
            for name in due:
                del earliest[name]
        else:
            alarms.set(user, time)
            earliest[user] = min(time, earliest.get(user, inf))
        assert alarms.next <= min(earliest.values(), default=inf)


def test_times_that_are_out_of_date_do_not_pile_up():
    """Whoever sets earlier and earlier times does not fill the memory."""
    alarms = ExpiryQueue()
    tracemalloc.start()
    try:
        for number in range(10_000):
            alarms.set("alice", 10_000.0 - number)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert held < 200_000
