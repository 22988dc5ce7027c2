"""Request types: bodies, queries and path parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Literal, final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from ..domain.names import CATEGORY_NAME, MAX_USER_NAME, USER_NAME, check_user_name
from ..domain.operations import (
    Disconnect,
    Mark,
    Notify,
    Remove,
    Retract,
    Update,
    UserOps,
)
from ..domain.revocation import MAX_TIME
from ..identity.tickets import MAX_SESSION

MAX_SEQ = 2**42 - 1
MAX_TTL = 10 * 365 * 86_400
MAX_COUNT = 2**53 - 1
MAX_USERS = 1_000
MAX_OPS = 100

MAX_DEPTH = 32
"""Maximum nesting depth of `data`."""

MAX_RAW_DATA = 49_152
"""Size limit of `data` as received, in bytes: six times that of an item.

An escape takes up to six times the bytes of its character.
"""

_NULL = Raw(b"null")
# A bare `$` also matches before a final line end.
_END = r"$(?!\n)"
_USER = {"pattern": f"^{USER_NAME}$", "minLength": 1, "maxLength": MAX_USER_NAME}
# The length in bytes has no pattern, and a problem has to say which rule was broken: so
# `check_user_name()` decides.
User = Annotated[str, Meta(extra_json_schema=_USER)]
Category = Annotated[str, Meta(pattern=f"^{CATEGORY_NAME}{_END}")]
# Up to 64, the limit of a mailbox, separated by commas.
Categories = Annotated[
    str,
    Meta(pattern=f"^{CATEGORY_NAME}(?:,{CATEGORY_NAME}){{0,63}}{_END}"),
]
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
# Up to JavaScript's largest safe integer, which clients send for "all".
UpTo = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
ItemIds = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=1_000)]


def content_hash(content: object) -> str:
    """Return a hash of a decoded body; white space and the order do not matter."""
    encoded = msgspec.json.encode(content, order="deterministic")
    return blake2b(encoded, digest_size=16).hexdigest()


Ttl = Annotated[float, Meta(gt=0, le=MAX_TTL)]
Text = Annotated[str, Meta(min_length=1)]
ItemId = Annotated[str, Meta(min_length=1, max_length=64)]


def check_selection(request: RetractQuery | UpdateRequest) -> None:
    """Raise `ValueError` unless *request* selects items in exactly one way."""
    given = {
        name
        for name in ("source", "key", "category", "id")
        if getattr(request, name) not in (None, UNSET)
    }
    if given not in ({"source"}, {"key", "category"}, {"id"}):
        raise ValueError("expected one of source, id, and key with category")


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
    data: Raw = msgspec.field(default_factory=lambda: _NULL)
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
        if not msgspec.structs.asdict(self).keys() - _unset_names(self):
            raise ValueError("expected at least one field")


def _unset_names(fields: Struct) -> set[str]:
    return {name for name in fields.__struct_fields__ if getattr(fields, name) is UNSET}


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
        """Raise `ValueError` for other than one selection."""
        check_selection(self)

    def operation(self, data: object) -> Update:
        """Return the operation on one mailbox, with the decoded *data*."""
        content = {
            name: value
            for name, value in msgspec.structs.asdict(self.set).items()
            if value is not UNSET
        }
        expires, ttl = "ttl" in content, content.pop("ttl", None)
        if "data" in content:
            content["data"] = data
        which = Retract(
            source=self.source or None,
            category=self.category or None,
            key=self.key or None,
            id=self.id or None,
        )
        return Update(which=which, content=content, expires=expires, ttl=ttl)


@final
class GaugeRequest(Struct, forbid_unknown_fields=True):
    """The body of `PUT /v1/users/{user}/gauges/{category}`."""

    count: Annotated[int, Meta(ge=0, le=MAX_COUNT)]
    source_version: Annotated[int, Meta(ge=0, le=MAX_COUNT)]


@final
class DisconnectRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/users/{user}/disconnect`."""

    revoke: bool = False
    issued_before: Annotated[float, Meta(ge=0, lt=MAX_TIME)] | UnsetType = UNSET

    def operation(self) -> Disconnect:
        """Return the operation on the user's mailbox."""
        given = None if self.issued_before is UNSET else self.issued_before
        return Disconnect(revoke=self.revoke, issued_before=given)


