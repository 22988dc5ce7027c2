"""Why a badge is what it is: what counts, what does not, and what was done last."""

from __future__ import annotations

from typing import Any

from .changes import Change
from .items import Item
from .record import Record

LAST = 50
"""How many of the latest operations are told."""


def explanation(record: Record) -> dict[str, Any]:
    """Return the contract's JSON object for *record*; no item's text is in it."""
    mailbox = record.mailbox
    newest = list(mailbox.items.values())[::-1]
    return {
        "badge": mailbox.badge.document(),
        "counted": [_told(item) for item in newest if item.counts],
        "not_counted": [
            {**_told(item), "reason": "archived" if item.archived else "read"}
            for item in newest
            if not item.counts
        ],
        "gauges": [
            {
                "category": category,
                "count": gauge.count,
                "source_version": gauge.source_version,
            }
            for category, gauge in mailbox.gauges.items()
        ],
        "operations": [
            _operation(change) for change in record.changes[: -LAST - 1 : -1]
        ],
    }


def _told(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "seq": item.seq,
        "category": item.category,
        "key": item.key,
        "source": item.source,
        "seen": item.seen,
        "expires_at": item.expires_at,
    }


def _operation(change: Change) -> dict[str, Any]:
    steps = [step.document() for step in change.steps]
    return {
        "v": change.v,
        "at": change.time,
        "by": change.by,
        "operation": change.operation,
        "steps": [
            {"add": step["add"]["id"]} if "add" in step else step for step in steps
        ],
        "unread": change.badge.unread,
    }
