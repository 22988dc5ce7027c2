"""The content of an item: one piece of JSON, which is made once and copied."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from roundel_service.documents import encoded_item
from roundel_service.domain.content import (
    ItemContent,
    decode_content,
    encode_content,
    merge_content,
)
from roundel_service.domain.items import MailboxLimits
from roundel_service.domain.operations import Expire, Notify, Retract, Update
from support.mailboxes import apply_all, mailbox_after, note, ops

FULL = encode_content("t", body="b", url="/u", icon="/i", data={"b": 1, "a": [2]})
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "title": st.text(max_size=4),
        **dict.fromkeys(("body", "url", "icon"), st.none() | st.text(max_size=4)),
        "data": JSON_VALUES,
    },
)


def test_all_fields_in_order():
    """A content has each field, also the empty ones, always in the same order."""
    assert b'{"title":"t","body":null,"url":null,"icon":null,"data":null}' == (
        encode_content("t")
    )
    assert [*json.decode(FULL)] == ["title", "body", "url", "icon", "data"]
    assert ItemContent("t", "b", "/u", "/i", {"b": 1, "a": [2]}) == decode_content(FULL)


@given(FIELDS, FIELDS)
def test_merge_sets_the_named_fields(old, new):
    """The named fields are set; the bytes are those of a content made with them."""
    before = {"title": "t"} | old
    merged = merge_content(encode_content(**before), json.encode(new))

    assert encode_content(**(before | new)) == merged


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        pytest.param({}, True, id="nothing"),
        pytest.param({"title": "t", "data": {"b": 1, "a": [2]}}, True, id="the same"),
        pytest.param({"data": {"b": 1.0, "a": [2]}}, False, id="1 and 1.0 differ"),
        pytest.param({"data": {"b": True, "a": [2]}}, False, id="1 and true differ"),
        pytest.param({"body": None}, False, id="none"),
    ],
)
def test_update_with_the_same_content(changed, same):
    """An update that changes no byte of the content makes no version."""
    update = Update(which=Retract(source="s"), content=json.encode(changed))
    new = note("1", title="t", body="b", source="s", data={"b": 1, "a": [2]})
    *_, applied = apply_all(new, update)

    assert same is (applied.change is None)


def test_content_is_shared():
    """The mailboxes of all recipients hold the same bytes: none is copied."""
    content = encode_content("t")
    held = [
        mailbox_after(Notify(id=user, category="c", content=content)).items[user]
        for user in ("alice", "bob")
    ]

    assert all(item.content is content for item in held)


def test_no_content_is_read():
    """The reducer reads no content but that of an update."""
    opaque = Notify(id="1", category="c", content=b"not JSON", source="s", ttl=9.0)
    limits = MailboxLimits(items=2)
    applied = apply_all(
        opaque, ops({"read": ["1"]}), note("2"), note("3"), opaque,
        Retract(source="s"), opaque, 9.0, Expire(), limits=limits,
    )  # fmt: skip

    assert 1 == applied[-1].badge.unread


@given(FIELDS, st.text(min_size=1, max_size=4), st.none() | st.text(max_size=4))
def test_document_joins_content_and_fields(content, name, key):
    """The JSON of an item has the fields of the content between its own."""
    new = Notify(
        id=name, category="c", content=encode_content(**{"title": "t"} | content),
        key=key, source="s", ttl=5.0,
    )  # fmt: skip
    item = mailbox_after(new, ops({"read": [name]})).items[name]
    empty = dict.fromkeys(("body", "url", "icon", "data"))
    found = json.decode(json.encode([encoded_item(item)]))

    assert [
        {"id": name, "seq": 1, "category": "c", "title": "t"} | empty | content
        | {"key": key, "source": "s", "created_at": 0.0, "expires_at": 5.0}
        | {"topic": None, "updated_at": None}
        | {"seen": True, "read": True, "archived": False}
    ] == found  # fmt: skip
