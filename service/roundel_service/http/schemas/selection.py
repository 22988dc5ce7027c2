"""How requests select items."""

from __future__ import annotations

from typing import Annotated, final

from msgspec import UNSET, Meta, Struct

from ...domain.operations import Retract
from .fields import Category, User, require_user_name


def check_selection(request: Struct) -> None:
    """Raise `ValueError` unless *request* selects items in exactly one way."""
    given = {
        name
        for name in ("source", "key", "category", "id")
        if getattr(request, name) not in (None, UNSET)
    }
    if given not in ({"source"}, {"key", "category"}, {"id"}):
        raise ValueError("expected one of source, id, and key with category")


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
            require_user_name(self.user)
        check_selection(self)
        if self.id is not None and self.user is None:
            raise ValueError("expected user with id")

    def operation(self) -> Retract:
        """Return the operation on a mailbox."""
        return Retract(
            source=self.source, category=self.category, key=self.key, id=self.id
        )
