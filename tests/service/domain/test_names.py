"""The rules for names of users and categories."""

from __future__ import annotations

import re

import pytest

from roundel_service.domain.names import CATEGORY_NAME, is_user_name


@pytest.mark.parametrize(
    ("name", "valid"),
    [("a", True), ("A.z_~@:+-9", True), ("u" * 128, True), ("u" * 129, False)]
    + [(name, False) for name in ("", "a b", "a/b", "é", "a\n")],
)
def test_user_name(name, valid):
    """A user name needs no quoting in a URL, a log line or a key of a store."""
    assert valid == is_user_name(name)


@pytest.mark.parametrize(
    ("name", "valid"),
    [("a", True), ("a.z_-9", True), ("c" * 64, True), ("c" * 65, False)]
    + [(name, False) for name in ("", "A", "a b", "a,b", "é", "a\n")],
)
def test_category_name(name, valid):
    """A category name is lower case and contains no comma."""
    assert valid == (re.fullmatch(CATEGORY_NAME, name) is not None)
