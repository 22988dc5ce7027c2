"""The proof against drift: thousands of schedules, and peers to compare with."""

from __future__ import annotations

import attrs
import pytest

from .drift import COLUMNS, ROWS, measure, quiet_logs
from .faults import Fault
from .schedule import Parts, Schedule
from .simulate import memory, simulate
from .tab import Talker

ROUNDEL = "Roundel"
BOTH = {"±1 deltas", "pushed recounts"}
WRONG = {
    "none": set(),
    Fault.RACE.value: BOTH,
    Fault.REPEAT.value: {"±1 deltas"},
    Fault.REORDER.value: BOTH,
    Fault.CUT.value: BOTH,
    Fault.LOSS.value: BOTH,
    Fault.BYPASS.value: BOTH,
    Fault.READ_TWICE.value: {"±1 deltas"},
    "all together, and restarts": BOTH,
}


def check(name: str, count: int) -> None:
    row = measure(ROWS[name], count)

    assert row.unsafe == 0
    assert WRONG[name] == {column for column in COLUMNS if row.wrong[column]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_every_page_is_right_once_it_is_quiet_and_never_shows_what_never_was(name):
    """Whatever goes wrong, only the ways that are known to drift end up wrong."""
    check(name, 100)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ROWS)
def test_the_same_for_a_night(name):
    """The same promise, in twenty thousand schedules of each kind."""
    check(name, 20_000)


@attrs.frozen
class Tapped:
    """A stream whose frames are copied to a *tape*."""

    stream: Talker
    tape: list[bytes]

    @property
    def is_open(self) -> bool:
        return self.stream.is_open

    def data_to_send(self, now: float) -> list[bytes]:
        chunks = self.stream.data_to_send(now)
        self.tape.extend(chunks)
        return chunks

    def close(self) -> None:
        self.stream.close()


def test_the_same_seed_tells_the_same_story():
    """The seed determines the whole run, so a failure can be reproduced."""

    def story() -> tuple[list[bytes], object]:
        tape: list[bytes] = []
        parts = Parts(dress=lambda stream: Tapped(stream, tape))
        schedule = Schedule(seed=5, faults=frozenset(Fault))
        with quiet_logs():
            return tape, simulate(memory, schedule, parts)

    first = story()

    assert len(first[0]) > 10
    assert first == story()


def test_table_has_a_row_for_each_fault():
    """What can go wrong is measured alone, and then all of it together."""
    alone = {fault for faults in ROWS.values() if len(faults) == 1 for fault in faults}

    assert set(Fault) - {Fault.RESTART} == alone
    assert frozenset(Fault) in ROWS.values()
    assert set(WRONG) == set(ROWS)
