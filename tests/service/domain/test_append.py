"""A plain notification is appended as the builder does it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel_service.domain.append import append_item
from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.mailbox import Applied, Mailbox, apply
from roundel_service.domain.mailbox_builder import TooManyCategories
from roundel_service.domain.operations import Notify, SetMuted
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.domain.subscriptions import Muted
from support.mailboxes import gauge, note, ops
from support.operations import EMPTY, OPERATIONS, reduced

LIMITS = st.builds(
    lambda items, size: MailboxLimits(items=items, bytes=size),
    st.integers(1, 4),
    st.sampled_from([60, 150, 999]),
)
MUTES = st.builds(
    SetMuted,
    st.builds(Muted, categories=st.frozensets(st.sampled_from("ab"), max_size=1)),
)


def notes(ids: st.SearchStrategy[str]) -> st.SearchStrategy[Notify]:
    return st.builds(
        note,
        ids,
        st.sampled_from("ab"),
        source=st.none() | st.just("s"),
        ttl=st.none() | st.integers(1, 30),
        size=st.integers(10, 99),
        quiet=st.booleans(),
    )


OLD = notes(st.uuids().map(str))
BEFORE = st.lists(OLD | OLD | OPERATIONS | MUTES, max_size=8)


def alike(applied: Applied) -> tuple:
    """Return everything of a result, also what equal mailboxes may differ in."""
    mailbox = applied.mailbox
    return applied, list(mailbox.items), mailbox.due_at, mailbox.size


@pytest.mark.slow
@given(BEFORE, st.lists(OLD, max_size=3), notes(st.just("new")), LIMITS)
def test_like_the_builder(operations, latest, new, limits):
    """In any mailbox both ways give the same mailbox, change and result."""
    now, works = 3.0, [*operations, *latest, note("known", new.category, size=9)]
    record = reduced(EMPTY, *works, now=now, limits=RecordLimits(mailbox=limits))
    found = append_item(record.mailbox, new, now=now, limits=limits)
    if found is None:
        return  # The category was refused.

    assert alike(apply(record.mailbox, new, now=now, limits=limits)) == alike(found)


HELD = reduced(EMPTY, note("1"), note("2", "d"), ops({"read": ["2"]}), gauge(1, 1, "g"))


@pytest.mark.parametrize(
    ("new", "plain"),
    [
        pytest.param(note("3"), True, id="plain"),
        pytest.param(note("3", ttl=5.0, source="s"), True, id="with ttl and source"),
        pytest.param(note("3", key="k"), False, id="with a key"),
        pytest.param(note("3", replaces="1"), False, id="that replaces"),
        pytest.param(note("3", op_id="o"), False, id="with an operation id"),
        pytest.param(note("3", at=9.0), False, id="that waits"),
        pytest.param(note("3", "e"), False, id="of a new category"),
        pytest.param(note("3", "d"), False, id="of a category without a counted item"),
        pytest.param(note("3", "g"), False, id="of the category of a gauge"),
    ],
)
def test_what_is_plain(new: Notify, plain: bool):
    """The builder is left what replaces, waits, is remembered or may be refused."""
    found = append_item(HELD.mailbox, new, now=0.0, limits=MailboxLimits())

    assert plain is (found is not None)


def test_limit_of_categories_holds():
    """A record refuses a category too many, and takes an item of a known one."""
    limits = RecordLimits(mailbox=MailboxLimits(categories=2))
    record = Record(Mailbox(epoch="e"))
    for new in (note("1", "a"), note("2", "b"), note("3", "a"), note("4", "b")):
        record, _ = record.apply(new, now=0.0, limits=limits)
    with pytest.raises(TooManyCategories):
        record.apply(note("5", "c"), now=0.0, limits=limits)

    assert ["1", "2", "3", "4"] == list(record.mailbox.items)
