"""The JSON documents of domain values, as dictionaries."""

from __future__ import annotations

from typing import Any

import msgspec

from roundel_service.documents import badge_document, encoded_item, step_document
from roundel_service.domain.badge import Badge
from roundel_service.domain.changes import Added, Step
from roundel_service.domain.items import Item


def plain(document: object) -> Any:
    """Return a document, or a list of documents, as plain values."""
    return msgspec.json.decode(msgspec.json.encode(document))


def document(value: Badge | Item | Step) -> dict[str, Any]:
    """Return the JSON document of *value*."""
    match value:
        case Badge():
            return plain(badge_document(value))
        case Item():
            return plain(encoded_item(value))
        case Added():
            return {"add": {"id": value.id, "category": value.category}}
        case _:
            return plain(step_document(value))
