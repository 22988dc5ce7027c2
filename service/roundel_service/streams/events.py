"""What the contract's events say: one function a frame, from values to an `Event`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import msgspec

from roundel import CloseMessage, Cursor, Event, Position, ResumeInfo

from ..domain.badge import Badge
from ..domain.changes import Categories, Change
from ..domain.items import Item
from ..domain.mailbox import Mailbox

Maker: TypeAlias = Callable[[], Event]

PAGE = 50
"""How many items a snapshot tells."""


def cursor_of(mailbox: Mailbox) -> str:
    """Return the cursor of a client that has everything up to now."""
    return str(Cursor({"": Position(mailbox.epoch, mailbox.v)}))


def page(items: list[Item], limit: int) -> dict[str, Any]:
    """Return the first *limit* of *items*, newest first, and where the rest begins."""
    shown = items[:limit]
    following = shown[-1].seq if len(items) > limit else None
    return {"items": [item.document() for item in shown], "next": following}


def badge_event(badge: Badge) -> Event:
    """Tell the whole badge."""
    return _event("badge", badge.document())


def snapshot_event(mailbox: Mailbox, categories: Categories | None) -> Event:
    """Tell the newest items and the badge, of just these *categories* if given."""
    newest = [
        item
        for item in reversed(list(mailbox.items.values()))
        if categories is None or item.category in categories
    ]
    return _event(
        "snapshot",
        {
            "epoch": mailbox.epoch,
            "v": mailbox.v,
            "badge": mailbox.badge.filter(categories).document(),
            **page(newest, PAGE),
        },
    )


def change_event(change: Change, told: int) -> Event:
    """Tell what one version changed, to a reader that was *told* that one before."""
    document = {
        "epoch": change.badge.epoch,
        "from": told,
        "v": change.v,
        "ops": [step.document() for step in change.steps],
        "badge": change.badge.document(),
    }
    if change.op_id is not None:
        document["op_id"] = change.op_id
    return _event("change", document)


def hello_event(resume: ResumeInfo, *, ping: float, expires_in: float) -> Event:
    """Tell how the stream was resumed, and what to expect of it."""
    at = resume.cursor.positions[""]
    document = {
        "proto": 1,
        # Of the mailbox alone: where a resume key stands is nobody's business.
        "resume": resume.outcomes[""],
        "epoch": at.epoch,
        "v": at.offset,
        "ping": _seconds(ping),
        "max_age": _seconds(resume.max_age),
        "expires_in": _seconds(min(expires_in, 1e9)),
    }
    return _event("hello", document)


def ping_event(cursor: Cursor) -> Event:
    """Tell the version that the client should have by now."""
    return _ping(cursor.positions[""].offset)


@lru_cache(maxsize=1_024)
def _ping(v: int) -> Event:
    # Thousands of idle streams are at few versions, and events cannot be changed.
    return _event("ping", {"v": v})


@lru_cache(maxsize=64)
def auth_event(expires_in: float) -> Event:
    """Tell after how many seconds the proof of identity runs out."""
    return _event("auth", {"expires_in": _seconds(expires_in)})


def close_message(reason: CloseReason, retry: int) -> CloseMessage:
    """Say *why* the stream ends, and after how many milliseconds to come back."""
    return CloseMessage(_event("bye", {"reason": reason, "retry": retry}), retry)


CloseReason: TypeAlias = Literal[
    "drain", "max_age", "expired", "shed", "revoked", "slow"
]

RESET = Event('{"reason":"epoch"}', "reset")
"""Goes before the state of another epoch, in a running stream."""


def _seconds(value: float) -> float:
    return int(value) if value >= 1 else round(value, 3)


def _event(kind: str, document: dict[str, Any]) -> Event:
    return Event(_json(document), kind)


def _json(document: dict[str, Any]) -> str:
    return msgspec.json.encode(document).decode()
