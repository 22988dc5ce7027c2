"""Error rates of three badge protocols.

    PYTHONPATH=tests python -m tests.simulation.drift 2000

Prints a table with a row for each fault and a column for each protocol. A cell is the
share of random schedules that end with a wrong number on a page, after all faults have
stopped.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, final

import attrs
import structlog
import trio
from trio.testing import MockClock

from roundel_service.testing import MakeEngine

from .faults import TOPIC_FAULTS, Fault
from .schedule import ClientParts, Schedule
from .simulate import memory, play

ROWS: Final = {
    "none": frozenset[Fault](),
    **{
        f.value: frozenset({f})
        for f in Fault
        if f is not Fault.RESTART and f not in TOPIC_FAULTS
    },
    "all together, and restarts": frozenset(Fault) - TOPIC_FAULTS,
}
COLUMNS: Final = ("±1 deltas", "pushed recounts", "Roundel")

BROADCAST: Final = frozenset({Fault.BROADCAST})
AWAY: Final = BROADCAST | {Fault.AWAY}
TOPIC_ROWS: Final = {
    "a broadcast": BROADCAST,
    "a broadcast while away": AWAY,
    "and a snapshot/stream race": AWAY | {Fault.RACE},
    **{
        f"and {fault.value}": AWAY | {fault}
        for fault in (
            Fault.CUT,
            Fault.SNOOZE,
            Fault.EDIT,
            Fault.MUTE,
            Fault.FOLLOW,
            Fault.EVICTED,
            Fault.TOPIC_EVICTED,
        )
    },
    "all of both tables": frozenset(Fault),
}
TOPIC_COLUMNS: Final = ("±1 with broadcasts", "two sources", "Roundel")


@final
@attrs.frozen(kw_only=True)
class Measurement:
    """The numbers of schedules, wrong final states and unsafe states."""

    schedules: int
    wrong: Counter[str]
    unsafe: int

    def share_wrong(self, column: str) -> float:
        """Return the share of wrong final states in percent."""
        return 100 * self.wrong[column] / self.schedules


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Silence the log lines of closed streams."""
    before = structlog.get_config()
    wrapper = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=wrapper)
    try:
        yield
    finally:
        structlog.configure(**before)


def measure(
    faults: frozenset[Fault],
    count: int,
    *,
    make_engine: MakeEngine = memory,
    parts: ClientParts | None = None,
    steps: int = 40,
    reopens: bool = False,
) -> Measurement:
    """Play *count* schedules with *faults*, each with the next seed."""

    async def play_all() -> Measurement:
        wrong: Counter[str] = Counter()
        unsafe = 0
        for seed in range(count):
            schedule = Schedule(seed=seed, faults=faults, steps=steps, reopens=reopens)
            outcome = await play(make_engine, schedule, parts)
            wrong.update(name for name, is_wrong in outcome.wrong.items() if is_wrong)
            unsafe += len(outcome.unsafe)
        return Measurement(schedules=count, wrong=wrong, unsafe=unsafe)

    with quiet_logs():
        return trio.run(play_all, clock=MockClock())


def main(count: int) -> None:
    """Print both tables as Markdown."""
    for rows, columns in ((ROWS, COLUMNS), (TOPIC_ROWS, TOPIC_COLUMNS)):
        print(f"| what goes wrong | {' | '.join(columns)} | unsafe moments |")
        print("|---" * (len(columns) + 2) + "|")
        for name, faults in rows.items():
            row = measure(faults, count)
            shares = " | ".join(
                f"{row.share_wrong(column):.1f} %" for column in columns
            )
            print(f"| {name} | {shares} | {row.unsafe} |", flush=True)
        print()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
