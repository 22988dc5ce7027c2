"""Each kind of operation, and the results that a mailbox remembers."""

from __future__ import annotations

import pytest

from roundel_service.domain.idempotency import MAX_OP_IDS
from roundel_service.domain.items import Count, ExternalCount
from roundel_service.domain.mailbox import Mailbox, apply
from roundel_service.domain.operations import (
    CorrectRevocation,
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Expire,
    Retract,
)
from roundel_service.domain.refusals import TooManyCategories
from roundel_service.domain.revocation import RETENTION, Revocation
from support.mailboxes import (
    DEFAULT_LIMITS,
    LIMITS,
    apply_all,
    flags,
    gauge,
    mailbox_after,
    note,
    ops,
    steps,
)

# Operations of users.

ITEMS = (
    note("a"), note("b", "d"), note("c"), note("e"),
    ops({"read": ["c"]}, op_id="1"), ops({"archive": ["e"]}, op_id="2"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        pytest.param([{"read": ["a"]}], "a:sr b: c:sr e:a", id="read implies seen"),
        pytest.param([{"unread": ["c"]}], "a: b: c:s e:a", id="unread stays seen"),
        pytest.param([{"read_upto": 2}], "a:sr b:sr c:sr e:a", id="read_upto"),
        pytest.param(
            [{"read_upto": 9, "category": "d"}],
            "a: b:sr c:sr e:a",
            id="read_upto of a category",
        ),
        pytest.param(
            [{"read_all": True, "as_of": 1}], "a:sr b: c:sr e:a", id="read_all as of"
        ),
        pytest.param(
            [{"read_all": True, "as_of": 99}],
            "a:sr b:sr c:sr e:sra",
            id="read_all as of later than now",
        ),
        pytest.param(
            [{"read_all": True, "as_of": 4, "category": "c"}],
            "a:sr b: c:sr e:sra",
            id="read_all of a category",
        ),
        pytest.param([{"seen_upto": 2}], "a:s b:s c:sr e:a", id="seen_upto"),
        pytest.param([{"archive_upto": 2}], "a:a b:a c:sr e:a", id="archive_upto"),
        pytest.param(
            [{"archive_upto": 9, "category": "d"}],
            "a: b:a c:sr e:a",
            id="archive_upto of a category",
        ),
        pytest.param(
            [{"archive_all": True, "as_of": 1}], "a:a b: c:sr e:a", id="archive_all"
        ),
        pytest.param(
            [{"archive_all": True, "as_of": 9, "category": "c"}],
            "a:a b: c:sra e:a",
            id="archive_all of a category",
        ),
        pytest.param([{"remove": ["a", "?"]}], "b: c:sr e:a", id="remove"),
        pytest.param(
            [{"remove": ["a"]}, {"read": ["a", "b"]}],
            "b:sr c:sr e:a",
            id="remove, read",
        ),
        pytest.param(
            [{"read": ["a", "b"]}, {"remove": ["a", "e"]}],
            "b:sr c:sr",
            id="read, remove",
        ),
        pytest.param([{"archive": ["a", "?"]}], "a:a b: c:sr e:a", id="archive"),
        pytest.param([{"unarchive": ["e"]}], "a: b: c:sr e:", id="unarchive"),
        pytest.param(
            [{"read": ["a", "b"]}, {"unread": ["b"]}, {"archive": ["a"]}],
            "a:sra b:s c:sr e:a",
            id="several, in order",
        ),
    ],
)
def test_ops(requested, expected):
    """A user's operation sets the documented flags and no others."""
    mailbox = mailbox_after(*ITEMS, ops(*requested))

    assert expected == " ".join(f"{k}:{v}" for k, v in flags(mailbox).items())


def test_read_all_keeps_newer_items_unread():
    """`read_all` does not mark items that are newer than *as_of*."""
    *_, applied = apply_all(
        note("a"), 5.0, note("b"), 1.0, note("new"),
        ops({"read_all": True, "as_of": 2}),
    )  # fmt: skip

    assert {"a": "sr", "b": "sr", "new": ""} == flags(applied.mailbox)
    assert applied.mailbox.items["new"].seq == 3


def test_replaced_item_stays_unread():
    """A replaced item is not marked by an operation on the earlier version."""
    *_, applied = apply_all(
        note("a", key="k"), note("b"), note("a2", key="k"),
        ops({"read_all": True, "as_of": 2}, {"seen_upto": 2}, {"read": ["a"]}),
    )  # fmt: skip

    assert {"b": "sr", "a2": ""} == flags(applied.mailbox)


