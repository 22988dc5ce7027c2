"""The simulation on every engine, each of which is as safe as the one in memory."""

from __future__ import annotations

import pytest

from support.engines import ENGINES, memory, redis, sqlite, store_urls, valkey

from .drift import ROWS, quiet_logs
from .schedule import Schedule
from .simulate import memory as in_memory
from .simulate import simulate

# Fixtures are found by their names.
__all__ = ["memory", "redis", "sqlite", "store_urls", "valkey"]

OUTSIDE = [name for name, kind in ENGINES.items() if kind.is_durable or kind.is_shared]
"""The engines that are more than a process, and are opened anew at each restart."""


def check(row: str, count: int, name: str, request: pytest.FixtureRequest) -> None:
    make_engine = request.getfixturevalue(name)
    for seed in range(count):
        schedule = Schedule(seed=seed, faults=ROWS[row], reopens=True)
        outcome = simulate(make_engine, schedule)

        assert (False, ()) == (outcome.wrong["Roundel"], outcome.unsafe), seed


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("row", ROWS)
def test_every_page_is_right_whatever_the_engine(row, name, request):
    """Where mailboxes are kept changes nothing of what pages are promised."""
    with quiet_logs():
        check(row, 3, name, request)


@pytest.mark.nightly
@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("row", ROWS)
def test_the_same_for_a_night(row, name, request):
    """The same promise, in hundreds of schedules of each kind."""
    with quiet_logs():
        check(row, 500, name, request)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_file_makes_no_difference(row, sqlite):
    """The same seed tells the same story of an engine that tells of the same: also of
    one that waits for a disk, and that is opened anew where the other goes on."""

    def outcomes(make_engine, *, reopens: bool) -> list:
        schedules = [
            Schedule(seed=seed, faults=ROWS[row], reopens=reopens) for seed in range(4)
        ]
        return [simulate(make_engine, schedule) for schedule in schedules]

    with quiet_logs():
        expected = outcomes(in_memory, reopens=False)

        assert expected == outcomes(sqlite, reopens=True)
