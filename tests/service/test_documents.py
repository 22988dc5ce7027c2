"""The JSON documents of badges, items and change steps have the contract's fields."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from roundel_service.documents import (
    badge_document,
    encode_json,
    encoded_item,
    step_document,
    step_documents,
)
from roundel_service.domain.badge import Badge
from roundel_service.domain.changes import Added, Flagged, Removed
from roundel_service.domain.content import encode_content
from roundel_service.domain.items import Count, Item

ITEM = Item(
    id="i", seq=3, category="c", key="k", source=None, created_at=7.5, expires_at=None,
    content=encode_content("t", body="b", url="/u", data={"x": [1]}),
    size=99, seen=True,
)  # fmt: skip
ITEM_JSON = (
    '{"id":"i","seq":3,"category":"c","title":"t","body":"b","url":"/u","icon":null,'
    '"data":{"x":[1]},"key":"k","source":null,"topic":null,"created_at":7.5,"expires_at":null,"updated_at":null,'
    '"seen":true,"read":false,"archived":false}'
)
FLAGS = {"archived": False, "read": True, "seen": True}


def encoded(document: object) -> str:
    return msgspec.json.encode(document).decode()


def test_badge():
    """A badge has its version, its sums and its categories, in this order."""
    badge = Badge("e", 7, 5, 1, True, {"a": Count(2, 1), "b": Count(3)})

    assert encoded(badge_document(badge)) == (
        '{"epoch":"e","v":7,"unread":5,"unseen":1,"more":true,'
        '"by":{"a":{"unread":2,"unseen":1},"b":{"unread":3,"unseen":0}}}'
    )


def test_item():
    """An item has all its fields, null too, except its size."""
    assert ITEM_JSON == encoded(encoded_item(ITEM))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(
            Flagged({"1": "a", "2": "b"}, {"read": True, "seen": True}),
            '{"set":["1","2"],"read":true,"seen":true}', id="some flags",
        ),
        pytest.param(
            Flagged({"1": "a"}, FLAGS),
            '{"set":["1"],"archived":false,"read":true,"seen":true}', id="all flags",
        ),
        pytest.param(
            Removed({"1": "b", "2": "a"}, "evicted"),
            '{"remove":["1","2"],"reason":"evicted"}', id="remove",
        ),
    ],
)  # fmt: skip
def test_step(step, expected):
    """A step names its ids and flags; a flag that it leaves alone is absent."""
    assert expected == encoded(step_document(step))
    assert f"[{expected}]" == encoded(step_documents([step], {}))


FLAGS_OFF = replace(ITEM, seen=False, read=False, archived=False)


@pytest.mark.parametrize(
    ("added", "held", "expected"),
    [
        pytest.param(Added("i", "c", 3), {"i": ITEM}, FLAGS_OFF, id="held"),
        pytest.param(Added("i", "c", 3), {}, None, id="gone"),
        pytest.param(Added("i", "c", 2), {"i": ITEM}, None, id="came again"),
    ],
)
def test_added_item(added, held, expected):
    """An added item has the text that it has now, without flags, or is left out."""
    add = [] if expected is None else [{"add": encoded_item(expected)}]

    assert encoded(add) == encoded(step_documents([added], held))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a", '"a"', id="ASCII"),
        pytest.param("é…日😀", '"é…日😀"', id="no separator"),
        pytest.param("a\u2028b", '"a\\u2028b"', id="line separator"),
        pytest.param("\u2029", '"\\u2029"', id="paragraph separator"),
        pytest.param("\x85\x85", '"\\u0085\\u0085"', id="next line"),
        pytest.param("\\\u2028\\", r'"\\\u2028\\"', id="behind a backslash"),
        pytest.param("‧‪", '"‧‪"', id="neighbours of the separators"),
        pytest.param("\x84Å\u1085", '"\x84Å\u1085"', id="the same bytes elsewhere"),
        pytest.param({"\u2028": [1]}, '{"\\u2028":[1]}', id="a name"),
        pytest.param("\v\f\x1c\x1d\x1e\r\n", None, id="control characters"),
    ],
)
def test_encoded_json_is_one_line(text, expected):
    """Separators of lines are escapes; all other text is as the encoder writes it."""
    encoded = encode_json(text).decode()

    assert encoded == (expected or msgspec.json.encode(text).decode())
    assert [encoded] == encoded.splitlines()
    assert text == msgspec.json.decode(encoded)
