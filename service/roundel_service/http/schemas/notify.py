"""The body of `POST /v1/notify`, and of a line of a batch."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Literal, final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from ...domain.content import encode_content
from ...domain.names import ALL
from ...domain.operations import Notify
from .fields import (
    MAX_AHEAD,
    MAX_TOPIC_TTL,
    MAX_USERS,
    NULL,
    Category,
    FutureTime,
    Topic,
    Ttl,
    User,
    hash_json,
)


@final
class Recipients(Struct, forbid_unknown_fields=True):
    """The recipients: one *user*, up to 1,000 *users*, a *topic*, or *all*.

    The name of a user is checked later: a bad one is a problem of that recipient alone.
    """

    user: User | UnsetType = UNSET
    users: (
        Annotated[list[User], Meta(min_length=1, max_length=MAX_USERS)] | UnsetType
    ) = UNSET
    topic: Topic | UnsetType = UNSET
    all: Literal[True] | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Raise `ValueError` unless there is exactly one field."""
        # Each line of a batch is counted: a generator takes three times as long.
        fields = (self.user, self.users, self.topic, self.all)
        if fields.count(UNSET) != len(fields) - 1:
            raise ValueError("expected exactly one of user, users, topic and all")

    @property
    def topic_name(self) -> str | None:
        """The topic, which *all* names too; `None` for users."""
        if self.all is not UNSET:
            return ALL
        return None if self.topic is UNSET else self.topic

    @property
    def topic_count(self) -> int:
        """The number of topics: 1 or 0."""
        return int(self.topic_name is not None)


def check_topic_ttl(to: Recipients, ttl: float | UnsetType | None) -> None:
    """Raise `ValueError` for a *ttl* in seconds that items of a topic cannot have.

    All of them expire: a user pulls what the topic still holds, however late.
    """
    if to.topic_name is None or isinstance(ttl, UnsetType):
        return
    if ttl is None or not 1 <= ttl <= MAX_TOPIC_TTL:
        raise ValueError(f"expected ttl from 1 to {MAX_TOPIC_TTL} to a topic")


@final
class NotifyRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/notify`.

    *ttl* is in seconds, and *at* in seconds since 1970.
    """

    to: Recipients
    title: Annotated[str, Meta(min_length=1)]
    category: Category = "default"
    body: str | None = None
    url: str | None = None
    icon: str | None = None
    key: Annotated[str, Meta(min_length=1)] | None = None
    source: Annotated[str, Meta(min_length=1)] | None = None
    # Objects are made from it if it is small enough; see `decoding.decode_data()`.
    data: Raw = msgspec.field(default_factory=lambda: NULL)
    ttl: Ttl | None = None
    quiet: bool = False
    replaces: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    at: FutureTime | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for fields that do not fit together."""
        if self.quiet and self.key is None:
            raise ValueError("expected key with quiet")
        if self.quiet and self.at is not None:
            raise ValueError("expected no at with quiet, which changes an item now")
        check_topic_ttl(self.to, UNSET if self.ttl is None else self.ttl)

    def is_too_far(self, now: float) -> bool:
        """Return whether *at* is more than `MAX_AHEAD` after *now*."""
        return self.at is not None and self.at > now + MAX_AHEAD

    def content_hash(self) -> str:
        """Return a hash of the request; white space and the order do not matter.

        Stores keep it with an idempotency key for a day. So a field that a later
        version adds is a part of it only if the field is set: else a request that is
        repeated after an upgrade would be another one.
        """
        fields = msgspec.structs.asdict(self)
        if self.at is None:
            del fields["at"]
        return hash_json(msgspec.json.encode(fields))

    def content(self, data: object) -> bytes:
        """Return the content of the item as JSON, with the decoded *data*."""
        return encode_content(
            self.title, body=self.body, url=self.url, icon=self.icon, data=data
        )

    def size(self, content: bytes) -> int:
        """Return the size of the item in bytes: its fields as JSON, `to` as null."""
        return len(content) + len(msgspec.json.encode(_measured(self))) + _NAMES_SIZE

    def operation(
        self,
        item_id: str,
        *,
        ttl: float | None,
        content: bytes,
        size: int,
        op_id: str | None,
    ) -> Notify:
        """Return the operation on one mailbox, with the encoded *content*.

        *ttl* is that of the request or of its category; `None` is never.
        """
        return Notify(
            id=item_id,
            category=self.category,
            content=content,
            key=self.key,
            source=self.source,
            ttl=ttl,
            quiet=self.quiet,
            replaces=self.replaces,
            at=self.at,
            size=size,
            op_id=op_id,
        )


# The values are measured as a list: their names, quotes and colons are constant. The
# item has no `at`.
_MEASURED = ("category", "key", "source", "ttl", "quiet", "replaces")
_measured = attrgetter(*_MEASURED)
_NAMES_SIZE = len('{"to":null') - len("{") + sum(len(name) + 3 for name in _MEASURED)
