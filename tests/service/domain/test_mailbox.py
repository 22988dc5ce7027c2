"""The reducer: versions, changes, eviction, expiry and epochs of one mailbox."""

from __future__ import annotations

from math import inf

import msgspec
import pytest
from msgspec.structs import replace

from roundel_service.domain.items import Count
from roundel_service.domain.mailbox import Mailbox, apply
from roundel_service.domain.operations import (
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Expire,
    Retract,
    StartNewEpoch,
)
from support.documents import document
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

# Versions: one for each visible change.

OPERATIONS = (
    note("a", key="k", ttl=50, source="s"), note("b", "d"), note("c"),
    ops({"read": ["b"]}, op_id="1"), ops({"archive": ["c"]}, op_id="2"),
    gauge(2, 5), gauge(0, 5, "zero"),
)  # fmt: skip

VISIBLE = [
    pytest.param(note("n"), id="notify"),
    pytest.param(note("n", key="k"), id="notify with a known key"),
    pytest.param(ops({"read": ["a"]}), id="read"),
    pytest.param(ops({"read": ["a", "b", "nobody"]}), id="read one of three"),
    pytest.param(ops({"unread": ["b"]}), id="unread"),
    pytest.param(ops({"seen_upto": 1}), id="seen_upto"),
    pytest.param(ops({"archive": ["b"]}), id="archive"),
    pytest.param(ops({"unarchive": ["c"]}), id="unarchive"),
    pytest.param(Retract(source="s"), id="retract by source"),
    pytest.param(Retract(category="c", key="k"), id="retract by key"),
    pytest.param(gauge(3, 6), id="gauge increases"),
    pytest.param(gauge(0, 6), id="gauge becomes 0"),
    pytest.param(gauge(1, 1, "c"), id="gauge of a category of items"),
    pytest.param(DeleteGauge("g"), id="gauge is deleted"),
]

INVISIBLE = [
    pytest.param(ops({"read": ["b"]}), id="read again"),
    pytest.param(ops({"unread": ["a"]}), id="unread again"),
    pytest.param(ops({"archive": ["c"]}), id="archive again"),
    pytest.param(ops({"unarchive": ["a"]}), id="unarchive a listed item"),
    pytest.param(ops({"read": ["nobody"]}, {"archive": ["no"]}), id="unknown ids"),
    pytest.param(ops({"read": []}), id="no ids"),
    pytest.param(ops({"read_all": True, "as_of": 0}), id="read_all as of 0"),
    pytest.param(ops({"seen_upto": 0}), id="seen_upto 0"),
    pytest.param(
        ops({"archive": ["a"]}, {"unarchive": ["a"]}), id="marks that undo each other"
    ),
    pytest.param(Expire(), id="nothing expires"),
    pytest.param(Retract(source="other"), id="retract an unknown source"),
    pytest.param(Retract(category="d", key="k"), id="retract in another category"),
    pytest.param(Retract(category="c"), id="retract without a key"),
    pytest.param(Retract(), id="retract without a condition"),
    pytest.param(gauge(2, 6), id="gauge with the same count, newer version"),
    pytest.param(gauge(9, 5), id="gauge at the same source_version"),
    pytest.param(gauge(9, 4), id="gauge at an older source_version"),
    pytest.param(gauge(0, 1, "new"), id="new gauge of 0"),
    pytest.param(DeleteGauge("zero"), id="gauge of 0 is deleted"),
    pytest.param(DeleteGauge("other"), id="unknown gauge is deleted"),
    pytest.param(Disconnect(), id="disconnect"),
    pytest.param(Disconnect(revoke=True), id="revoke"),
]


def filled_mailbox() -> Mailbox:
    """Return a mailbox with items, gauges and results."""
    return mailbox_after(*OPERATIONS)


@pytest.mark.parametrize("operation", VISIBLE)
def test_visible_change_makes_one_version(operation):
    """A visible change makes exactly one version, with the whole badge."""
    before = filled_mailbox()
    applied = apply(before, operation, now=0.0, limits=DEFAULT_LIMITS)

    assert before.v + 1 == applied.mailbox.v == applied.change.v == applied.badge.v
    assert applied.mailbox.badge == applied.change.badge == applied.badge
    assert "e" == applied.badge.epoch


@pytest.mark.parametrize("operation", INVISIBLE)
def test_operation_without_effect_makes_no_version(operation):
    """An operation without effect makes no version and returns the current badge."""
    before = filled_mailbox()
    applied = apply(before, operation, now=0.0, limits=DEFAULT_LIMITS)

    assert applied.change is None
    assert (before.v, before.items) == (applied.mailbox.v, applied.mailbox.items)
    assert before.badge == applied.mailbox.badge == applied.badge


