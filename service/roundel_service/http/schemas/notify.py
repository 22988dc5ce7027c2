"""The body of `POST /v1/notify`, and of a line of a batch."""

from __future__ import annotations

from typing import Annotated, final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

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

    def operation(
        self, item_id: str, *, data: object, size: int, op_id: str | None
    ) -> Notify:
        """Return the operation on one mailbox, with the decoded *data*."""
        fields = msgspec.structs.asdict(self) | {"data": data}
        del fields["to"]
        return Notify(id=item_id, size=size, op_id=op_id, **fields)
