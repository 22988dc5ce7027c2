"""The types of options."""

from __future__ import annotations

import time

import click
import pytest

from roundel_service.cli.options import parse_time

CHRISTMAS = 1_798_131_600.0
"""18:00 in Berlin on 24 December 2026."""


@pytest.mark.parametrize(
    "text",
    [
        "1798131600",
        "1798131600.0",
        "2026-12-24T17:00Z",
        "2026-12-24T18:00+01:00",
        "2026-12-24 18:00:00+01:00",
        "2026-12-24T18:00",
    ],
)
def test_time_is_a_number_or_iso_8601(monkeypatch, text):
    """A time without an offset is one of the machine's time zone."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        found = parse_time(text)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert CHRISTMAS == found


@pytest.mark.parametrize("text", ["soon", "nan", "inf", "2026-13-01", "18:00", ""])
def test_other_text_is_no_time(text):
    """The error shows the text, and what is expected."""
    with pytest.raises(click.UsageError, match="is not a time"):
        parse_time(text)