def test_change_lists_each_item_once():
    """A change lists the changed items and their flags."""
    *_, applied = apply_all(*ITEMS, ops({"read": ["a", "c"]}, {"seen_upto": 9}))

    assert [
        {"set": ["a"], "read": True, "seen": True},
        {"set": ["b", "e"], "seen": True},
    ] == steps(applied)


def test_many_marks_make_a_small_change():
    """A change lists each item once, however many marks a call contains."""
    back_and_forth = [{"archive": ["a", "b"]}, {"unarchive": ["a", "b"]}] * 50
    *_, applied = apply_all(*ITEMS, ops(*back_and_forth[:-1], {"unarchive": ["b"]}))

    assert [{"set": ["a"], "archived": True}] == steps(applied)


# Gauges.


def test_gauge_counts_into_unread():
    """A gauge adds to the unread count of its category and not to the unseen count."""
    mailbox = mailbox_after(gauge(7, 1), note("a"), gauge(2, 1, "c"))

    assert (10, 1) == (mailbox.badge.unread, mailbox.badge.unseen)
    assert {"g": Count(7, 0), "c": Count(3, 1)} == mailbox.badge.by
    assert ["a"] == list(mailbox.items)


def test_gauge_of_0_is_not_in_the_badge():
    """A category with a gauge of 0 is not in the badge."""
    badge = mailbox_after(gauge(7, 1), gauge(3, 1, "h"), gauge(0, 2)).badge

    assert {"h": Count(3)} == badge.by


@pytest.mark.parametrize(
    ("count", "version", "ignored", "changed", "gauge_after"),
    [
        pytest.param(9, 6, False, True, ExternalCount(9, 6), id="newer"),
        pytest.param(
            2, 6, False, False, ExternalCount(2, 6), id="newer, the same count"
        ),
        pytest.param(9, 5, True, False, ExternalCount(2, 5), id="the same version"),
        pytest.param(2, 5, True, False, ExternalCount(2, 5), id="repeated"),
        pytest.param(9, 4, True, False, ExternalCount(2, 5), id="older"),
    ],
)
def test_source_version(count, version, ignored, changed, gauge_after):
    """A gauge with an older source version is ignored, and the result says so."""
    *_, applied = apply_all(gauge(2, 5), gauge(count, version))

    assert (ignored, changed) == (applied.ignored, applied.change is not None)
    assert {"g": gauge_after} == applied.mailbox.gauges
    assert gauge_after.count == applied.badge.unread


def test_gauge_changes_without_a_step():
    """The change of a gauge has no steps."""
    *_, applied = apply_all(gauge(2, 5))

    assert () == applied.change.steps
    assert {"g": Count(2)} == applied.change.badge.by


def test_deleted_gauge_accepts_any_source_version():
    """After a gauge is deleted, any source version is accepted."""
    dropped, again = apply_all(gauge(2, 5), DeleteGauge("g"), gauge(1, 1))[1:]

    assert (0, {}) == (dropped.badge.unread, dropped.mailbox.gauges)
    assert {"g": ExternalCount(1, 1)} == again.mailbox.gauges


# The limit of categories.

FULL = (note("a", "x"), gauge(1, 1, "y"), note("b", "z"), ops({"read": ["b"]}))


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(note("n", "w", op_id="o"), id="item"),
        pytest.param(gauge(1, 1, "w"), id="gauge"),
        pytest.param(gauge(0, 1, "w"), id="gauge of 0"),
    ],
)
def test_too_many_categories(operation):
    """A category beyond the limit is rejected without any change."""
    before = mailbox_after(*FULL, limits=LIMITS)
    with pytest.raises(TooManyCategories) as caught:
        apply(before, operation, now=0.0, limits=LIMITS)

    assert str(caught.value) == ("expected at most 3 categories, 'w' is one more")
    assert mailbox_after(*FULL, limits=LIMITS) == before


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param([note("n", "x")], id="item, known by an item"),
        pytest.param([note("n", "y")], id="item, known by a gauge"),
        pytest.param([note("n", "z")], id="item, known by a read item"),
        pytest.param([gauge(1, 1, "x")], id="gauge, known by an item"),
        pytest.param([gauge(9, 9, "y")], id="gauge, known by a gauge"),
        pytest.param([DeleteGauge("y"), note("n", "w")], id="after a gauge deletion"),
        pytest.param(
            [Retract(source="s"), DeleteUser("f"), note("n", "w")], id="deleted user"
        ),
    ],
)
def test_as_many_categories_as_fit(operations):
    """Known categories are accepted, and new ones up to the limit."""
    applied = apply_all(*FULL, *operations, limits=LIMITS)[-1]

    assert applied.change is not None