@pytest.mark.parametrize(
    "operation",
    [Expire(), Retract(source="no"), DeleteGauge("no"), gauge(9, 5), ops(op_id="2")],
    ids=["expire", "retract", "drop-gauge", "gauge-not-newer", "repeated-ops"],
)
def test_operation_without_effect_returns_the_same_mailbox(operation):
    """An operation without any effect returns the same object."""
    before = filled_mailbox()

    assert before is apply(before, operation, now=0.0, limits=DEFAULT_LIMITS).mailbox


@pytest.mark.parametrize("operation", [*VISIBLE, *INVISIBLE])
def test_mailbox_is_immutable(operation):
    """The reducer does not change its argument."""
    before = filled_mailbox()
    apply(before, operation, now=60.0, limits=DEFAULT_LIMITS)

    assert filled_mailbox() == before


@pytest.mark.parametrize(
    ("operation", "did", "by", "op_id"),
    [
        pytest.param(note("n", op_id="o"), "notify", "producer", None, id="notify"),
        pytest.param(ops({"read": ["a"]}, op_id="o"), "ops", "user", "o", id="ops"),
        pytest.param(Retract(source="s"), "retract", "producer", None, id="retract"),
        pytest.param(gauge(3, 6), "gauge", "producer", None, id="gauge"),
        pytest.param(Expire(), "expire", "time", None, id="expire"),
    ],
)
def test_change_names_operation_caller_and_time(operation, did, by, op_id):
    """A change names its operation, caller and time, and the operation id of a user."""
    change = apply(filled_mailbox(), operation, now=77.0, limits=DEFAULT_LIMITS).change

    assert (did, by, 77.0, op_id) == (
        change.operation,
        change.by,
        change.time,
        change.op_id,
    )


# New items, collapsing and eviction.


def test_new_item_is_unseen_and_unread():
    """A notification adds an item with all fields, its version and its time."""
    fields = {"body": "b", "url": "/u", "icon": "/i", "source": "s", "data": {"x": 1}}
    [_, applied] = apply_all(note("a"), 7.0, note("n", "d", key="k", ttl=5, **fields))

    assert document(applied.mailbox.items["n"]) == {
        "id": "n", "seq": 2, "category": "d", "title": "n", "key": "k", **fields,
        "topic": None,
        "created_at": 7.0, "expires_at": 12.0, "updated_at": None, "seen": False,
        "read": False, "archived": False,
    }  # fmt: skip
    assert "n" == applied.item
    assert {"d": Count(1, 1), "c": Count(1, 1)} == applied.badge.by


def test_items_with_one_key_collapse():
    """An item replaces the one with its category and key, in one version."""
    *_, applied = apply_all(
        note("a", key="k"), note("x", "d", key="k"), note("y"),
        ops({"read": ["a"]}), note("b", key="k"),
    )  # fmt: skip

    assert [{"remove": ["a"], "reason": "replaced"}, {"add": "b"}] == steps(applied)
    assert {"x": "", "y": "", "b": ""} == flags(applied.mailbox)
    assert 5 == applied.mailbox.items["b"].seq == applied.mailbox.v


def test_items_without_a_key_do_not_collapse():
    """Items with different categories or without a key do not replace each other."""
    assert ["a", "b"] == list(mailbox_after(note("a"), note("b")).items)


def test_full_mailbox_evicts_the_oldest_item():
    """Adding an item to a full mailbox evicts the oldest one, in one version."""
    *_, applied = apply_all(*map(note, "abcd"), limits=LIMITS)

    assert [{"remove": ["a"], "reason": "evicted"}, {"add": "d"}] == steps(applied)
    assert ["b", "c", "d"] == list(applied.mailbox.items)
    assert (3, True) == (applied.badge.unread, applied.badge.more)


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        pytest.param([40, 60], "ab", id="just full"),
        pytest.param([40, 60, 1], "bc", id="one byte over"),
        pytest.param([1, 1, 98, 3], "d", id="the oldest are evicted until it fits"),
        pytest.param([1, 97, 3], "bc", id="only as many as necessary"),
        pytest.param([1, 1, 100], "c", id="item of the maximum size"),
        pytest.param([1, 1, 101], "c", id="item above the maximum size"),
    ],
)
def test_bytes_are_bounded(sizes, names):
    """The oldest items are evicted until the new one fits by bytes."""
    notes = [note(name, size=size) for name, size in zip("abcd", sizes, strict=False)]

    assert list(names) == list(mailbox_after(*notes, limits=LIMITS).items)


def test_replacement_evicts_no_other_item():
    """Replacing an item in a full mailbox evicts no other item."""
    *_, applied = apply_all(
        note("a"), note("b"), note("c", key="k"), note("d", key="k"), limits=LIMITS
    )

    assert ["a", "b", "d"] == list(applied.mailbox.items)
    assert not applied.badge.more