@final
class TicketRequest(Struct, forbid_unknown_fields=True):
    """The body of a producer's `POST /v1/tickets`; *session* is in seconds."""

    user: User
    session: Annotated[float, Meta(gt=0, le=MAX_SESSION)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Raise `ValueError` if *user* is not a user name."""
        _require_user_name(self.user)


@final
class NoFields(Struct, forbid_unknown_fields=True):
    """An empty object: the body of a user's `POST /v1/tickets`."""


@final
class Op(Struct, forbid_unknown_fields=True):
    """One operation of a user on their mailbox: exactly one verb and its conditions."""

    read: ItemIds | UnsetType = UNSET
    unread: ItemIds | UnsetType = UNSET
    archive: ItemIds | UnsetType = UNSET
    unarchive: ItemIds | UnsetType = UNSET
    remove: ItemIds | UnsetType = UNSET
    read_upto: UpTo | UnsetType = UNSET
    seen_upto: UpTo | UnsetType = UNSET
    archive_upto: UpTo | UnsetType = UNSET
    read_all: Literal[True] | UnsetType = UNSET
    archive_all: Literal[True] | UnsetType = UNSET
    as_of: UpTo | UnsetType = UNSET
    category: Category | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Raise `ValueError` unless there is one verb with valid conditions."""
        verbs = [name for name in VERBS if getattr(self, name) is not UNSET]
        if len(verbs) != 1:
            raise ValueError(f"expected exactly one of {', '.join(VERBS)}")
        if (self.as_of is not UNSET) != (verbs[0] in VERBS_WITH_AS_OF):
            raise ValueError(f"expected as_of with {_or(VERBS_WITH_AS_OF)} only")
        if self.category is not UNSET and verbs[0] not in VERBS_WITH_CATEGORY:
            raise ValueError(f"expected category only with {_or(VERBS_WITH_CATEGORY)}")

    def operation(self) -> Mark | Remove:
        """Return the part of the operation on the mailbox."""
        if self.remove is not UNSET:
            return Remove(frozenset(self.remove))
        verb = next(name for name in FLAGS_BY_VERB if getattr(self, name) is not UNSET)
        value = getattr(self, verb)
        by_id = isinstance(value, list)
        return Mark(
            flags=FLAGS_BY_VERB[verb],
            ids=frozenset(value) if by_id else None,
            upto=None if by_id else value if self.as_of is UNSET else self.as_of,
            category=None if self.category is UNSET else self.category,
        )


# Read implies seen: a client has shown the item.
_READ = {"read": True, "seen": True}
FLAGS_BY_VERB: Mapping[str, Mapping[str, bool]] = {
    "read": _READ,
    "unread": {"read": False},
    "archive": {"archived": True},
    "unarchive": {"archived": False},
    "read_upto": _READ,
    "seen_upto": {"seen": True},
    "archive_upto": {"archived": True},
    "read_all": _READ,
    "archive_all": {"archived": True},
}
VERBS = (*FLAGS_BY_VERB, "remove")
VERBS_WITH_AS_OF = ("read_all", "archive_all")
VERBS_WITH_CATEGORY = ("read_upto", "archive_upto", *VERBS_WITH_AS_OF)


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


@final
class OpsRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/ops`."""

    ops: Annotated[list[Op], Meta(min_length=1, max_length=MAX_OPS)]
    op_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None

    def operation(self, op_id: str) -> UserOps:
        """Return the operation on the mailbox; *op_id* is used if none was given."""
        return UserOps(
            ops=tuple(op.operation() for op in self.ops),
            op_id=self.op_id or op_id,
            digest=content_hash(self.ops),
        )


@final
class BadgeQuery(Struct, forbid_unknown_fields=True):
    """The query of `GET /v1/badge`; *wait* is in seconds."""

    wait: Annotated[float, Meta(ge=0, le=60)] = 0


@final
class ItemsQuery(Struct, forbid_unknown_fields=True):
    """The query of `GET /v1/items`."""

    category: Category | None = None
    state: Literal["unread", "active", "archived", "all"] = "active"
    before: Seq = MAX_SEQ
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


@final
class StreamQuery(Struct, forbid_unknown_fields=True):
    """The query of `GET /v1/stream`; any *cursor* is well-formed."""

    level: Literal["badge", "items"] = "badge"
    categories: Categories | None = None
    cursor: str = ""
    ticket: str | None = None

    @property
    def names(self) -> frozenset[str] | None:
        """The categories of the stream; `None` is all."""
        return frozenset(self.categories.split(",")) if self.categories else None


@final
class RetractQuery(Struct, forbid_unknown_fields=True):
    """The query of `DELETE /v1/items`: one selection of items, and a *user*.

    The selection is a *source*, a *key* and its *category*, or an *id* of the user's.
    """

    source: Annotated[str, Meta(min_length=1)] | None = None
    key: Annotated[str, Meta(min_length=1)] | None = None
    category: Category | None = None
    id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    user: User | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for other than one selection, and for a bad *user*."""
        if self.user is not None:
            _require_user_name(self.user)
        check_selection(self)
        if self.id is not None and self.user is None:
            raise ValueError("expected user with id")

    def operation(self) -> Retract:
        """Return the operation on a mailbox."""
        return Retract(
            source=self.source, category=self.category, key=self.key, id=self.id
        )


@final
class UserPath(Struct, forbid_unknown_fields=True):
    """The path parameter of a user."""

    user: User

    def __post_init__(self) -> None:
        """Raise `ValueError` if *user* is not a user name."""
        _require_user_name(self.user)


@final
class GaugePath(Struct, forbid_unknown_fields=True):
    """The path parameters of a gauge."""

    user: User
    category: Category

    def __post_init__(self) -> None:
        """Raise `ValueError` if *user* is not a user name."""
        _require_user_name(self.user)


@final
class NoQuery(Struct, forbid_unknown_fields=True):
    """The query of an operation without parameters."""


def _require_user_name(name: str) -> None:
    if reason := check_user_name(name):
        raise ValueError(reason)