# Operation ids.


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(note("b", op_id="o"), id="the same with another item id"),
        pytest.param(note("b", "other", key="k", op_id="o"), id="another notification"),
    ],
)
def test_repeated_notification(again):
    """A producer's repeated id returns the first item and badge, for a day."""
    first, _, repeated, late = apply_all(
        10.0, note("a", op_id="o"), 11.0, note("x"), 10.0 + RETENTION - 0.1, again,
        10.0 + RETENTION, again,
    )  # fmt: skip

    assert (None, "a", first.badge) == (
        repeated.change,
        repeated.item,
        repeated.badge,
    )
    assert ("b", 3) == (late.item, late.badge.v)
    assert ["a", "x", "b"] == list(late.mailbox.items)


def test_repeated_ops():
    """A user's repeated id returns the first badge and has no effect, for a day."""
    *_, first, _, repeated, late = apply_all(
        note("a"), 10.0, ops({"read": ["a"]}), 11.0, ops({"unread": ["a"]}, op_id="2"),
        10.0 + RETENTION - 0.1, ops({"read": ["a"]}),
        10.0 + RETENTION, ops({"read": ["a"]}),
    )  # fmt: skip

    assert (0, 2) == (first.badge.unread, first.badge.v)
    assert (None, first.badge) == (repeated.change, repeated.badge)
    assert {"a": "s"} == flags(repeated.mailbox)
    assert (0, 4) == (late.badge.unread, late.badge.v)


def test_operation_id_with_other_marks_is_refused():
    """A known id with other marks changes nothing, and the first result stays."""
    first, other, again = (ops({"read": [name]}) for name in ("a", "b", "a"))
    *_, one, two, three = apply_all(note("a"), note("b"), first, other, again)

    assert [False, True, False] == [each.ignored for each in (one, two, three)]
    assert {"a": "sr", "b": ""} == flags(three.mailbox)
    assert one.badge == two.badge == three.badge


def test_ops_without_effect_are_remembered():
    """An operation without effect also uses its id."""
    *_, repeated = apply_all(ops({"read_all": True, "as_of": 9}), note("a"), ops())

    assert (0, 0) == (repeated.badge.v, repeated.badge.unread)


def test_operation_ids_of_producers_and_users_are_separate():
    """Ids of users and of producers are separate."""
    mailbox = mailbox_after(note("a", op_id="o"), ops({"read": ["a"]}, op_id="o"))

    assert {"a": "sr"} == flags(mailbox)
    assert {"producer o", "user o"} == set(mailbox.results)


def test_notification_without_an_op_id_has_no_result():
    """Without an id, a repeated notification adds another item."""
    assert {} == mailbox_after(note("a"), note("b")).results


@pytest.mark.slow
def test_op_ids_are_bounded():
    """The number of remembered results is bounded."""
    repeats = [ops(op_id=str(number)) for number in range(MAX_OP_IDS + 5)]
    answers = mailbox_after(*repeats).results

    assert MAX_OP_IDS == len(answers)
    assert "user 4" not in answers
    assert "user 5" in answers


@pytest.mark.slow
def test_results_of_users_evict_no_results_of_producers():
    """Many operations of one kind of caller evict only its own results."""
    marks = [ops(op_id=str(number)) for number in range(MAX_OP_IDS + 5)]
    mailbox = mailbox_after(note("a", op_id="key"), *marks)

    assert "producer key" in mailbox.results
    assert MAX_OP_IDS + 1 == len(mailbox.results)


def test_expired_results_are_removed():
    """Results older than a day are removed with the next operation id."""
    mailbox = mailbox_after(
        0.0, ops(op_id="a"), 1.0, ops(op_id="b"), RETENTION, ops(op_id="c")
    )

    assert {"user b", "user c"} == set(mailbox.results)


# Revocations and deleted users.


@pytest.mark.parametrize(
    ("issued_at", "now", "refused"),
    [
        pytest.param(99.0, 100.0, True, id="issued before"),
        pytest.param(100.0, 100.0, False, id="issued at the same time"),
        pytest.param(101.0, 102.0, False, id="issued after"),
        pytest.param(0.0, 100.0 + RETENTION - 1, True, id="for a day"),
        pytest.param(0.0, 100.0 + RETENTION, False, id="expired after a day"),
    ],
)
def test_revocation(issued_at, now, refused):
    """A revocation rejects all earlier tokens, for a day."""
    mailbox = mailbox_after(100.0, Disconnect(revoke=True))

    assert refused is mailbox.revocation.applies_to(issued_at, now=now)


