"""What can be done to a mailbox: one value for each kind of operation.

*by* says who does it, and *name* what it is called when it is explained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeAlias, final

import attrs

from .items import Item


@final
@attrs.frozen(kw_only=True)
class Notify:
    """Put an item in, new under *id*; it replaces that of its category and *key*.

    *ttl* is in seconds, *size* in bytes of JSON. Again with the same *op_id*: nothing.
    """

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "notify"

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
    op_id: str | None = None


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


@final
@attrs.frozen(kw_only=True)
class MarkAll:
    """Do several marks as one change; again with the same *op_id*, nothing."""

    by: ClassVar[str] = "user"
    name: ClassVar[str] = "ops"

    marks: tuple[Mark, ...]
    op_id: str


@final
@attrs.frozen
class Expire:
    """Let the items go whose time is over."""

    by: ClassVar[str] = "time"
    name: ClassVar[str] = "expire"


@final
@attrs.frozen(kw_only=True)
class Retract:
    """Take back the items of a *source*, or those of a *category* and *key*."""

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "retract"

    source: str | None = None
    category: str | None = None
    key: str | None = None

    def selects(self, item: Item) -> bool:
        """Tell whether *item* is to go."""
        if self.source is not None:
            return item.source == self.source
        return self.key is not None and (item.category, item.key) == (
            self.category,
            self.key,
        )


@final
@attrs.frozen(kw_only=True)
class SetGauge:
    """Set the count of *category*, unless a *source_version* as new is there."""

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "gauge"

    category: str
    count: int
    source_version: int


@final
@attrs.frozen
class DeleteGauge:
    """Remove the gauge of *category*."""

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "gauge"

    category: str


@final
@attrs.frozen(kw_only=True)
class Disconnect:
    """End the user's streams; with *revoke*, refuse all proofs issued before."""

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "disconnect"

    revoke: bool = False


@final
@attrs.frozen
class DeleteUser:
    """Forget all that the mailbox held; a line of versions begins in *epoch*."""

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "forget"

    epoch: str


@final
@attrs.frozen
class StartNewEpoch:
    """Go on with all that the mailbox holds, in a line of versions named *epoch*."""

    by: ClassVar[str] = "time"
    name: ClassVar[str] = "renew"

    epoch: str


Operation: TypeAlias = (
    Notify
    | MarkAll
    | Expire
    | Retract
    | SetGauge
    | DeleteGauge
    | Disconnect
    | DeleteUser
    | StartNewEpoch
)
