"""The reducer: whatever is done in whatever order, the badge is the fold."""

from __future__ import annotations

from math import inf

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from roundel_service.items import Expire, Mark, MarkAll, Notify
from roundel_service.mailbox import MAX_OP_IDS, Limits, Mailbox, apply

LIMITS = Limits(items=3, bytes=100)
READ = {"read": True, "seen": True}


def note(name: str, **fields) -> Notify:
    return Notify(id=name, category="c", title=name, **fields)


def run(*operations, limits=LIMITS, now=0.0):
    """Apply all, and return the mailbox and the changes."""
    mailbox, changes = Mailbox(epoch="e"), []
    for operation in operations:
        applied = apply(mailbox, operation, now=now, limits=limits)
        mailbox = applied.mailbox
        changes.append(applied.change)
    return mailbox, changes


def test_mailbox_is_never_changed_in_place():
    """What was read at a version stays true of that version."""
    before, _ = run(note("a"))
    kept = attrs.evolve(before, items=dict(before.items))
    apply(before, note("b"), now=0, limits=LIMITS)
    apply(before, MarkAll(marks=(Mark(flags=READ),), op_id="x"), now=0, limits=LIMITS)

    assert kept == before


def test_replacement_and_arrival_are_one_version():
    """A collapsing notification removes and adds in the same change."""
    mailbox, (_, change) = run(note("a", key="k"), note("b", key="k"))

    assert (2, ["b"]) == (mailbox.v, list(mailbox.items))
    assert {"remove": ["a"], "why": "replaced"} == change.ops[0]
    assert change.ops[1]["add"]["id"] == "b"


def test_eviction_is_told_with_the_change_that_caused_it():
    """What a full mailbox loses is named in the same version."""
    mailbox, changes = run(*(note(name) for name in "abcd"))

    assert {"remove": ["a"], "why": "evicted"} == changes[-1].ops[0]
    assert ["b", "c", "d"] == list(mailbox.items)
    assert changes[-1].badge.more


def test_evicted_item_that_was_read_leaves_the_number_exact():
    """Only the loss of what was counted makes the number a lower bound."""
    read = MarkAll(marks=(Mark(flags=READ, ids=frozenset("a")),), op_id="x")
    mailbox, _ = run(note("a"), read, note("b"), note("c"), note("d"))

    assert not mailbox.badge.more


def test_item_that_alone_fills_the_mailbox_evicts_all_others():
    """A mailbox takes the newest, whatever that costs the older."""
    mailbox, _ = run(note("a", size=1), note("b", size=1), note("c", size=100))

    assert ["c"] == list(mailbox.items)


def test_replaced_item_makes_room_before_anything_is_evicted():
    """A collapse in a full mailbox costs no other item."""
    mailbox, _ = run(note("a"), note("b"), note("c", key="k"), note("d", key="k"))

    assert ["a", "b", "d"] == list(mailbox.items)


def test_expire_takes_just_what_is_over_and_the_deadline_says_when():
    """The deadline is the moment at which something is over, not before."""
    mailbox, _ = run(note("a", ttl=5), note("b", ttl=9), note("c"))
    early = apply(mailbox, Expire(), now=mailbox.deadline - 0.1, limits=LIMITS)
    due = apply(mailbox, Expire(), now=mailbox.deadline, limits=LIMITS)

    assert mailbox.deadline == 5
    assert early.change is None
    assert early.mailbox is mailbox
    assert ({"remove": ["a"], "why": "expired"},) == due.change.ops
    assert due.mailbox.deadline == 9
    assert Mailbox(epoch="e").deadline == inf


def test_mark_without_effect_is_not_told_among_those_with():
    """A change names just the items that it changed."""
    marks = (Mark(flags=READ, ids=frozenset("a")), Mark(flags={"seen": True}))
    _, (*_, change) = run(note("a"), note("b"), MarkAll(marks=marks, op_id="x"))

    assert [["a"], ["b"]] == [op["set"] for op in change.ops]


def test_marks_that_undo_each_other_are_no_change():
    """A version is made by what somebody could see, not by what was tried."""
    marks = (Mark(flags={"archived": True}), Mark(flags={"archived": False}))
    _, (*_, change) = run(note("a"), MarkAll(marks=marks, op_id="x"))

    assert change is None


