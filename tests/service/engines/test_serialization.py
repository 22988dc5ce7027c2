"""The rows of records: what is written is what comes back, and no more than needed."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.mailbox_builder import TooManyCategories
from roundel_service.domain.operations import (
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Retract,
    SetGauge,
    StartNewEpoch,
)
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.engines import serialization as stored
from support.mailboxes import note, ops

RULES = RecordLimits(mailbox=MailboxLimits(items=4, categories=3), change_log_size=3)
EMPTY = Record(Mailbox(epoch="e"))


@attrs.define
class Shelf:
    """A store that does what it is told and has no idea of what it is about."""

    head: str = ""
    items: dict[str, str] = attrs.Factory(dict)
    flags: dict[str, int] = attrs.Factory(dict)
    answers: dict[str, str] = attrs.Factory(dict)
    ring: dict[int, str] = attrs.Factory(dict)

    def write(self, edit: stored.RecordDiff) -> None:
        if edit.replace:
            for rows in (self.items, self.flags, self.answers, self.ring):
                rows.clear()
        self.head = stored.mailbox_row(edit.mailbox)
        for name in edit.removed:
            del self.items[name]
            self.flags.pop(name, None)
        for name in edit.dropped_results:
            del self.answers[name]
        self.items |= {n: stored.item_row(item) for n, item in edit.items.items()}
        self.flags |= edit.flags
        self.answers |= {n: stored.result_row(a) for n, a in edit.results.items()}
        for change in edit.changes:
            self.ring[change.v % RULES.change_log_size] = stored.change_row(change)

    def record(self) -> Record:
        """Read everything, last things first: a store keeps no order."""
        names = reversed(list(self.items))
        return stored.decode_record(
            self.head,
            items=[(self.items[name], self.flags.get(name, 0)) for name in names],
            answers=reversed(list(self.answers.items())),
            changes=list(self.ring.values()),
        )


def after(record: Record, *operations, now: float = 0.0) -> Record:
    for operation in operations:
        try:
            record = record.apply(operation, now=now, limits=RULES)[0]
        except TooManyCategories:
            continue
    return record


texts = st.none() | st.text(max_size=3)
notes = st.builds(
    note,
    st.uuids().map(str),
    st.sampled_from("abcd"),
    key=st.none() | st.sampled_from("kl"),
    source=st.none() | st.sampled_from("st"),
    body=texts,
    url=texts,
    icon=texts,
    ttl=st.none() | st.integers(1, 30),
    data=st.none() | st.recursive(st.booleans() | st.text(max_size=3), st.lists),
    op_id=st.none() | st.sampled_from("xyz"),
    size=st.integers(0, 99),
)
marks = st.builds(
    lambda said, v, op_id: ops({said: v}, op_id=op_id),
    st.sampled_from(["seen_upto", "read_upto"]),
    st.integers(0, 20),
    st.sampled_from("xyzuvw"),
)
others = st.one_of(
    st.builds(Retract, source=st.sampled_from("st")),
    st.builds(Retract, category=st.sampled_from("ab"), key=st.sampled_from("kl")),
    st.builds(
        SetGauge,
        category=st.sampled_from("ag"),
        count=st.integers(0, 3),
        source_version=st.integers(0, 9),
    ),
    st.builds(DeleteGauge, st.just("g")),
    st.builds(Disconnect, revoke=st.booleans()),
    st.builds(DeleteUser, st.uuids().map(str)),
    st.builds(StartNewEpoch, st.uuids().map(str)),
)


@pytest.mark.slow
@given(st.lists(st.lists(st.one_of(notes, notes, marks, others), max_size=4)))
@settings(deadline=None)
def test_record_comes_back_as_it_was(story):
    """Whatever happened between two writes, and in whatever order rows come back."""
    shelf, before, record = Shelf(), None, EMPTY
    for number, operations in enumerate(story):
        now = 10.0 * number
        record = after(record.expire(now=now, limits=RULES), *operations, now=now)
        shelf.write(stored.diff(before, record))
        before = record
        back = shelf.record()

        assert record == back
        assert list(record.mailbox.items) == list(back.mailbox.items)
        assert record.mailbox.expires_at <= back.mailbox.expires_at


def test_flags_are_written_without_the_text():
    """To mark what is there writes a number an item."""
    before = after(EMPTY, note("a"), note("b"), note("c"))
    edit = stored.diff(before, after(before, ops({"read": ["a", "c"]})))

    assert ({}, {"a": 3, "c": 3}) == (edit.items, edit.flags)
    assert (frozenset(), 1) == (edit.removed, len(edit.changes))


def test_new_item_writes_no_other():
    """A notification is written for itself, whatever else the mailbox holds."""
    before = after(EMPTY, note("a"), note("b", op_id="x"))
    edit = stored.diff(before, after(before, note("c", op_id="y")))

    assert (["c"], {}) == (list(edit.items), edit.flags)
    assert (["producer y"], frozenset()) == (list(edit.results), edit.dropped_results)
    assert [3] == [change.v for change in edit.changes]


def test_nothing_to_write():
    """Of what is the same, nothing is written but the head."""
    record = after(EMPTY, note("a", op_id="x"))
    edit = stored.diff(record, record)

    assert not edit.replace
    assert ({}, {}, {}) == (edit.items, edit.flags, edit.results)
    assert (frozenset(), frozenset(), ()) == (
        edit.removed,
        edit.dropped_results,
        edit.changes,
    )


def test_ring_that_was_longer():
    """Changes that do not lead here without a hole are left out."""
    record = after(EMPTY, note("a"), note("b"), note("c"))
    rows = [stored.change_row(change) for change in record.changes]
    head = stored.mailbox_row(record.mailbox)
    back = stored.decode_record(head, items=(), answers=(), changes=[rows[0], rows[2]])

    assert [3] == [change.v for change in back.changes]


@pytest.mark.parametrize(
    ("fields", "retract", "name"),
    [
        pytest.param({"source": "s"}, Retract(source="s"), "s s", id="source"),
        pytest.param(
            {"key": "k"}, Retract(category="c", key="k"), "k c k", id="category and key"
        ),
    ],
)
def test_tags(fields, retract, name):
    """What a retraction selects is found under the name that the item is kept under."""
    item = after(EMPTY, note("a", **fields)).mailbox.items["a"]

    assert (name,) == stored.item_tags(item)
    assert name == stored.retract_tag(retract)


def test_no_tag():
    """An item without source and key is found by no retraction."""
    assert () == stored.item_tags(after(EMPTY, note("a")).mailbox.items["a"])
    assert stored.retract_tag(Retract(category="c")) is None
