"""Random schedules: Roundel never drifts, and two common protocols do."""

from __future__ import annotations

import attrs
import pytest

from .drift import (
    COLUMNS,
    ROWS,
    TOPIC_COLUMNS,
    TOPIC_ROWS,
    measure,
    quiet_logs,
)
from .faults import TOPIC_FAULTS, Fault
from .schedule import ClientParts, Schedule
from .simulate import memory, simulate
from .tab import ServerStream

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
    Fault.EVICTED.value: BOTH,
    Fault.DAMAGED.value: set(),
    "all together, and restarts": BOTH,
}


COUNTER = {"±1 with broadcasts"}
OTHERS = {"±1 with broadcasts", "two sources"}
WRONG_WITH_TOPICS = {
    name: COUNTER if name == "a broadcast" else OTHERS for name in TOPIC_ROWS
}


def check(name: str, count: int) -> None:
    row = measure(ROWS[name], count)

    assert row.unsafe == 0
    assert WRONG[name] == {column for column in COLUMNS if row.wrong[column]}


def check_topics(name: str, count: int) -> None:
    row = measure(TOPIC_ROWS[name], count)

    assert row.unsafe == 0
    wrong = {column for column in TOPIC_COLUMNS if row.wrong[column]}
    assert WRONG_WITH_TOPICS[name] == wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_pages_are_safe_and_become_correct(name):
    """With each fault, only the protocols that are known to drift end up wrong."""
    check(name, 100)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ROWS)
def test_pages_are_safe_and_become_correct_nightly(name):
    """The same in 20,000 schedules of each kind."""
    check(name, 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOPIC_ROWS)
def test_broadcasts_are_safe_and_become_correct(name):
    """With broadcasts, snooze, edits, mutes and lost keys only the others drift."""
    check_topics(name, 40)


@pytest.mark.nightly
@pytest.mark.parametrize("name", TOPIC_ROWS)
def test_broadcasts_are_safe_and_become_correct_nightly(name):
    """The same in 20,000 schedules of each kind."""
    check_topics(name, 20_000)


@attrs.frozen
class RecordedStream:
    """A stream whose chunks are also appended to *log*."""

    stream: ServerStream
    log: list[bytes]

    @property
    def is_open(self) -> bool:
        return self.stream.is_open

    def data_to_send(self, now: float) -> list[bytes]:
        chunks = self.stream.data_to_send(now)
        self.log.extend(chunks)
        return chunks

    def close(self) -> None:
        self.stream.close()


def test_same_seed_makes_the_same_run():
    """The seed determines the whole run, so a failure can be reproduced."""

    def run() -> tuple[list[bytes], object]:
        log: list[bytes] = []
        parts = ClientParts(wrap_stream=lambda stream: RecordedStream(stream, log))
        schedule = Schedule(seed=5, faults=frozenset(Fault))
        with quiet_logs():
            return log, simulate(memory, schedule, parts)

    first = run()

    assert len(first[0]) > 10
    assert first == run()


def test_table_has_a_row_for_each_fault():
    """The tables have each fault alone and all faults together."""
    alone = {fault for faults in ROWS.values() if len(faults) == 1 for fault in faults}
    of_topics = frozenset().union(
        *(TOPIC_ROWS[n] for n in TOPIC_ROWS if "all" not in n)
    )

    assert set(Fault) - {Fault.RESTART} - TOPIC_FAULTS == alone
    assert of_topics >= TOPIC_FAULTS
    assert frozenset(Fault) - TOPIC_FAULTS in ROWS.values()
    assert frozenset(Fault) in TOPIC_ROWS.values()
    assert set(WRONG) == set(ROWS)
