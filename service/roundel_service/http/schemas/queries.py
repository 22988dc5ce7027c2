"""The queries, and the parameters of paths."""

from __future__ import annotations

from typing import Annotated, Literal, final

from msgspec import Meta, Struct

from .fields import (
    MAX_SEQ,
    Categories,
    Category,
    Seq,
    User,
    category_names,
    require_user_name,
)

PageLimit = Annotated[int, Meta(ge=1, le=100)]


@final
class BadgeQuery(Struct, forbid_unknown_fields=True):
    """The query of `GET /v1/badge`; *wait* is in seconds."""

    wait: Annotated[float, Meta(ge=0, le=60)] = 0
    categories: Categories | None = None

    @property
    def names(self) -> frozenset[str] | None:
        """The categories of the badge; `None` is all."""
        return category_names(self.categories)


@final
class ItemsQuery(Struct, forbid_unknown_fields=True):
    """The query of `GET /v1/items`."""

    category: Category | None = None
    state: Literal["unread", "active", "archived", "all", "snoozed"] = "active"
    before: Seq = MAX_SEQ
    limit: PageLimit = 50


@final
class UserItemsQuery(Struct, forbid_unknown_fields=True):
    """The query of `GET /v1/users/{user}/items`."""

    category: Category | None = None
    state: Literal["unread", "active", "archived", "all", "snoozed", "scheduled"] = (
        "active"
    )
    before: Seq = MAX_SEQ
    limit: PageLimit = 50


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
        return category_names(self.categories)


@final
class UserPath(Struct, forbid_unknown_fields=True):
    """The path parameter of a user."""

    user: User

    def __post_init__(self) -> None:
        """Raise `ValueError` if *user* is not a user name."""
        require_user_name(self.user)


@final
class GaugePath(Struct, forbid_unknown_fields=True):
    """The path parameters of a gauge."""

    user: User
    category: Category

    def __post_init__(self) -> None:
        """Raise `ValueError` if *user* is not a user name."""
        require_user_name(self.user)


@final
class NoQuery(Struct, forbid_unknown_fields=True):
    """The query of an operation without parameters."""
