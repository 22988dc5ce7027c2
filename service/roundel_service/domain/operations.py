"""Operations on a mailbox: one class for each kind.

*by* is the kind of caller, and *name* the operation's name in an explanation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias, final

from msgspec import Struct

from .items import Item


@final
class Notify(Struct, frozen=True, gc=False, kw_only=True):
    """Adds an item; it replaces the item with the same category and *key*.

    It also replaces the item whose id is *replaces*. If it is *quiet*, an item with the
    same category and key gets the new content in place, and stays as it is otherwise.
    *ttl* is in seconds, *size* in bytes of JSON. A repeated *op_id* has no effect.
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
    quiet: bool = False
    replaces: str | None = None
    size: int = 0
    op_id: str | None = None


@final
class Mark(Struct, frozen=True, gc=False, kw_only=True):
    """Sets *flags* on the items that match all given conditions."""

    flags: Mapping[str, bool]
    ids: frozenset[str] | None = None
    upto: int | None = None
    category: str | None = None

    def selects(self, item: Item) -> bool:
        """Return whether *item* matches all conditions."""
        return (
            (self.ids is None or item.id in self.ids)
            and (self.upto is None or item.seq <= self.upto)
            and (self.category is None or item.category == self.category)
        )


@final
class Remove(Struct, frozen=True, gc=False):
    """Removes the items with these *ids* for good."""

    ids: frozenset[str]


@final
class UserOps(Struct, frozen=True, gc=False, kw_only=True):
    """Applies several *ops* of a user as one change; a repeated *op_id* has no effect.

    *digest* identifies the ops: an *op_id* with another digest is not a repetition.
    """

    by: ClassVar[str] = "user"
    name: ClassVar[str] = "ops"

    ops: tuple[Mark | Remove, ...]
    op_id: str
    digest: str = ""


@final
class Expire(Struct, frozen=True, gc=False):
    """Removes the expired items."""

    by: ClassVar[str] = "time"
    name: ClassVar[str] = "expire"


@final
class Retract(Struct, frozen=True, gc=False, kw_only=True):
    """Removes the items of a *source*, or one item by *id*, or *category* and *key*."""

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "retract"

    source: str | None = None
    category: str | None = None
    key: str | None = None
    id: str | None = None

    def selects(self, item: Item) -> bool:
        """Return whether *item* matches."""
        if self.id is not None:
            return item.id == self.id
        if self.source is not None:
            return item.source == self.source
        return self.key is not None and (item.category, item.key) == (
            self.category,
            self.key,
        )


@final
class Update(Struct, frozen=True, gc=False, kw_only=True):
    """Changes the items that *which* selects, in place.

    *content* maps names of fields, such as ``"title"``, to new values. With *expires*
    they expire *ttl* seconds from now, or never if it is `None`.
    """

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "update"

    which: Retract
    content: Mapping[str, Any]
    expires: bool = False
    ttl: float | None = None


@final
class SetGauge(Struct, frozen=True, gc=False, kw_only=True):
    """Sets the count of *category* if *source_version* is newer than the stored one."""

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "gauge"

    category: str
    count: int
    source_version: int


@final
class DeleteGauge(Struct, frozen=True, gc=False):
    """Removes the gauge of *category*."""

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "gauge"

    category: str


@final
class Disconnect(Struct, frozen=True, gc=False, kw_only=True):
    """Closes the user's streams; *revoke* also rejects all earlier tokens.

    *issued_before* is a time of their issuer's clock; by default it is now.
    """

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "disconnect"

    revoke: bool = False
    issued_before: float | None = None


@final
class CorrectRevocation(Struct, frozen=True, gc=False):
    """Stores that a revocation of the future was made now."""

    by: ClassVar[str] = "time"
    name: ClassVar[str] = "correct"


@final
class DeleteUser(Struct, frozen=True, gc=False):
    """Empties the mailbox and starts the new *epoch* at version 0."""

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "forget"

    epoch: str


@final
class StartNewEpoch(Struct, frozen=True, gc=False):
    """Keeps the contents of the mailbox and starts the new *epoch*."""

    by: ClassVar[str] = "time"
    name: ClassVar[str] = "renew"

    epoch: str


Operation: TypeAlias = (
    Notify
    | UserOps
    | Expire
    | Retract
    | Update
    | SetGauge
    | DeleteGauge
    | Disconnect
    | CorrectRevocation
    | DeleteUser
    | StartNewEpoch
)
