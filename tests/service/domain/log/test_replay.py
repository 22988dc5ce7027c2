"""Entries of a log: replaying them equals reducing, at the cost of what changed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from roundel_service.domain.changes import Added, Change
from roundel_service.domain.log.entry import LogEntry, MappingDelta, entry_between
from roundel_service.domain.log.replay import ReplayError, replay
from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.operations import (
    ClaimTopics,
    DeleteUser,
    Disconnect,
    Refresh,
    Retract,
    StartNewEpoch,
    Subscribe,
    Unsubscribe,
    Update,
)
from roundel_service.domain.record import Record
from roundel_service.domain.refusals import OperationRefused
from support.mailboxes import gauge, note, ops
from support.operations import (
    EMPTY,
    LIMITS,
    MARKS,
    NOTES,
    OPERATIONS,
    OnPositions,
    reduced,
)
from support.topics import Mailboxes

SIZE = LIMITS.change_log_size


def entry(before: Record, *operations, now: float = 0.0) -> LogEntry:
    """Return the entry of *operations*."""
    made = entry_between(before, reduced(before, *operations, now=now))
    assert made is not None
    return made


def replayed(record: Record, *entries: LogEntry) -> Record:
    return replay(record, entries, change_log_size=SIZE)


@pytest.mark.slow
@given(st.lists(st.lists(OPERATIONS, max_size=4), max_size=8), st.integers(0, 8))
def test_replay_equals_reduce(batches, start):
    """Replaying a log from any record in it returns what the reducer returned."""
    records, entries = [EMPTY], []
    for number, operations in enumerate(batches):
        now = 10.0 * number
        record = records[-1].refresh(now=now, limits=LIMITS)
        records.append(reduced(record, *operations, now=now))
        entries.append(entry_between(records[-2], records[-1]))
    start = min(start, len(entries))
    if None in entries[start:]:
        return  # More changes in one entry than the change log keeps.
    result = replayed(records[start], *entries[start:])
    mailbox = records[-1].mailbox

    assert records[-1] == result
    assert list(mailbox.items) == list(result.mailbox.items)
    assert list(mailbox.results) == list(result.mailbox.results)
    assert (mailbox.size, mailbox.badge) == (result.mailbox.size, result.badge)
    # The reducer has a lower bound.
    assert mailbox.due_at <= result.mailbox.due_at


USER_STEPS = st.tuples(
    st.just("alice"),
    st.one_of(
        NOTES,
        MARKS,
        st.just(Refresh()),
        st.builds(
            Subscribe, topic=st.just("t"), since=st.sampled_from(["now", "start"])
        ),
        st.just(Unsubscribe("t")),
        st.builds(
            ClaimTopics,
            topics=st.dictionaries(st.just("u"), st.just(0.0)),
            issued_at=st.integers(0, 99).map(float),
        ),
        st.builds(StartNewEpoch, st.uuids().map(str)),
    ),
)
TOPIC_STEPS = st.tuples(st.sampled_from(["#all", "#t", "#u"]), OPERATIONS)


@pytest.mark.slow
@given(st.lists(st.one_of(USER_STEPS, TOPIC_STEPS, TOPIC_STEPS), max_size=30))
def test_replay_of_a_follower(steps):
    """What was pulled from topics is replayed, without a look at the topics."""
    mailboxes = Mailboxes(LIMITS)
    for name, operation in steps:
        mailboxes.now += 3.0
        for each in {name, "alice"}:
            before = mailboxes.stored(each)
            if isinstance(operation, OnPositions):
                operation = operation.of(before)
            with suppress(OperationRefused):
                mailboxes.do(each, operation if each == name else Refresh())
            after = mailboxes.stored(each)
            made = entry_between(before, after)

            assert made is None or after == replayed(before, made)


def test_entry_has_what_changed():
    """An entry has the new item, and no other item and no other result."""
    before = reduced(EMPTY, note("1"), note("2", op_id="x"))
    made = entry(before, note("3", op_id="y"))

    assert (["3"], {}) == ([item.id for item in made.items], made.values)
    assert ["producer y"] == list(made.mappings["results"].put)
    assert [3] == [change.v for change in made.changes]


def test_entry_of_flags_has_no_text():
    """Marking an item as read writes its id alone."""
    before = reduced(EMPTY, note("1"), note("2"))

    assert () == entry(before, ops({"read": ["1"]})).items


def test_entry_has_no_text_that_is_gone():
    """An item that was added and removed between two records has no text in it."""
    made = entry(EMPTY, note("1", key="k"), note("2", key="k"), note("3", key="k"))

    assert ["3"] == [item.id for item in made.items]
    assert ["1", "2"] == made.removed


def test_entry_without_a_version():
    """What makes no version is in an entry as well: times, results and gauges."""
    before = reduced(EMPTY, note("1"), gauge(2, 1))
    made = entry(before, Disconnect(revoke=True), gauge(2, 5), ops(op_id="o"), now=9.0)

    assert () == made.changes
    assert {"disconnected_at", "revocation"} == set(made.values)
    assert {"gauges", "results"} == set(made.mappings)


def test_entry_of_nothing():
    """Between equal records nothing changed."""
    assert LogEntry() == entry(EMPTY)


@pytest.mark.parametrize("operation", [DeleteUser("f"), StartNewEpoch("f")])
def test_no_entry_into_another_epoch(operation):
    """Another epoch needs a snapshot."""
    before = reduced(EMPTY, note("1"))

    assert entry_between(before, reduced(before, operation)) is None


def test_no_entry_beyond_the_change_log():
    """More changes than the change log holds need a snapshot."""
    notes = [note(f"{number}") for number in range(SIZE + 1)]

    assert entry_between(EMPTY, reduced(EMPTY, *notes)) is None
    assert entry_between(EMPTY, reduced(EMPTY, *notes[1:])) is not None


HELD = reduced(EMPTY, note("1", source="s", ttl=5.0), note("2", key="k"))


@pytest.mark.parametrize(
    ("operation", "withdraws"),
    [
        pytest.param(note("3", key="k"), False, id="replace"),
        pytest.param(ops({"read": ["1"]}), False, id="read"),
        pytest.param(Retract(source="s"), True, id="retract"),
        pytest.param(ops({"remove": ["1"]}), True, id="remove"),
        pytest.param(Refresh(), True, id="expire"),
        pytest.param(
            Update(which=Retract(source="s"), content=b'{"body":"b"}'),
            True,
            id="update",
        ),
        pytest.param(note("3", "c", key="k", quiet=True), True, id="quiet"),
    ],
)
def test_withdrawn_text(operation, withdraws):
    """What takes a text back says so; a replaced item may wait for a snapshot."""
    now = 9.0 if operation == Refresh() else 1.0
    assert withdraws == entry(HELD, operation, now=now).withdraws_text


def test_evicted_text_may_wait():
    """An eviction alone withdraws no text."""
    notes = [note(f"{number}") for number in range(LIMITS.mailbox.items)]

    assert not entry(reduced(EMPTY, *notes), note("x")).withdraws_text


def test_results_that_were_dropped(monkeypatch):
    """An entry names the results that the reducer dropped, the oldest ones."""
    monkeypatch.setattr("roundel_service.domain.idempotency.MAX_OP_IDS", 2)
    before = reduced(EMPTY, note("1", op_id="x"), ops(op_id="u"), note("2", op_id="y"))
    after = reduced(before, note("3", op_id="z"))
    made = entry_between(before, after)
    assert made is not None

    assert ("producer x",) == made.mappings["results"].drop
    assert after == replayed(before, made)


NEXT = reduced(HELD, note("3"))


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        pytest.param(entry(NEXT, note("4")), "does not follow", id="a later version"),
        pytest.param(
            replace(entry(HELD, note("4")), items=()),
            "lacks an item",
            id="no text",
        ),
        pytest.param(
            entry(reduced(EMPTY, note("8"), note("9")), ops({"read": ["9"]})),
            "not held",
            id="marks another item",
        ),
        pytest.param(
            entry(
                reduced(EMPTY, note("8"), note("9", source="s")), Retract(source="s")
            ),
            "not held",
            id="removes another item",
        ),
        pytest.param(
            entry(
                reduced(EMPTY, note("8"), note("9", source="s")),
                Update(which=Retract(source="s"), content=b'{"body":"b"}'),
            ),
            "not held",
            id="updates another item",
        ),
    ],
)
def test_entry_that_does_not_follow(damaged, message):
    """An entry of another record is an error that names no content."""
    with pytest.raises(ReplayError, match=message):
        replayed(HELD, damaged)


def test_entry_of_another_epoch():
    """A change of another epoch does not follow."""
    other = entry(Record(Mailbox(epoch="f")), note("1"))

    with pytest.raises(ReplayError, match="does not follow"):
        replayed(EMPTY, other)


def test_step_of_an_item_without_text():
    """A flag on an item that an entry removes again needs no text of it."""
    works = (note("1", key="k"), ops({"read": ["1"]}), note("2", key="k"))
    made = entry(EMPTY, *works)

    assert ["2"] == list(replayed(EMPTY, made).mailbox.items)
    assert isinstance(made.changes[0], Change)
    assert isinstance(made.changes[0].steps[0], Added)


def test_mapping_delta():
    """A difference drops, replaces and appends keys, in a copy of the mapping."""
    before = {"a": 1, "b": 2, "c": 3}
    after = MappingDelta({"b": 5, "d": 6}, ("a", "x")).applied_to(before)

    assert {"b": 5, "c": 3, "d": 6} == after
    assert {"a": 1, "b": 2, "c": 3} == before
