"""What a mailbox holds, and what can be done to it: values, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, final

import attrs


@final
@attrs.frozen(kw_only=True)
class Item:
    """One notification; *seq* is the version at which it appeared.

    Times are seconds since 1970. *size* is what it counts against the bound of
    bytes, and is not told to anybody.
    """

    id: str
    seq: int
    category: str
    title: str
    body: str | None
    url: str | None
    icon: str | None
    key: str | None
    source: str | None
    data: object
    created_at: float
    expires_at: float | None
    size: int
    seen: bool = False
    read: bool = False
    archived: bool = False

    @property
    def counts(self) -> bool:
        """Whether the badge counts it."""
        return not (self.read or self.archived)

    def document(self) -> dict[str, Any]:
        """Return the item as the contract's JSON object."""
        return attrs.asdict(
            self, recurse=False, filter=lambda field, _: field.name != "size"
        )


@final
@attrs.frozen(kw_only=True)
class Notify:
    """Put an item in, new under *id*; it replaces that of its category and *key*.

    *ttl* is in seconds, *size* in bytes of JSON.
    """

    id: str
    category: str
    title: str
    body: str | None = None
    url: str | None = None
    icon: str | None = None
    key: str | None = None
    source: str | None = None
    data: object = None
    ttl: float | None = None
    size: int = 0


@final
@attrs.frozen(kw_only=True)
class Mark:
    """Set *flags* on the items that all of the given conditions select."""

    flags: Mapping[str, bool]
    ids: frozenset[str] | None = None
    upto: int | None = None
    category: str | None = None

    def selects(self, item: Item) -> bool:
        """Tell whether the flags of *item* are to be set."""
        return (
            (self.ids is None or item.id in self.ids)
            and (self.upto is None or item.seq <= self.upto)
            and (self.category is None or item.category == self.category)
        )

    def set_on(self, item: Item) -> Item:
        """Return *item* with the flags set."""
        flags = self.flags
        return attrs.evolve(
            item,
            seen=flags.get("seen", item.seen),
            read=flags.get("read", item.read),
            archived=flags.get("archived", item.archived),
        )


@final
@attrs.frozen(kw_only=True)
class MarkAll:
    """Do several marks as one change; again with the same *op_id*, nothing."""

    marks: tuple[Mark, ...]
    op_id: str


@final
@attrs.frozen
class Expire:
    """Let the items go whose time is over."""


Operation: TypeAlias = Notify | MarkAll | Expire
