"""The body of `POST /v1/update`."""

from __future__ import annotations

from typing import Any, final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ...domain.operations import Retract, Update
from .fields import Category, ItemId, Text, Ttl
from .notify import Recipients, check_topic_ttl
from .selection import check_selection


@final
class UpdatedFields(Struct, forbid_unknown_fields=True):
    """The new values of some fields; *ttl* is in seconds from now."""

    title: Text | UnsetType = UNSET
    body: str | UnsetType | None = UNSET
    url: str | UnsetType | None = UNSET
    icon: str | UnsetType | None = UNSET
    # Objects are made from it if it is small enough; see `decoding.decode_data()`.
    data: Raw | UnsetType = UNSET
    ttl: Ttl | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        """Raise `ValueError` without a field."""
        if not self.given():
            raise ValueError("expected at least one field")

    def given(self) -> dict[str, Any]:
        """Return the fields that are named, by name."""
        values = msgspec.structs.asdict(self)
        return {name: value for name, value in values.items() if value is not UNSET}


@final
class UpdateRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/update`: one selection of items, and their new values."""

    to: Recipients
    set: UpdatedFields
    source: Text | UnsetType = UNSET
    key: Text | UnsetType = UNSET
    category: Category | UnsetType = UNSET
    id: ItemId | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Raise `ValueError` for other than one selection, and for a bad *ttl*."""
        check_selection(self)
        check_topic_ttl(self.to, self.set.ttl)

    def operation(self, data: object) -> Update:
        """Return the operation on one mailbox, with the decoded *data*."""
        content = self.set.given()
        expires, ttl = "ttl" in content, content.pop("ttl", None) or None
        if "data" in content:
            content["data"] = data
        which = Retract(
            source=self.source or None,
            category=self.category or None,
            key=self.key or None,
            id=self.id or None,
        )
        encoded = msgspec.json.encode(content)
        return Update(which=which, content=encoded, expires=expires, ttl=ttl)
