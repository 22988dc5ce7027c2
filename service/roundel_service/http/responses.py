"""Response bodies, as types that they are encoded from.

The OpenAPI document is generated from the same types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, final

from msgspec import Meta, Struct

from ..documents import (
    BadgeDocument,
    Epoch,
    ItemDocument,
    ItemId,
    NonNegative,
    Version,
    badge_document,
)
from ..domain.badge import Badge
from .problems import ProblemDocument


@final
class BadgeTotal(Struct, forbid_unknown_fields=True, gc=False):
    """A badge without its categories; with *more*, `unread` is a lower bound."""

    unread: NonNegative
    unseen: NonNegative
    more: bool


@final
class RecipientResult(Struct, forbid_unknown_fields=True, gc=False):
    """A recipient whose mailbox has the notification."""

    user: str
    item: ItemId
    v: Version
    epoch: Epoch
    badge: BadgeTotal


@final
class RecipientProblem(Struct, forbid_unknown_fields=True, gc=False):
    """A recipient whose mailbox is unchanged, and the problem."""

    user: str
    problem: ProblemDocument


@final
class NotifyResponse(Struct, forbid_unknown_fields=True, gc=False):
    """One result for each recipient, in the order given."""

    results: Annotated[list[Any], Meta(min_length=1, max_length=1_000)]


@final
class RetractResponse(Struct, forbid_unknown_fields=True, gc=False):
    """The number of items removed, and of users who had one."""

    removed: NonNegative
    users: NonNegative


@final
class BadgeState(Struct, forbid_unknown_fields=True, gc=False):
    """The badge after the call, and its version."""

    epoch: Epoch
    v: Version
    badge: BadgeDocument


def badge_state(badge: Badge) -> BadgeState:
    """Return the state that *badge* is true at."""
    return BadgeState(badge.epoch, badge.v, badge_document(badge))


@final
class GaugeResponse(Struct, forbid_unknown_fields=True, gc=False):
    """Whether the count was *applied*, and the current `source_version`."""

    applied: bool
    source_version: NonNegative
    epoch: Epoch
    v: Version
    badge: BadgeDocument


@final
class DisconnectResponse(Struct, forbid_unknown_fields=True, gc=False):
    """The user whose streams ended; *revoked* if older credentials are refused now."""

    user: str
    revoked: bool


@final
class DeleteUserResponse(Struct, forbid_unknown_fields=True, gc=False):
    """The empty mailbox of the deleted user, in its new epoch."""

    user: str
    epoch: Epoch
    v: Version
    badge: BadgeDocument


@final
class TicketResponse(Struct, forbid_unknown_fields=True, gc=False):
    """A ticket that opens one stream, once, within `expires_in` seconds."""

    ticket: Annotated[str, Meta(min_length=1)]
    expires_in: Annotated[int, Meta(ge=0, le=60)]
    url: Annotated[str, Meta(description="The argument for `new EventSource()`.")]


@final
class ItemsResponse(Struct, forbid_unknown_fields=True, gc=False):
    """A page of the list, true at its `cursor`; `next` is the next page's `before`."""

    cursor: Annotated[str, Meta(pattern="^[A-Za-z0-9._~-]{1,128}$")]
    badge: BadgeDocument
    items: Annotated[list[ItemDocument], Meta(max_length=100)]
    next: NonNegative | None


@final
class LiveResponse(Struct, forbid_unknown_fields=True, gc=False):
    """The process is alive."""

    status: Literal["ok"]


@final
class ReadyResponse(Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The process accepts requests; *warnings* maps what needs a look to its cause."""

    status: Literal["ready"]
    warnings: Mapping[str, str] = {}


@final
class NotReadyResponse(Struct, forbid_unknown_fields=True, gc=False):
    """Requests should go elsewhere; *reasons* maps each failed check to its cause."""

    status: Literal["not ready"]
    reasons: Mapping[str, str]
