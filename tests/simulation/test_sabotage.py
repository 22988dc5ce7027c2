"""A table that cannot fail proves nothing: each broken promise is found out."""

from __future__ import annotations

import pytest

from simulation import fault_injectors as saboteurs
from support.flawed_engine import engine_with
from support.flaws import Flaw

from .drift import measure
from .faults import Fault
from .schedule import Parts

DEAF = Parts(page=saboteurs.deaf_page)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "engine"),
    [
        (None, saboteurs.adds_up),
        (None, saboteurs.deletes_in_secret),
        (Fault.RESTART, saboteurs.reuses_versions),
    ],
)
def test_engine_that_lies_is_found_out(fault, engine):
    """A count that is kept, a change without a version and a version that comes
    twice all show as numbers that were never true."""
    faults = frozenset({fault} - {None})

    row = measure(faults, 40, make_engine=engine)

    assert row.unsafe > 0
    assert row.wrong["Roundel"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flaw", "is_lying"),
    [(None, False), (Flaw.LOSES_THE_TAIL, True), (Flaw.REUSES_EPOCHS, True)],
)
def test_engine_that_comes_back_with_less_is_found_out(flaw, is_lying):
    """Versions that were published and then lost are reused with other contents."""
    restarts = frozenset({Fault.RESTART})
    row = measure(restarts, 40, make_engine=engine_with(flaw), reopens=True)

    assert is_lying is (row.unsafe > 0)


@pytest.mark.slow
def test_page_that_takes_whatever_comes_last_is_found_out():
    """Without a look at the version, an answer that is late is the last word."""
    parts = Parts(page=saboteurs.stale_page)

    assert measure(frozenset({Fault.RACE}), 40, parts=parts).wrong["Roundel"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.REPEAT, Fault.LOSS])
def test_page_that_ignores_from_is_found_out(fault):
    """A hole that nobody looks for leaves a list that never was."""
    parts = Parts(page=saboteurs.page_without_from)

    row = measure(frozenset({fault}), 40, parts=parts)

    assert row.unsafe > 0
    assert row.wrong["Roundel"] > 0


@pytest.mark.slow
def test_page_that_does_not_hear_the_ping_is_found_out():
    """When the last frame is lost, nothing but the ping can tell."""
    row = measure(frozenset({Fault.LOSS}), 200, parts=DEAF, steps=12)

    assert row.wrong["Roundel"] > 0


@pytest.mark.slow
def test_hello_with_an_id_is_found_out():
    """A cursor that moves before its state skips it; a page that hears the ping is
    saved even so, and one that does not is not."""

    def wrong(parts: Parts) -> int:
        row = measure(frozenset({Fault.CUT}), 150, parts=parts, steps=6)
        return row.wrong["Roundel"]

    assert wrong(DEAF) == 0
    assert wrong(Parts(dress=saboteurs.HelloWithId)) == 0
    assert wrong(Parts(page=saboteurs.deaf_page, dress=saboteurs.HelloWithId)) > 0