def test_operation_ids_are_bounded_and_the_oldest_goes():
    """A user who never stops cannot make a mailbox grow."""
    repeats = [MarkAll(marks=(), op_id=str(n)) for n in range(MAX_OP_IDS + 5)]
    mailbox, _ = run(*repeats)

    assert MAX_OP_IDS == len(mailbox.answers)
    assert "4" not in mailbox.answers
    assert "5" in mailbox.answers


IDS = st.sampled_from("abcdefgh")
CATEGORIES = st.sampled_from(["x", "y"])
FLAGS = st.sampled_from(
    [READ, {"read": False}, {"seen": True}, {"archived": True}, {"archived": False}]
)


class Mailboxes(RuleBasedStateMachine):
    """Random operations on a mailbox, beside a client that hears its changes."""

    def __init__(self):
        super().__init__()
        self.mailbox = Mailbox(epoch="e")
        self.client = {}
        self.now = 0.0
        self.names = 0
        self.told = 0

    def do(self, operation):
        before = self.mailbox
        applied = apply(before, operation, now=self.now, limits=LIMITS)
        self.mailbox = applied.mailbox
        if applied.change is None:
            assert before.v == self.mailbox.v
            assert before.items == self.mailbox.items
            return
        assert before.v + 1 == self.mailbox.v == applied.change.v
        assert applied.change.badge == self.mailbox.badge
        assert before.items != self.mailbox.items
        for op in applied.change.ops:
            self.hear(op)

    def hear(self, op):
        """Apply one op of a change frame, as a client must."""
        if "add" in op:
            self.client[op["add"]["id"]] = dict(op["add"])
        elif "set" in op:
            for name in op["set"]:
                self.client[name] |= {k: v for k, v in op.items() if k != "set"}
        else:
            for name in op["remove"]:
                del self.client[name]

    @rule(
        category=CATEGORIES,
        key=st.none() | IDS,
        ttl=st.none() | st.integers(1, 5),
        size=st.integers(1, 60),
    )
    def notify(self, category, key, ttl, size):
        self.names += 1
        new = Notify(
            id=str(self.names),
            category=category,
            title="t",
            key=key,
            ttl=ttl,
            size=size,
        )
        self.do(new)

    @rule(
        flags=FLAGS,
        upto=st.none() | st.integers(0, 50),
        category=st.none() | CATEGORIES,
        pick=st.none() | st.integers(0, 5),
        op_id=IDS,
    )
    def mark(self, flags, upto, category, pick, op_id):
        ids = None
        if pick is not None:
            ids = frozenset([*list(self.mailbox.items)[pick : pick + 2], "nobody"])
        mark = Mark(flags=flags, ids=ids, upto=upto, category=category)
        self.do(MarkAll(marks=(mark,), op_id=op_id))

    @rule(seconds=st.integers(0, 4))
    def let_time_pass(self, seconds):
        self.now += seconds
        self.do(Expire())

    @rule()
    @precondition(lambda self: self.mailbox.answers)
    def wait_until_operation_ids_are_forgotten(self):
        self.now += 86_401
        self.do(Expire())

    @invariant()
    def badge_is_the_naive_fold(self):
        badge = self.mailbox.badge
        counted = [
            i for i in self.mailbox.items.values() if not i.read and not i.archived
        ]

        assert len(counted) == badge.unread
        assert sum(1 for i in counted if not i.seen) == badge.unseen
        assert {i.category for i in counted} == set(badge.by)
        for category, count in badge.by.items():
            mine = [i for i in counted if i.category == category]
            assert len(mine) == count.unread > 0
            assert sum(1 for i in mine if not i.seen) == count.unseen
        assert not badge.more or badge.unread

    @invariant()
    def client_holds_what_the_mailbox_holds(self):
        assert {i.id: i.document() for i in self.mailbox.items.values()} == self.client

    @invariant()
    def bounds_hold_and_items_are_in_order(self):
        items = list(self.mailbox.items.values())

        assert len(items) <= LIMITS.items
        assert sum(i.size for i in items) <= LIMITS.bytes
        assert sorted(i.seq for i in items) == [i.seq for i in items]
        assert all(i.seq <= self.mailbox.v for i in items)
        keyed = [(i.category, i.key) for i in items if i.key]
        assert len(keyed) == len(set(keyed))


TestMailboxes = Mailboxes.TestCase
TestMailboxes.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)


@pytest.mark.nightly
class TestMailboxesForLong(Mailboxes.TestCase):
    """The same, for ten thousand runs."""

    settings = settings(max_examples=10_000, stateful_step_count=50, deadline=None)
