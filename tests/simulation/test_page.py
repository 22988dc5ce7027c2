"""The rules by which a page applies events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roundel import Event
from roundel_service.streams.view_history import View

from .page import Page


def badge(v: int, epoch: str = "e", **by: int) -> dict[str, Any]:
    counts = {name: {"unread": unread, "unseen": 0} for name, unread in by.items()}
    total = sum(by.values())
    whole = {"epoch": epoch, "v": v, "unread": total, "unseen": 0, "more": False}
    return {**whole, "by": counts}


def change(since: int, v: int, epoch: str = "e") -> Event:
    steps = [{"add": {"id": f"i{v}"}}]
    document = {"epoch": epoch, "from": since, "v": v, "ops": steps}
    return event("change", {**document, "badge": badge(v, epoch, dm=v)})


def event(kind: str, document: object) -> Event:
    return Event(json.dumps(document), kind)


def hello(v: int, epoch: str = "e", resume: str = "current") -> Event:
    return event("hello", {"epoch": epoch, "v": v, "resume": resume})


@pytest.mark.parametrize(
    ("received", "is_contiguous", "v"),
    [
        (event("badge", badge(6)), True, 6),
        (event("badge", badge(4)), True, 5),
        (event("badge", badge(9, "other")), False, 5),
        (change(5, 7), True, 7),
        (change(3, 4), True, 5),
        (change(6, 7), False, 5),
        (change(5, 7, "other"), False, 5),
        (event("ping", {"epoch": "e", "v": 5}), True, 5),
        (event("ping", {"epoch": "e", "v": 4}), True, 5),
        (event("ping", {"epoch": "e", "v": 6}), False, 5),
        (event("ping", {"epoch": "other", "v": 3}), False, 5),
        (hello(5), True, 5),
        (hello(2, resume="reset"), True, -1),
        (hello(9, "other", "snapshot"), True, -1),
        (event("reset", {"reason": "epoch"}), True, -1),
        (event("bye", {"reason": "drain"}), True, 5),
    ],
)
def test_page_applies_newer_events_and_detects_gaps(received, is_contiguous, v):
    """A page at version 5 applies the events that follow it, and no other events."""
    page = Page(View("items"))
    page.apply(event("badge", badge(5)))

    assert is_contiguous == page.apply(received)
    assert v == page.v


def test_filtered_page_filters_a_whole_badge():
    """A fetched state is applied like a snapshot of the stream."""
    page = Page(View("badge", frozenset({"dm"})))
    page.apply(hello(4))
    page.apply_response(badge(5, dm=2, news=7))

    assert badge(5, dm=2) == page.badge


def test_late_response_starts_no_epoch():
    """After a reset only the stream starts an epoch; an old response has no effect."""
    page = Page(View("badge"))
    page.apply(event("badge", badge(5)))
    page.apply(event("reset", {"reason": "epoch"}))
    page.apply_response(badge(5))
    page.apply_relayed(event("badge", badge(5)))

    assert page.badge is None
