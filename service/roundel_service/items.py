"""What a mailbox holds: values, without behaviour."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any, final

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
        return {name: getattr(self, name) for name in _TOLD}


def next_end(items: Iterable[Item]) -> float:
    """Return when the first of *items* expires; ``inf`` is never."""
    ends = [item.expires_at for item in items if item.expires_at is not None]
    return min(ends, default=inf)


_TOLD = tuple(f.name for f in attrs.fields(Item) if f.name != "size")


@final
@attrs.frozen
class Gauge:
    """A *count* that another database owns, as of its own *source_version*."""

    count: int
    source_version: int


@final
@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of one mailbox: *items* by count, their JSON by *bytes*.

    *categories* bounds how many there are of items and gauges together.
    """

    items: int = 200
    bytes: int = 262_144
    categories: int = 64
