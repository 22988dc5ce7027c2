"""The nesting depth of JSON values."""

from __future__ import annotations

import json

import pytest

from roundel_service.domain.content import is_deeper

DEPTHS = {
    "text": ('"[[["', 0),
    "empty list": ("[]", 1),
    "empty object": ("{}", 1),
    "both": ('[{"a": [1]}, 2]', 3),
    "wide": ("[[], [], [[]], []]", 3),
}


@pytest.mark.parametrize(("text", "depth"), DEPTHS.values(), ids=DEPTHS)
def test_depth(text, depth):
    """A list or object is one level, and each that it contains is one more."""
    value = json.loads(text)

    assert not is_deeper(value, depth)
    assert depth == 0 or is_deeper(value, depth - 1)


def test_any_depth():
    """A value that no recursive function could walk has a depth too."""
    value: list = []
    for _ in range(100_000):
        value = [value]

    assert is_deeper(value, 99_999)
    assert not is_deeper(value, 100_001)
