"""The simulation can fail: it detects each injected fault."""

from __future__ import annotations

import attrs
import pytest

from roundel_service.domain import record
from simulation import fault_injectors
from support.flawed_engine import engine_with
from support.flaws import Flaw

from .drift import AWAY, measure
from .faults import Fault
from .schedule import ClientParts

IGNORES_PINGS = ClientParts(page=fault_injectors.page_without_pings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "engine"),
    [
        (None, fault_injectors.increments_count),
        (None, fault_injectors.retracts_without_version),
        (Fault.RESTART, fault_injectors.reuses_epochs),
        (Fault.EVICTED, fault_injectors.repeats_epochs),
    ],
)
def test_wrong_engine_is_detected(fault, engine):
    """An incremented count, a change without a version and a reused version each make
    unsafe states."""
    faults = frozenset({fault} - {None})

    row = measure(faults, 40, make_engine=engine)

    assert row.unsafe > 0
    assert row.wrong["Roundel"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flaw", "is_unsafe"),
    [(None, False), (Flaw.LOSES_LATEST_WRITE, True), (Flaw.REUSES_EPOCHS, True)],
)
def test_lost_versions_are_detected(flaw, is_unsafe):
    """An engine that loses published versions reuses them with other contents."""
    restarts = frozenset({Fault.RESTART})
    row = measure(restarts, 40, make_engine=engine_with(flaw), reopens=True)

    assert is_unsafe is (row.unsafe > 0)


@pytest.mark.slow
def test_page_that_applies_stale_states_is_detected():
    """A page that does not compare versions keeps the state of a late response."""
    parts = ClientParts(page=fault_injectors.stale_page)

    assert measure(frozenset({Fault.RACE}), 40, parts=parts).wrong["Roundel"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.REPEAT, Fault.LOSS])
def test_page_that_ignores_gaps_is_detected(fault):
    """A page that does not compare `from` shows a list that never existed."""
    parts = ClientParts(page=fault_injectors.page_without_from)

    row = measure(frozenset({fault}), 40, parts=parts)

    assert row.unsafe > 0
    assert row.wrong["Roundel"] > 0


@pytest.mark.slow
def test_page_that_ignores_pings_is_detected():
    """If the last event is lost, only the ping reveals it."""
    row = measure(frozenset({Fault.LOSS}), 200, parts=IGNORES_PINGS, steps=12)

    assert row.wrong["Roundel"] > 0


@pytest.mark.slow
def test_hello_with_an_id_is_detected():
    """An id in the hello moves the cursor past a state that was not delivered yet.

    A page that compares the version of pings recovers; a page that ignores pings does
    not.
    """

    def wrong_states(parts: ClientParts) -> int:
        row = measure(frozenset({Fault.CUT}), 150, parts=parts, steps=6)
        return row.wrong["Roundel"]

    hello_with_id = ClientParts(wrap_stream=fault_injectors.HelloWithId)
    both_faults = attrs.evolve(hello_with_id, page=fault_injectors.page_without_pings)

    assert wrong_states(IGNORES_PINGS) == 0
    assert wrong_states(hello_with_id) == 0
    assert wrong_states(both_faults) > 0


@pytest.mark.slow
def test_merge_without_a_write_is_detected():
    """An engine that adds broadcasts at each read has two states at one version."""
    row = measure(AWAY, 20, make_engine=fault_injectors.merges_without_write)

    assert row.unsafe > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "pulls"),
    [
        (AWAY, fault_injectors.pulls_from_log),
        (AWAY | {Fault.EDIT}, fault_injectors.pulls_without_edits),
    ],
)
def test_wrong_pull_is_detected(faults, pulls, monkeypatch):
    """A pull from a log misses retractions; one without edits keeps an old text."""
    monkeypatch.setattr(record, "pulls", pulls)

    assert measure(faults, 40).wrong["Roundel"] > 0
