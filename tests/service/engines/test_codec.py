"""The stored form of a mailbox: snapshots and entries."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.log.entry import entry_between
from roundel_service.domain.mailbox import COMPUTED_FIELDS, Mailbox
from roundel_service.domain.operations import Disconnect, Retract
from roundel_service.domain.record import RecordLimits
from roundel_service.domain.revocation import Revocation
from roundel_service.engines.codec.decoding import (
    RecordDecodeError,
    decode_entry,
    decode_head,
    decode_stored,
)
from roundel_service.engines.codec.encoding import encode_entry, encode_snapshot
from roundel_service.engines.codec.fields import HEAD, MAPPINGS, VALUES
from roundel_service.engines.codec.policy import is_snapshot_due
from roundel_service.engines.codec.rows import FieldsRow, HeadRow
from roundel_service.engines.codec.tags import item_tags, retract_tag
from support.damaged_codec import DAMAGED, STORED
from support.mailboxes import gauge, note, ops
from support.operations import ANY_OPERATION, EMPTY, LIMITS, reduced

SIZE = LIMITS.change_log_size


class Log:
    """A store with one mailbox, which writes as an engine does."""

    def __init__(self) -> None:
        self.snapshot = b""
        self.entries: list[bytes] = []

    def write(self, before, after, *, force: bool = False) -> None:
        entry = entry_between(before, after) if self.snapshot else None
        if force or entry is None or entry.withdraws_text:
            self.snapshot, self.entries = encode_snapshot(after), []
        else:
            self.entries.append(encode_entry(entry, len(self.entries) + 1))

    def record(self):
        """Decode the rows in reverse order: a store keeps no order."""
        return decode_stored(self.snapshot, self.entries[::-1], change_log_size=SIZE)


@pytest.mark.slow
@given(st.lists(st.tuples(st.lists(ANY_OPERATION, max_size=4), st.booleans())))
def test_round_trip(batches):
    """A record equals its stored form after any operations, with any snapshots."""
    log, record = Log(), EMPTY
    for number, (operations, force) in enumerate(batches):
        before, now = record, 10.0 * number
        record = record.refresh(now=now, limits=LIMITS)
        record = reduced(record, *operations, now=now)
        log.write(before, record, force=force)
        stored = log.record()

        assert record == stored
        assert list(record.mailbox.items) == list(stored.mailbox.items)
        assert list(record.mailbox.results) == list(stored.mailbox.results)


def test_no_control_character():
    """A row has no control character but the line feeds of a snapshot."""
    texts = [note("\x00\n", "\x1f", body="\x1e\n\x7f", op_id="\x1d", data={"\n": "\r"})]
    record = reduced(EMPTY, *texts)
    entry = entry_between(EMPTY, record)
    assert entry is not None
    rows = (encode_snapshot(record), encode_entry(entry, 1))

    assert [3, 0] == [row.count(b"\n") for row in rows]
    assert all(min(row.replace(b"\n", b"")) >= 0x20 for row in rows)


@pytest.mark.parametrize(("items", "kept"), [(9, 16), (50, 25), (140, 64)])
def test_snapshot_has_the_latest_changes(items, kept):
    """A restart can replay the latest 16 to 64 changes, or half of the items."""
    mailbox = MailboxLimits(items=items)
    limits = RecordLimits(mailbox=mailbox, change_log_size=99)
    record = reduced(EMPTY, *(note(f"{n}") for n in range(140)), limits=limits)
    stored = decode_stored(encode_snapshot(record), (), change_log_size=99)

    assert [*range(141 - kept, 141)] == [change.v for change in stored.changes]
    assert record.changes[-kept:] == stored.changes[:]


@pytest.mark.parametrize(("size", "kept"), [(0, []), (2, [2, 3]), (9, [1, 2, 3])])
def test_change_log_of_another_size(size, kept):
    """A record has no more changes than the change log may have now."""
    record = reduced(EMPTY, note("1"), note("2"), note("3"))
    stored = decode_stored(encode_snapshot(record), (), change_log_size=size)

    assert kept == [change.v for change in stored.changes]


@pytest.mark.parametrize(
    ("entries", "items", "due"),
    [
        *((15, 0, False), (16, 0, True), (16, 16, True), (16, 17, False)),
        *((127, 200, False), (128, 200, True), (0, 200, False)),
    ],
)
def test_snapshot_is_due(entries, items, due):
    """A snapshot comes after max(16, min(128, items)) entries."""
    assert due is is_snapshot_due(entries, items)


def test_every_field_of_a_mailbox_is_stored():
    """No field of the mailbox is forgotten by a snapshot or by an entry."""
    others = COMPUTED_FIELDS | {"epoch", "v", "items"}

    assert {*Mailbox.__struct_fields__} - others == {*VALUES, *MAPPINGS}
    assert {*HEAD} == {*HeadRow.__struct_fields__} - {"epoch", "v"}
    assert {*VALUES, *MAPPINGS} == {*FieldsRow.__struct_fields__} - {"drop"}


@pytest.mark.parametrize(("part", "damage"), DAMAGED)
def test_damaged(part, damage):
    """Each damage is found when the record is loaded, and named without content."""
    snapshot, entries = STORED.damaged(part, damage)
    with pytest.raises(RecordDecodeError) as error:
        decode_stored(snapshot, entries, change_log_size=SIZE)

    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("entries"),
    [
        pytest.param(lambda rows: rows[1:], id="the first is missing"),
        pytest.param(lambda rows: [rows[0], *rows[2:]], id="one is missing"),
        pytest.param(lambda rows: [*rows, rows[-1]], id="one is there twice"),
    ],
)
def test_missing_entry(entries):
    """The entries of a log are complete, or the record is damaged."""
    with pytest.raises(RecordDecodeError, match="not all that follow"):
        decode_stored(STORED.snapshot, entries(STORED.entries), change_log_size=SIZE)


def test_damage_with_the_whole_log():
    """The undamaged rows of these tests are a record."""
    record = decode_stored(STORED.snapshot, STORED.entries, change_log_size=SIZE)

    assert STORED.record == record


def test_head_of_a_damaged_mailbox():
    """The times in the head are read although all else is damaged, from entries too."""
    before = reduced(EMPTY, note("1"), gauge(3, 1), Disconnect(), now=5.0)
    snapshot, *rest = encode_snapshot(before).split(b"\n")
    entry = entry_between(before, reduced(before, Disconnect(revoke=True), now=7.0))
    assert entry is not None
    damaged = b"\n".join((snapshot, b"[", *rest[1:]))
    head = decode_head(damaged, [b"x", encode_entry(entry, 1)])

    assert ("e", 2, 7.0) == (head.epoch, head.v, head.disconnected_at)
    assert Revocation(7.0, 7.0) == head.revocation
    assert {} == head.items


@pytest.mark.parametrize("row", [b"", b" ", b"[1],[1]", b"[]", b"x"])
def test_damaged_entry_alone(row):
    """An entry that a node reads from a log is one row, or it is damaged."""
    with pytest.raises(RecordDecodeError):
        decode_entry(row, "e")


def test_no_head():
    """If the head is damaged as well, nothing is read."""
    assert "" == decode_head(b"x\n[]\n{}\n[]", []).epoch


def test_content_of_a_waiting_item():
    """An item that waits is stored like any other: its content is JSON, and checked."""
    record = reduced(EMPTY, note("1", body="wait", at=9.0))
    snapshot = encode_snapshot(record)

    assert b'"body":"wait"' in snapshot
    assert record == decode_stored(snapshot, (), change_log_size=SIZE)
    damaged = snapshot.replace(b'"title":"1"', b'"title":[1]')
    with pytest.raises(RecordDecodeError):
        decode_stored(damaged, (), change_log_size=SIZE)


def test_entry_of_flags_is_short():
    """To mark an item writes its id and the badge, and no text."""
    before = reduced(EMPTY, note("1", body="b" * 500))
    entry = entry_between(before, reduced(before, ops({"read": ["1"]})))
    assert entry is not None
    row = encode_entry(entry, 7)

    assert len(row) < 200
    assert (7, entry) == decode_entry(row, "e")
    assert 7 == json.loads(row)["number"]


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
    item = reduced(EMPTY, note("a", **fields)).mailbox.items["a"]

    assert (tag,) == item_tags(item)
    assert tag == retract_tag(retract)


def test_no_tag():
    """An item without source and key has no index key, and no copy of a topic has."""
    item = reduced(EMPTY, note("a", source="s")).mailbox.items["a"]

    assert () == item_tags(reduced(EMPTY, note("a")).mailbox.items["a"])
    assert () == item_tags(replace(item, topic="t"))
    assert retract_tag(Retract(category="c")) is None
