"""How requests select items."""

from __future__ import annotations

from typing import Annotated, final

from msgspec import UNSET, Meta, Struct

from ...domain.names import topic_mailbox
from ...domain.operations import Retract
from .fields import Category, Topic, User, require_user_name


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
    """The query of `DELETE /v1/items`: one selection of items, and one mailbox or all.

    The selection is a *source*, a *key* and its *category*, or an *id*, which needs the
    *user* or the *topic*.
    """

    source: Annotated[str, Meta(min_length=1)] | None = None
    key: Annotated[str, Meta(min_length=1)] | None = None
    category: Category | None = None
    id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    user: User | None = None
    topic: Topic | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for other than one selection, and for a bad mailbox."""
        if self.user is not None:
            require_user_name(self.user)
        check_selection(self)
        if self.user is not None and self.topic is not None:
            raise ValueError("expected either user or topic")
        if self.id is not None and self.mailbox is None:
            raise ValueError("expected user or topic with id")

    @property
    def mailbox(self) -> str | None:
        """The name of the only mailbox; `None` is all."""
        return self.user if self.topic is None else topic_mailbox(self.topic)

    def operation(self) -> Retract:
        """Return the operation on a mailbox."""
        return Retract(
            source=self.source, category=self.category, key=self.key, id=self.id
        )