@pytest.mark.parametrize(
    ("mark", "more"),
    [
        pytest.param({"read": ["a"]}, False, id="read"),
        pytest.param({"archive": ["a"]}, False, id="archived"),
        pytest.param({"seen_upto": 1}, True, id="only seen"),
        pytest.param({"read": ["b"]}, True, id="another item was read"),
    ],
)
def test_eviction_of_an_unread_item_sets_more(mark, more):
    """`more` is set once an unread item was evicted, and not before."""
    operations = (note("a"), ops(mark), *map(note, "bcd"))

    assert more is mailbox_after(*operations, limits=LIMITS).badge.more


MORE = (*map(note, "abcd"), ops({"read": ["b", "c"]}, op_id="1"))


@pytest.mark.parametrize(
    ("operations", "badges"),
    [
        pytest.param([ops({"read": ["d"]}), note("e")], ["0", "1"], id="read"),
        pytest.param([ops({"archive": ["d"]}), note("e")], ["0", "1"], id="archived"),
        pytest.param([Retract(source="s")], ["1+"], id="retraction"),
        pytest.param([note("e")], ["2+"], id="one more"),
        pytest.param([ops({"read": ["d"]}, {"unread": ["b"]})], ["1+"], id="never 0"),
        pytest.param(
            [gauge(1, 1), ops({"read": ["d"]}), gauge(0, 2), gauge(1, 3)],
            ["2+", "1+", "0", "1"],
            id="a gauge counts too",
        ),
        pytest.param([DeleteUser("f"), note("e")], ["0", "1"], id="deleted user"),
    ],
)
def test_more_is_cleared_when_nothing_is_unread(operations, badges):
    """`more` is cleared at the version with nothing unread, and not before."""
    applied = apply_all(*MORE, *operations, limits=LIMITS)[-len(operations) :]

    assert badges == [f"{a.badge.unread}{'+' * a.badge.more}" for a in applied]


# Expiry and retraction.


def test_expiry_is_a_change_at_the_deadline():
    """Items with the same expiry time expire together, and not early."""
    operations = (note("a", ttl=5), note("b", ttl=9), note("c"), note("d", "x", ttl=5))
    before = mailbox_after(*operations)
    early = apply(before, Expire(), now=4.9, limits=DEFAULT_LIMITS)
    due = apply(before, Expire(), now=5.0, limits=DEFAULT_LIMITS)

    assert 5.0 == before.due_at
    assert early.change is None
    assert [{"remove": ["a", "d"], "reason": "expired"}] == steps(due)
    assert (5, 2) == (due.badge.v, due.badge.unread)
    assert 9.0 == due.mailbox.due_at
    assert (
        inf
        == apply(due.mailbox, Expire(), now=9.0, limits=DEFAULT_LIMITS).mailbox.due_at
    )


def test_next_item_expires_after_an_early_removal():
    """After an item was removed early, the next one still expires in time."""
    operations = (note("a", ttl=5, source="s"), note("b", ttl=9), Retract(source="s"))
    nothing = apply(
        mailbox_after(*operations), Expire(), now=5.0, limits=DEFAULT_LIMITS
    )
    due = apply(nothing.mailbox, Expire(), now=9.0, limits=DEFAULT_LIMITS)

    assert (None, 9.0) == (nothing.change, nothing.mailbox.due_at)
    assert [{"remove": ["b"], "reason": "expired"}] == steps(due)


def test_new_epoch_keeps_the_contents():
    """A new epoch keeps the contents and has no changes of the epoch before."""
    before = mailbox_after(note("a", ttl=5), gauge(2, 1), ops({"seen_upto": 1}))
    renewed = apply(before, StartNewEpoch("f"), now=0.0, limits=DEFAULT_LIMITS)

    kept = replace(before, epoch="f", v=before.v + 1, epoch_history=(("e", before.v),))
    assert kept == renewed.mailbox
    assert (None, 5.0) == (renewed.change, renewed.mailbox.due_at)
    assert ("f", before.v + 1, 3) == msgspec.structs.astuple(renewed.badge)[:3]


@pytest.mark.parametrize(
    ("retract", "removed"),
    [
        pytest.param(Retract(source="s"), ["a", "c"], id="source"),
        pytest.param(Retract(category="c", key="k"), ["b"], id="key"),
        pytest.param(Retract(category="d", key="k"), ["c"], id="other category"),
    ],
)
def test_retraction(retract, removed):
    """A retraction removes all its items in one version, read or not."""
    *_, applied = apply_all(
        note("a", source="s"), note("b", key="k"), note("c", "d", key="k", source="s"),
        ops({"read": ["a"]}), retract,
    )  # fmt: skip

    assert [{"remove": removed, "reason": "retracted"}] == steps(applied)
    assert {"a", "b", "c"} - set(removed) == set(applied.mailbox.items)
