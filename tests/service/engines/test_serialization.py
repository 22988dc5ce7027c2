"""The stored form of records, and the difference between two records."""

from __future__ import annotations

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import (
    CorrectRevocation,
    DeleteGauge,
    DeleteUser,
    Disconnect,
    Retract,
    SetGauge,
    StartNewEpoch,
)
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.domain.refusals import OperationRefused
from roundel_service.domain.revocation import Revocation
from roundel_service.engines import serialization
from roundel_service.engines.deserialization import check_record, decode_record
from support.mailboxes import note, ops

LIMITS = RecordLimits(mailbox=MailboxLimits(items=4, categories=3), change_log_size=3)
EMPTY = Record(Mailbox(epoch="e"))


@attrs.define
class RowStore:
    """A store of rows that applies a diff."""

    mailbox: str = ""
    items: dict[str, str] = attrs.Factory(dict)
    flags: dict[str, int] = attrs.Factory(dict)
    results: dict[str, str] = attrs.Factory(dict)
    changes: dict[int, str] = attrs.Factory(dict)

    def write(self, diff: serialization.RecordDiff) -> None:
        if diff.replace:
            for rows in (self.items, self.flags, self.results, self.changes):
                rows.clear()
        self.mailbox = serialization.mailbox_row(diff.mailbox)
        for name in diff.removed:
            del self.items[name]
            self.flags.pop(name, None)
        for name in diff.dropped_results:
            del self.results[name]
        self.items |= {
            n: serialization.item_row(item) for n, item in diff.items.items()
        }
        self.flags |= diff.flags
        self.results |= {
            n: serialization.result_row(a) for n, a in diff.results.items()
        }
        for change in diff.changes:
            self.changes[change.v % LIMITS.change_log_size] = serialization.change_row(
                change
            )

    def record(self) -> Record:
        """Return the record from rows in reverse order: a store keeps no order."""
        names = reversed(list(self.items))
        return decode_record(
            self.mailbox,
            items=[(self.items[name], self.flags.get(name, 0)) for name in names],
            results=reversed(list(self.results.items())),
            changes=list(self.changes.values()),
        )


def after(record: Record, *operations, now: float = 0.0) -> Record:
    for operation in operations:
        try:
            record = record.apply(operation, now=now, limits=LIMITS)[0]
        except OperationRefused:
            continue
    return record


epochs = st.uuids().map(lambda uuid: uuid.hex)
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
    lambda verb, v, op_id: ops({verb: v}, op_id=op_id),
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
    st.builds(
        Disconnect, revoke=st.booleans(), issued_before=st.none() | st.floats(0, 1e10)
    ),
    st.just(CorrectRevocation()),
    st.builds(DeleteUser, epochs),
    st.builds(StartNewEpoch, epochs),
)


@pytest.mark.slow
@given(st.lists(st.lists(st.one_of(notes, notes, marks, others), max_size=4)))
@settings(deadline=None)
def test_round_trip(batches):
    """A record equals its stored rows after any operations between two writes."""
    store, before, record = RowStore(), None, EMPTY
    for number, operations in enumerate(batches):
        now = 10.0 * number
        record = after(record.refresh(now=now, limits=LIMITS), *operations, now=now)
        store.write(serialization.diff(before, record))
        before = record
        stored = store.record()
        check_record(stored)

        assert record == stored
        assert list(record.mailbox.items) == list(stored.mailbox.items)
        assert record.mailbox.due_at <= stored.mailbox.due_at


def test_result_without_a_digest():
    """A row that was written before results had a digest is still read."""
    record = after(EMPTY, note("a", op_id="x"))
    rows = serialization.diff(None, record)
    (name, result), *_ = rows.results.items()
    row = msgspec.json.encode(msgspec.json.decode(serialization.result_row(result))[:6])
    stored = decode_record(
        serialization.mailbox_row(rows.mailbox),
        items=[],
        results=[(name, row.decode())],
        changes=[],
    )

    assert {name: result} == stored.mailbox.results


def test_revocation_without_a_given_time_is_stored_as_before():
    """Older rows stay readable; only a time of the issuer's clock is added."""
    own = Mailbox(epoch="e", revocation=Revocation(5.0, 5.0))
    given = Mailbox(epoch="e", revocation=Revocation(5.0, 4.0))

    assert '["e",0,false,0.0,5.0,{}]' == serialization.mailbox_row(own)
    assert '["e",0,false,0.0,5.0,{},4.0]' == serialization.mailbox_row(given)
    for mailbox in (own, given):
        row = serialization.mailbox_row(mailbox)
        decoded = decode_record(row, items=(), results=(), changes=())
        assert mailbox == decoded.mailbox


def test_flags_are_written_without_the_text():
    """Marking an item writes its flags and not its text."""
    before = after(EMPTY, note("a"), note("b"), note("c"))
    diff = serialization.diff(before, after(before, ops({"read": ["a", "c"]})))

    assert ({}, {"a": 3, "c": 3}) == (diff.items, diff.flags)
    assert (frozenset(), 1) == (diff.removed, len(diff.changes))


def test_new_item_writes_one_row():
    """Adding an item writes no other item."""
    before = after(EMPTY, note("a"), note("b", op_id="x"))
    diff = serialization.diff(before, after(before, note("c", op_id="y")))

    assert (["c"], {}) == (list(diff.items), diff.flags)
    assert (["producer y"], frozenset()) == (list(diff.results), diff.dropped_results)
    assert [3] == [change.v for change in diff.changes]


def test_no_difference():
    """Between equal records only the mailbox row is written."""
    record = after(EMPTY, note("a", op_id="x"))
    diff = serialization.diff(record, record)

    assert not diff.replace
    assert ({}, {}, {}) == (diff.items, diff.flags, diff.results)
    assert (frozenset(), frozenset(), ()) == (
        diff.removed,
        diff.dropped_results,
        diff.changes,
    )


def test_change_that_does_not_precede_the_next():
    """Stored changes before a gap in the versions are ignored."""
    record = after(EMPTY, note("a"), note("b"), note("c"))
    rows = [serialization.change_row(change) for change in record.changes]
    mailbox = serialization.mailbox_row(record.mailbox)
    decoded = decode_record(mailbox, items=(), results=(), changes=[rows[0], rows[2]])

    assert [3] == [change.v for change in decoded.changes]


@pytest.mark.parametrize(
    ("fields", "retract", "tag"),
    [
        pytest.param({"source": "s"}, Retract(source="s"), "s s", id="source"),
        pytest.param(
            {"key": "k"}, Retract(category="c", key="k"), "k c k", id="category and key"
        ),
    ],
)
def test_tags(fields, retract, tag):
    """A retraction selects the index key of its items."""
    item = after(EMPTY, note("a", **fields)).mailbox.items["a"]

    assert (tag,) == serialization.item_tags(item)
    assert tag == serialization.retract_tag(retract)


def test_no_tag():
    """An item without source and key has no index key."""
    assert () == serialization.item_tags(after(EMPTY, note("a")).mailbox.items["a"])
    assert serialization.retract_tag(Retract(category="c")) is None
