"""The independent count of a badge."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from roundel_service.domain.item_list import ItemList
from roundel_service.domain.items import ExternalCount
from roundel_service.domain.mailbox import Mailbox
from roundel_service.operator.recount import counts_of, recount
from support.mailboxes import item


def counts(unread: int, unseen: int = 0) -> dict[str, int]:
    return {"unread": unread, "unseen": unseen}


def numbers(unread: int, unseen: int = 0, *, more: bool = False, **by: dict) -> dict:
    return {**counts(unread, unseen), "more": more, "by": by}


@pytest.mark.parametrize(
    ("items", "gauges", "more", "expected"),
    [
        ([], {}, False, numbers(0)),
        ([item(), item(seen=True)], {}, False, numbers(2, 1, c=counts(2, 1))),
        ([item(read=True), item(archived=True)], {}, False, numbers(0)),
        ([item("a"), item()], {}, False, numbers(2, 2, a=counts(1, 1), c=counts(1, 1))),
        ([item("a")], {"a": ExternalCount(7, 1)}, False, numbers(8, 1, a=counts(8, 1))),
        (
            [],
            {"a": ExternalCount(7, 1), "b": ExternalCount(0, 1)},
            False,
            numbers(7, a=counts(7)),
        ),
        ([item()], {}, True, numbers(1, 1, more=True, c=counts(1, 1))),
        ([], {"a": ExternalCount(1, 1)}, True, numbers(1, more=True, a=counts(1))),
        ([item(read=True)], {}, True, numbers(0)),
    ],
    ids=[
        *("empty", "unseen", "read or archived", "categories", "gauge and items"),
        *("gauge of 0", "more", "more by a gauge", "no more at 0"),
    ],
)
def test_recount(items, gauges, more, expected):
    """Unread items and gauges count; `more` needs at least one unread item."""
    assert expected == recount(items, gauges, more)


_ITEMS = st.lists(
    st.builds(
        item,
        st.sampled_from("abc"),
        seen=st.booleans(),
        read=st.booleans(),
        archived=st.booleans(),
    )
)
_GAUGES = st.dictionaries(
    st.sampled_from("abc"), st.builds(ExternalCount, st.integers(0, 9), st.just(1))
)


@settings(max_examples=50, deadline=None)
@given(_ITEMS, _GAUGES, st.booleans())
def test_both_counts_agree(items, gauges, more):
    """The recount and the badge of a mailbox are equal for any items and gauges."""
    held = ItemList(replace(each, id=f"{n}") for n, each in enumerate(items))
    badge = Mailbox(epoch="e", items=held, gauges=gauges, more=more).badge

    assert recount(items, gauges, more) == counts_of(badge)


def test_recount_reads_the_items_themselves():
    """A damaged column of an item list shows: the recount does not use it."""
    held = ItemList([item(), replace(item(), id="2")])
    mailbox = Mailbox(epoch="e", items=held)
    assert held._column is not None
    held._column[0] = 0

    assert 1 == mailbox.badge.unread
    assert 2 == recount(mailbox.items.values(), {}, more=False)["unread"]
