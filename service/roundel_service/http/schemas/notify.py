"""The body of `POST /v1/notify`, and of a line of a batch."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from ...domain.content import encode_content
from ...domain.operations import Notify
from .fields import MAX_USERS, NULL, Category, Ttl, User


@final
class Recipients(Struct, forbid_unknown_fields=True):
    """The recipients: one *user*, or up to 1,000 *users*.

    A name is checked later: a bad one is a problem of that recipient alone.
    """

    user: User | UnsetType = UNSET
    users: (
        Annotated[list[User], Meta(min_length=1, max_length=MAX_USERS)] | UnsetType
    ) = UNSET

    def __post_init__(self) -> None:
        """Raise `ValueError` for both fields, and for none."""
        if (self.user is UNSET) == (self.users is UNSET):
            raise ValueError("expected either user or users")


@final
class NotifyRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/notify`; *ttl* is in seconds."""

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

    def __post_init__(self) -> None:
        """Raise `ValueError` for *quiet* without a *key*."""
        if self.quiet and self.key is None:
            raise ValueError("expected key with quiet")

    def content(self, data: object) -> bytes:
        """Return the content of the item as JSON, with the decoded *data*."""
        return encode_content(
            self.title, body=self.body, url=self.url, icon=self.icon, data=data
        )

    def size(self, content: bytes) -> int:
        """Return the size of the item in bytes: all fields as JSON, `to` as null."""
        return len(content) + len(msgspec.json.encode(_measured(self))) + _NAMES_SIZE

    def operation(
        self, item_id: str, *, content: bytes, size: int, op_id: str | None
    ) -> Notify:
        """Return the operation on one mailbox, with the encoded *content*."""
        return Notify(
            id=item_id,
            category=self.category,
            content=content,
            key=self.key,
            source=self.source,
            ttl=self.ttl,
            quiet=self.quiet,
            replaces=self.replaces,
            size=size,
            op_id=op_id,
        )


# The values are measured as a list: their names, quotes and colons are constant.
_MEASURED = ("category", "key", "source", "ttl", "quiet", "replaces")
_measured = attrgetter(*_MEASURED)
_NAMES_SIZE = len('{"to":null') - len("{") + sum(len(name) + 3 for name in _MEASURED)