def test_disconnect_rejects_no_token():
    """A disconnect without *revoke* changes no revocation."""
    ended = mailbox_after(100.0, Disconnect())
    both = mailbox_after(100.0, Disconnect(revoke=True), 200.0, Disconnect())

    assert not ended.revocation.applies_to(99.0, now=100.0)
    assert (100.0, 0.0) == (ended.disconnected_at, ended.revocation.made_at)
    assert (200.0, 100.0) == (both.disconnected_at, both.revocation.made_at)


@pytest.mark.parametrize("now", [0.0, 50.0, 100.0, 100.5])
def test_disconnect_without_a_later_time(now):
    """A disconnect also works if the clock stands still or goes back."""
    never = mailbox_after(0.0, Disconnect(revoke=True))
    first = mailbox_after(100.0, Disconnect(revoke=True))
    again = apply(
        first, Disconnect(revoke=True), now=now, limits=DEFAULT_LIMITS
    ).mailbox

    assert never.disconnected_at > Mailbox(epoch="e").disconnected_at
    assert again.disconnected_at > first.disconnected_at
    assert again.revocation.applies_to(now - 0.1, now=now)
    assert not again.revocation.applies_to(100.5, now=now)


# An operation at a time, and the revocation after it: when made, and of which tokens.
REVOCATIONS = {
    "own-time": ([100.0, Disconnect(revoke=True)], (100.0, 100.0)),
    "given": ([100.0, Disconnect(revoke=True, issued_before=50.0)], (100.0, 50.0)),
    "given-ahead": ([100.0, Disconnect(revoke=True, issued_before=160)], (100.0, 160)),
    "given-too-far": ([100.0, Disconnect(revoke=True, issued_before=161)], (100, 100)),
    "given-before-an-earlier": (
        [
            100.0,
            Disconnect(revoke=True),
            200.0,
            Disconnect(revoke=True, issued_before=50.0),
        ],
        (200.0, 100.0),
    ),
    "given-after-a-forgotten": (
        [
            100.0,
            Disconnect(revoke=True),
            100.0 + RETENTION,
            Disconnect(revoke=True, issued_before=50.0),
        ],
        (100.0 + RETENTION, 50.0),
    ),
    "again-after-the-clock-went-back": (
        [900.0, Disconnect(revoke=True), 100.0, Disconnect(revoke=True)],
        (100.0, 100.0),
    ),
    "corrected": (
        [900.0, Disconnect(revoke=True), 100.0, CorrectRevocation()],
        (100.0, 100.0),
    ),
    "corrected-given": (
        [
            900.0,
            Disconnect(revoke=True, issued_before=90.0),
            100.0,
            CorrectRevocation(),
        ],
        (100.0, 90.0),
    ),
    "corrected-given-ahead": (
        [
            900.0,
            Disconnect(revoke=True, issued_before=800.0),
            100.0,
            CorrectRevocation(),
        ],
        (100.0, 100.0),
    ),
    "nothing-to-correct": (
        [100.0, Disconnect(revoke=True), 200.0, CorrectRevocation()],
        (100.0, 100.0),
    ),
    "kept": ([100.0, Disconnect(revoke=True), note("a"), Expire()], (100.0, 100.0)),
    "deleted": ([100.0, Disconnect(revoke=True), DeleteUser("f")], (0.0, 0.0)),
}


@pytest.mark.parametrize(("steps", "expected"), REVOCATIONS.values(), ids=REVOCATIONS)
def test_times_of_a_revocation(steps, expected):
    """A revocation of the future counts as made now; a given time is kept."""
    assert Revocation(*expected) == mailbox_after(*steps).revocation


def test_deleted_user():
    """A deleted user has an empty mailbox in a new epoch, and no revocation."""
    *_, before, deleted, after = apply_all(
        note("a", op_id="o"), gauge(3, 9), 5.0, Disconnect(revoke=True),
        DeleteUser("f"), note("b", op_id="o"),
    )  # fmt: skip

    assert deleted.mailbox == Mailbox(
        epoch="f", disconnected_at=before.mailbox.disconnected_at
    )
    assert ("f", 0, 0) == (
        deleted.badge.epoch,
        deleted.badge.v,
        deleted.badge.unread,
    )
    assert ("f", 1, 1) == (after.badge.epoch, after.badge.v, after.badge.unread)
    assert ["b"] == list(after.mailbox.items)


def test_expiry_after_a_deletion():
    """Expiry after a deletion changes nothing."""
    assert (
        apply_all(note("a", ttl=1), DeleteUser("f"), 9.0, Expire())[-1].change is None
    )
