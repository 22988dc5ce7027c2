"""The simulation on each engine that stores data outside the process."""

from __future__ import annotations

import pytest

from support.engines import (
    ENGINES,
    SharedStore,
    memory,
    redis,
    sqlite,
    store_urls,
    valkey,
)

from .drift import ROWS, TOPIC_ROWS, quiet_logs
from .schedule import Schedule
from .simulate import memory as in_memory
from .simulate import simulate

# Fixtures are found by their names.
__all__ = ["memory", "redis", "sqlite", "store_urls", "valkey"]

EXTERNAL = [name for name, kind in ENGINES.items() if kind.is_durable or kind.is_shared]
"""The engines with a store outside the process; each restart opens a new engine."""


WITH_TOPICS = (
    "a broadcast while away",
    "and evicted key of a topic",
    "all of both tables",
)


def check(row: str, count: int, name: str, request: pytest.FixtureRequest) -> None:
    make_engine, faults = request.getfixturevalue(name), (ROWS | TOPIC_ROWS)[row]
    for seed in range(count):
        schedule = Schedule(seed=seed, faults=faults, reopens=True)
        # A shared store really loses and damages keys.
        saboteur = make_engine if isinstance(make_engine, SharedStore) else None
        outcome = simulate(make_engine, schedule, saboteur=saboteur)

        assert (False, ()) == (outcome.wrong["Roundel"], outcome.unsafe), seed


@pytest.mark.slow
@pytest.mark.parametrize("name", EXTERNAL)
@pytest.mark.parametrize("row", [*ROWS, *WITH_TOPICS])
def test_pages_are_safe_and_become_correct(row, name, request):
    """Pages are correct with each engine."""
    with quiet_logs():
        check(row, 3, name, request)


@pytest.mark.nightly
@pytest.mark.parametrize("name", EXTERNAL)
@pytest.mark.parametrize("row", [*ROWS, *TOPIC_ROWS])
def test_pages_are_safe_and_become_correct_nightly(row, name, request):
    """The same in 500 schedules of each kind."""
    with quiet_logs():
        check(row, 500, name, request)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_sqlite_and_memory_have_equal_outcomes(row, sqlite):
    """A seed has the same outcome with both engines.

    This holds although SQLite waits for a disk and each restart opens a new engine.
    """

    def outcomes(make_engine, *, reopens: bool) -> list:
        schedules = [
            Schedule(seed=seed, faults=ROWS[row], reopens=reopens) for seed in range(4)
        ]
        return [simulate(make_engine, schedule) for schedule in schedules]

    with quiet_logs():
        expected = outcomes(in_memory, reopens=False)

        assert expected == outcomes(sqlite, reopens=True)
