"""The JSON documents of domain values, as dictionaries."""

from __future__ import annotations

from typing import Any

import msgspec

from roundel_service.documents import badge_document, item_document, step_document
from roundel_service.domain.badge import Badge
from roundel_service.domain.changes import Added, Step
from roundel_service.domain.items import Item


def document(value: Badge | Item | Step) -> dict[str, Any]:
    """Return the JSON document of *value*."""
    match value:
        case Badge():
            return msgspec.to_builtins(badge_document(value))
        case Item():
            return msgspec.to_builtins(item_document(value))
        case Added():
            return {"add": {"id": value.id, "category": value.category}}
        case _:
            return msgspec.to_builtins(step_document(value))
