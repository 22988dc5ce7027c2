"""Origins and patterns; `tests/contract/test_cors.py` has what is allowed."""

from __future__ import annotations

import pytest

from roundel_service.http.origins import MAX_ORIGIN, parse_origin, patterns_of


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Example.ORG:443", "https://example.org"),
        ("http://*.Bücher.example:80", "http://*.xn--bcher-kva.example"),
        ("http://[2001:DB8:0:0:0:0:0:1]:8080", "http://[2001:db8::1]:8080"),
        ("App://Host:1", "app://Host:1"),
        ("APP://*.Host.example", "app://*.host.example"),
    ],
)
def test_origin_is_kept_as_browsers_write_it(text, origin):
    """Case, default port, names that are not ASCII and addresses have one form."""
    assert origin == parse_origin(text)
    assert origin == parse_origin(origin)


def test_origin_matches_the_patterns_of_its_parents():
    """Each parent of a host has one pattern, of the same scheme and port."""
    assert ["https://*.b.c:1", "https://*.c:1"] == [*patterns_of("https://a.b.c:1")]
    assert [] == [*patterns_of("https://localhost")]


@pytest.mark.parametrize(
    "character", [*"/?#@\\[]%*: \t\r\n\0,;\"'()", "é", "A", "\u017f"]
)
def test_untrusted_origin_has_host_names_only(character):
    """A character that no host name has never matches a pattern."""
    for origin in (
        f"https://a{character}.example.org",
        f"https://{character}.example.org",
        f"https://a.{character}example.org",
        f"https://a.example.org{character}",
        f"{character}https://a.example.org",
    ):
        assert "https://*.example.org" not in patterns_of(origin)


def test_long_origin_matches_no_pattern():
    """The work for an untrusted origin is bounded."""
    rest = ".example.org"
    longest = "https://" + "a" * (MAX_ORIGIN - len(rest) - 8) + rest

    assert "https://*.example.org" in patterns_of(longest)
    assert [] == [*patterns_of(f"{longest}x")]
