"""The calendar of a switchboard: who is to be asked without news, and when."""

from __future__ import annotations

from math import inf

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel_adapters.server.dispatcher.timer_wheel import RESOLUTION, TimerWheel


@attrs.define(eq=False)
class Line:
    """What a calendar knows of one."""

    scheduled_at: float = inf


@pytest.fixture
def calendar():
    """Open an empty one."""
    return TimerWheel()


def test_empty_calendar_has_no_moment(calendar):
    """Nobody has to be asked, at any time."""
    assert not calendar
    assert inf == calendar.next
    assert [] == list(calendar.due(1e9))


@pytest.mark.parametrize(
    ("deadline", "moment"),
    [(15.0, 15.0), (15.01, 15.25), (15.25, 15.25), (0.0, 0.0), (-inf, 0.0)],
)
def test_line_is_due_at_the_end_of_its_moment(calendar, deadline, moment):
    """Never before its deadline, and less than a grain after it."""
    line = Line()
    calendar.put(line, deadline)

    assert moment == calendar.next
    assert [] == list(calendar.due(moment - 0.001))
    assert [line] == list(calendar.due(moment))
    assert not calendar


def test_deadline_of_never_is_no_moment(calendar):
    """A line without one waits for news alone."""
    calendar.put(Line(), inf)

    assert not calendar


def test_line_that_is_put_earlier_is_due_once(calendar):
    """What it was put down for before is passed over."""
    line = Line()
    calendar.put(line, 20.0)
    calendar.put(line, 30.0)
    calendar.put(line, 10.0)

    assert [line] == list(calendar.due(10.0))
    calendar.put(line, 25.0)
    assert [] == list(calendar.due(20.0))
    assert [line] == list(calendar.due(30.0))
    assert not calendar


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0, 120)))
def test_calendar_agrees_with_a_sorted_list(deadlines, times):
    """At any time those are due that a list of all deadlines says, but for a grain."""
    calendar, waiting = TimerWheel(), {Line(): deadline for deadline in deadlines}
    for line, deadline in waiting.items():
        calendar.put(line, deadline)
    for now in [*sorted(times), 120.0]:
        due = {line: waiting.pop(line) for line in calendar.due(now)}

        assert all(deadline <= now for deadline in due.values())
        assert all(deadline > now - RESOLUTION for deadline in waiting.values())
    assert {} == waiting
