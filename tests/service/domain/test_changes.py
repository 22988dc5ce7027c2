"""Filtering of steps, changes and badges by category."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from roundel_service.domain.badge import Badge
from roundel_service.domain.changes import Added, Change, Flagged, Removed, filter_step
from roundel_service.domain.items import Count
from support.mailboxes import apply_all, note

[ADDED] = apply_all(note("n", "a"))[0].change.steps
FLAGGED = Flagged({"1": "a", "2": "b"}, {"read": True, "seen": True})
REMOVED = Removed({"1": "b", "2": "a"}, "evicted")
WHOLE = Badge("e", 7, 5, 1, True, {"a": Count(2, 1), "b": Count(3)})


@pytest.mark.parametrize(
    ("step", "categories", "expected"),
    [
        pytest.param(ADDED, "a", ADDED, id="item"),
        pytest.param(ADDED, "b", None, id="item of another"),
        pytest.param(FLAGGED, "ab", FLAGGED, id="flags of all"),
        pytest.param(FLAGGED, "a", Flagged({"1": "a"}, FLAGGED.flags), id="of some"),
        pytest.param(FLAGGED, "c", None, id="flags of none"),
        pytest.param(REMOVED, "ab", REMOVED, id="removal of all"),
        pytest.param(REMOVED, "a", Removed({"2": "a"}, "evicted"), id="of one"),
        pytest.param(REMOVED, "c", None, id="removal of none"),
    ],
)
def test_step_of_some_categories(step, categories, expected):
    """A filtered step contains only items of the given categories."""
    assert expected == filter_step(step, frozenset(categories))


def change(*steps: Added | Flagged | Removed) -> Change:
    facts = {"operation": "ops", "by": "user", "time": 3.0, "op_id": "o"}
    return Change(v=7, steps=steps, badge=WHOLE, **facts)


@pytest.mark.parametrize(
    ("categories", "steps"),
    [
        pytest.param("ab", [ADDED, FLAGGED, REMOVED], id="all"),
        pytest.param("b", [Flagged({"2": "b"}, FLAGGED.flags),
                           Removed({"1": "b"}, "evicted")], id="one"),
        pytest.param("c", [], id="another"),
        pytest.param("", [], id="none"),
    ],
)  # fmt: skip
def test_change_of_some_categories(categories, steps):
    """A filtered change has filtered steps and a filtered badge."""
    whole, names = change(ADDED, FLAGGED, REMOVED), frozenset(categories)

    assert change(*steps) == replace(whole.filter(names), badge=WHOLE)
    assert WHOLE.filter(names) == whole.filter(names).badge
    assert whole is whole.filter(None)


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        pytest.param("ab", WHOLE, id="all"),
        pytest.param("abc", WHOLE, id="more than all"),
        pytest.param("a", Badge("e", 7, 2, 1, True, {"a": Count(2, 1)}), id="one"),
        pytest.param("bc", Badge("e", 7, 3, 0, True, {"b": Count(3)}), id="other"),
        pytest.param("c", Badge("e", 7, 0, 0, False, {}), id="0 is no lower bound"),
        pytest.param("", Badge("e", 7, 0, 0, False, {}), id="none"),
        pytest.param(None, WHOLE, id="no filter"),
    ],
)
def test_badge_of_some_categories(categories, expected):
    """A filtered badge is the sum of its categories, at the same version."""
    names = None if categories is None else frozenset(categories)

    assert expected == WHOLE.filter(names)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        pytest.param({"v": 8}, True, id="a later version"),
        pytest.param({"unread": 6}, False, id="unread"),
        pytest.param({"unseen": 2}, False, id="unseen"),
        pytest.param({"more": False}, False, id="more"),
        pytest.param({"by": {"a": Count(5, 1)}}, False, id="by category"),
        pytest.param({"epoch": "f"}, False, id="another epoch"),
    ],
)
def test_badge_that_shows_the_same(changed, same):
    """Badges that differ only in the version look the same."""
    assert same is replace(WHOLE, **changed).is_visually_equal(WHOLE)


def test_etag_of_a_badge():
    """The entity tag of a badge is its epoch and version."""
    assert "e.7" == WHOLE.etag
