"""The body of `PUT /v1/preferences`."""

from __future__ import annotations

from typing import Annotated, final

import msgspec
from msgspec import Meta, Struct

from ...domain.subscriptions import Muted
from .fields import MAX_MUTED, Category, Topic


@final
class MutedNames(Struct, forbid_unknown_fields=True):
    """The *categories* and *topics* that the badge does not count, up to 64 of each."""

    categories: Annotated[list[Category], Meta(max_length=MAX_MUTED)] = msgspec.field(
        default_factory=list
    )
    topics: Annotated[list[Topic], Meta(max_length=MAX_MUTED)] = msgspec.field(
        default_factory=list
    )


@final
class PreferencesRequest(Struct, forbid_unknown_fields=True):
    """The body of `PUT /v1/preferences`: all that is muted, not a difference."""

    muted: MutedNames

    def value(self) -> Muted:
        """Return what is muted as a value of the domain."""
        return Muted(
            categories=frozenset(self.muted.categories),
            topics=frozenset(self.muted.topics),
        )
