"""Operations on a mailbox: one class for each kind.

*by* is the kind of caller, and *name* the operation's name in an explanation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeAlias, final

from msgspec import Struct, field

from .changes import RemovalReason
from .items import Item
from .subscriptions import Muted, Since


@final
class Notify(Struct, frozen=True, gc=False, kw_only=True):
    """Adds an item; it replaces the item with the same category and *key*.

    *content* is JSON, as `encode_content()` returns it. The new item also replaces the
    item whose id is *replaces*. If it is *quiet*, an item with the same category and
    key gets the new content in place, and stays as it is otherwise. With *at*, in
    seconds since 1970, it waits until then, and is sent then. *ttl* is in seconds from
    then, *size* in bytes of JSON. A repeated *op_id* has no effect.
    """

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "notify"

    id: str
    category: str
    content: bytes
    key: str | None = None
    source: str | None = None
    ttl: float | None = None
    quiet: bool = False
    replaces: str | None = None
    at: float | None = None
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
    """Removes the items with these *ids* for good, snoozed ones too."""

    ids: frozenset[str]


@final
class Snooze(Struct, frozen=True, gc=False):
    """Lets the items with these *ids* wait *until* a time in seconds since 1970."""

    ids: frozenset[str]
    until: float


@final
class Unsnooze(Struct, frozen=True, gc=False):
    """Ends the wait of the snoozed items with these *ids*."""

    ids: frozenset[str]


@final
class UserOps(Struct, frozen=True, gc=False, kw_only=True):
    """Applies several *ops* of a user as one change; a repeated *op_id* has no effect.

    *digest* identifies the ops: an *op_id* with another digest is not a repetition.
    """

    by: ClassVar[str] = "user"
    name: ClassVar[str] = "ops"

    ops: tuple[Mark | Remove | Snooze | Unsnooze, ...]
    op_id: str
    digest: str = ""


@final
class Refresh(Struct, frozen=True, gc=False):
    """Brings the mailbox up to date, and does nothing else.

    Expired items go, items that waited appear, and what is new in the topics is pulled.
    Every other operation does the same first.
    """

    by: ClassVar[str] = "time"
    name: ClassVar[str] = "refresh"


@final
class Retract(Struct, frozen=True, gc=False, kw_only=True):
    """Removes the items of a *source*, or one item by *id*, or *category* and *key*.

    With *everything* it removes all. Items that wait are removed too; items that were
    pulled from a topic are not: they go when they leave the topic.
    """

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "retract"

    source: str | None = None
    category: str | None = None
    key: str | None = None
    id: str | None = None
    everything: bool = False

    def selects(self, item: Item) -> bool:
        """Return whether *item* matches."""
        if item.topic is not None:
            return False
        if self.everything:
            return True
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
    """Changes the items that *which* selects in place, waiting items too.

    *content* is a JSON object with the new values of some fields, such as ``"title"``.
    With *expires* they expire *ttl* seconds from now, or never if it is `None`.
    """

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "update"

    which: Retract
    content: bytes
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
class Subscribe(Struct, frozen=True, gc=False, kw_only=True):
    """Lets the user follow *topic*; an existing subscription stays as it is.

    *since* says which items of the topic are pulled: new ones only, all that it holds,
    or items created at a time in seconds since 1970 or later.
    """

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "subscribe"

    topic: str
    since: Since = "now"


@final
class Unsubscribe(Struct, frozen=True, gc=False):
    """Ends the subscription to *topic*, whose items go; `ALL` cannot be left."""

    by: ClassVar[str] = "producer"
    name: ClassVar[str] = "unsubscribe"

    topic: str


@final
class ClaimTopics(Struct, frozen=True, gc=False, kw_only=True):
    """Sets the topics that the user follows according to a token.

    *topics* maps names to times: items created at that time or later are pulled, all at
    0. Topics of an earlier token that this one does not name are left, those of a
    producer stay. A token issued before the one that was seen last has no effect.
    *issued_at* is in seconds since 1970.
    """

    by: ClassVar[str] = "user"
    name: ClassVar[str] = "claim"

    topics: Mapping[str, float]
    issued_at: float


@final
class SetMuted(Struct, frozen=True, gc=False):
    """Sets what the badge does not count; the items stay in the list.

    *by* is ``"producer"`` if a producer sets it for the user.
    """

    name: ClassVar[str] = "mute"

    muted: Muted
    by: str = "user"


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
    """Empties the mailbox and starts the new *epoch* at version 0.

    Of the topic `ALL` only what appears from now on is pulled.
    """

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
    | Refresh
    | Retract
    | Update
    | SetGauge
    | DeleteGauge
    | Subscribe
    | Unsubscribe
    | ClaimTopics
    | SetMuted
    | Disconnect
    | CorrectRevocation
    | DeleteUser
    | StartNewEpoch
)


@final
class Expire(Struct, frozen=True, gc=False):
    """Removes the expired items: one version of a `Refresh`."""

    by: ClassVar[str] = "time"
    name: ClassVar[str] = "expire"


@final
class Appear(Struct, frozen=True, gc=False, kw_only=True):
    """Ends the wait of the item *id*, which appears as new: one version.

    *by* is ``"user"`` and *op_id* is set if an `Unsnooze` ends it.
    """

    name: ClassVar[str] = "appear"

    id: str
    by: str = "time"
    op_id: str | None = None


@final
class Pull(Struct, frozen=True, gc=False, kw_only=True):
    """Brings the items of *topic* one version closer to the state of the topic.

    *removed* maps reasons to the ids of copies that go, *updated* are items whose text
    differs, and *added* appears. If *is_incomplete*, items were evicted from the topic
    before they were pulled.
    """

    by: ClassVar[str] = "topic"
    name: ClassVar[str] = "pull"

    topic: str
    removed: Mapping[RemovalReason, Sequence[str]] = field(default_factory=dict)
    updated: Sequence[Item] = ()
    added: Item | None = None
    is_incomplete: bool = False


VersionOperation: TypeAlias = Expire | Appear | Pull
"""An operation of one version, as `Record.apply()` derives it."""
