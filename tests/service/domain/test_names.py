"""The rules for names of users and categories."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundel_service.domain.names import CATEGORY_NAME, USER_NAME, check_user_name

GOOD_NAMES = {
    "one": "a",
    "auth0": "auth0|507f1f77bcf86cd799439011",
    "google": "google-oauth2|113",
    "slash": "a/b",
    "only-slashes": "//",
    "quote": "o'brien@x.example",
    "accent": "jos\u00e9",
    "two-part-accent": "jose\u0301",
    "uri": "spiffe://a/b",
    "space-inside": "a b",
    "braces": "{x}",
    "escape": "%2F",
    "dots": "..",
    "hash-inside": "a#",
    "line-separator-inside": "a\u2028b",
    "no-break-space-inside": "a\u00a0b",
    "byte-order-mark": "\ufeffa",
    "zero-width": "\u200b",
    "emoji": "\U0001f600",
    "last-code-point": "\U0010ffff",
    "replacement": "\ufffd",
    "255-characters": "u" * 255,
    "512-bytes": "\U0001f600" * 128,
}
BAD_NAMES = {
    "": "1 to 255 characters, got 0",
    "u" * 256: "1 to 255 characters, got 256",
    "#a": "no # at the beginning",
    "a\n": "no control characters",
    "\0": "no control characters",
    "a\x7fb": "no control characters",
    "a\x85b": "no control characters",
    "a\x1f": "no control characters",
    "a\ud800": "valid UTF-8 without lone surrogates",
    "\udc80": "valid UTF-8 without lone surrogates",
    " a": "no white space at the ends",
    "a ": "no white space at the ends",
    " ": "no white space at the ends",
    "\u00a0a": "no white space at the ends",
    "a\u2028": "no white space at the ends",
    "a\u3000": "no white space at the ends",
    "\u20ac" * 171: "at most 512 bytes in UTF-8, got 513",
}


@pytest.mark.parametrize("name", GOOD_NAMES.values(), ids=GOOD_NAMES)
def test_subjects_of_identity_providers_are_user_names(name):
    """Every text that a provider may issue as `sub` is a user name."""
    assert check_user_name(name) is None


@pytest.mark.parametrize(
    ("name", "reason"), BAD_NAMES.items(), ids=map(ascii, BAD_NAMES)
)
def test_reason_says_what_a_name_lacks(name, reason):
    """A name that does not fit gets the rule that it breaks."""
    assert check_user_name(name) == f"expected {reason}"


CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(" #a\n\u2028")


@given(st.text(CHARACTERS, max_size=100))
def test_pattern_allows_what_the_check_allows(name):
    """The pattern in the OpenAPI document and the check agree, apart from lengths."""
    reason = check_user_name(name)

    matches = re.fullmatch(USER_NAME, name) is not None
    assert matches == (reason is None)


@pytest.mark.parametrize(
    ("name", "valid"),
    [("a", True), ("a.z_-9", True), ("c" * 64, True), ("c" * 65, False)]
    + [(name, False) for name in ("", "A", "a b", "a,b", "é", "a\n")],
)
def test_category_name(name, valid):
    """A category name is lower case and contains no comma."""
    assert valid == (re.fullmatch(CATEGORY_NAME, name) is not None)
