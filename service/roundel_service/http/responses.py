"""Response bodies, as types that they are encoded from.

The OpenAPI document is generated from the same types. `roundel_service.client` decodes
into them, and ignores unknown fields, so that it can call a newer service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, final

from msgspec import UNSET, Meta, Struct, UnsetType

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

PROBLEM_MEDIA_TYPE = "application/problem+json"


@final
class FieldError(Struct, frozen=True):
    """One bad field of a request."""

    field: Annotated[str, Meta(description="A path like `to.users[2]`.")]
    detail: str


@final
class ProblemDocument(Struct):
    """A problem document (RFC 9457); the request took no effect."""

    type: Annotated[
        str,
        Meta(
            pattern="^urn:roundel:problem:[a-z0-9-]+$",
            description="Identifies the problem for programs; it never changes.",
        ),
    ]
    title: Annotated[str, Meta(description="The same for people.")]
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="What was wrong this time.")]
    errors: (
        Annotated[list[FieldError], Meta(description="One entry for each bad field.")]
        | UnsetType
    ) = UNSET


@final
class BadgeTotal(Struct, gc=False):
    """A badge without its categories; with *more*, `unread` is a lower bound."""

    unread: NonNegative
    unseen: NonNegative
    more: bool


@final
class RecipientResult(Struct, gc=False):
    """A recipient whose mailbox has the notification."""

    user: str
    item: ItemId
    v: Version
    epoch: Epoch
    badge: BadgeTotal


@final
class RecipientProblem(Struct, gc=False):
    """A recipient whose mailbox is unchanged, and the problem."""

    user: str
    problem: ProblemDocument


@final
class TopicResult(Struct, gc=False):
    """A topic that has the notification: its followers get it from there."""

    topic: str
    item: ItemId
    v: Version
    epoch: Epoch


if TYPE_CHECKING:
    RecipientOutcome: TypeAlias = RecipientResult | TopicResult | RecipientProblem
else:
    RecipientOutcome = Any  # msgspec has no unions of structs without tags.


@final
class NotifyResponse(Struct, gc=False):
    """One result for each recipient, in the order given."""

    results: Annotated[list[RecipientOutcome], Meta(min_length=1, max_length=1_000)]

    @property
    def problems(self) -> list[RecipientProblem]:
        """The recipients whose mailbox is unchanged."""
        return [each for each in self.results if isinstance(each, RecipientProblem)]


@final
class UpdateResult(Struct, gc=False):
    """A recipient, and the ids of the items that were changed."""

    user: str
    updated: list[ItemId]
    v: Version
    epoch: Epoch
    badge: BadgeTotal


@final
class TopicUpdateResult(Struct, gc=False):
    """A topic, and the ids of its items that were changed."""

    topic: str
    updated: list[ItemId]
    v: Version
    epoch: Epoch


if TYPE_CHECKING:
    UpdateOutcome: TypeAlias = UpdateResult | TopicUpdateResult | RecipientProblem
else:
    UpdateOutcome = Any  # msgspec has no unions of structs without tags.


@final
class UpdateResponse(Struct, gc=False):
    """One result for each recipient, in the order given."""

    results: Annotated[list[UpdateOutcome], Meta(min_length=1, max_length=1_000)]

    @property
    def problems(self) -> list[RecipientProblem]:
        """The recipients whose mailbox is unchanged."""
        return [each for each in self.results if isinstance(each, RecipientProblem)]


@final
class RetractResponse(Struct, gc=False):
    """The number of items removed and cancelled, and of mailboxes that had one."""

    removed: Annotated[NonNegative, Meta(description="Items of lists.")]
    users: Annotated[NonNegative, Meta(description="Users who had one.")]
    topics: Annotated[NonNegative, Meta(description="Topics that had one.")]
    waiting: Annotated[
        NonNegative, Meta(description="Items that were scheduled or snoozed.")
    ]


@final
class BadgeState(Struct, gc=False):
    """The badge after the call, and its version."""

    epoch: Epoch
    v: Version
    badge: BadgeDocument


def badge_state(badge: Badge) -> BadgeState:
    """Return the state that *badge* is true at."""
    return BadgeState(badge.epoch, badge.v, badge_document(badge))


@final
class MutedDocument(Struct, gc=False):
    """The categories and topics that the badge does not count, in order."""

    categories: list[str]
    topics: list[str]


@final
class PreferencesResponse(Struct, gc=False):
    """The preferences of a user, as `PUT /v1/preferences` takes them."""

    muted: MutedDocument


@final
class PreferencesState(Struct, gc=False):
    """The preferences after the call, and the badge at that version."""

    epoch: Epoch
    v: Version
    badge: BadgeDocument
    muted: MutedDocument


@final
class GaugeResponse(Struct, gc=False):
    """Whether the count was *applied*, and the current `source_version`."""

    applied: bool
    source_version: NonNegative
    epoch: Epoch
    v: Version
    badge: BadgeDocument


@final
class StreamsResponse(Struct, gc=False):
    """How many streams and long polls of the user are open, at all nodes together."""

    user: str
    streams: NonNegative


@final
class DisconnectResponse(Struct, gc=False):
    """The user whose streams ended; *revoked* if older credentials are refused now."""

    user: str
    revoked: bool


@final
class DeleteUserResponse(Struct, gc=False):
    """The empty mailbox of the deleted user, in its new epoch."""

    user: str
    epoch: Epoch
    v: Version
    badge: BadgeDocument


@final
class TicketResponse(Struct, gc=False):
    """A ticket that opens one stream, once, within `expires_in` seconds."""

    ticket: Annotated[str, Meta(min_length=1)]
    expires_in: Annotated[int, Meta(ge=0, le=60)]
    url: Annotated[str, Meta(description="The argument for `new EventSource()`.")]

    def __repr__(self) -> str:
        """Return the text for logs, without the ticket: it is a credential."""
        return f"TicketResponse(ticket=…, expires_in={self.expires_in})"


@final
class ItemsResponse(Struct, gc=False):
    """A page of the list, true at its `cursor`; `next` is the next page's `before`."""

    cursor: Annotated[str, Meta(pattern="^[A-Za-z0-9._~-]{1,128}$")]
    badge: BadgeDocument
    items: Annotated[list[ItemDocument], Meta(max_length=100)]
    next: NonNegative | None


@final
class LiveResponse(Struct, gc=False):
    """The process is alive."""

    status: Literal["ok"]


@final
class ReadyResponse(Struct, omit_defaults=True, gc=False):
    """The process accepts requests; *warnings* maps what needs a look to its cause."""

    status: Literal["ready"]
    warnings: Mapping[str, str] = {}


@final
class NotReadyResponse(Struct, gc=False):
    """Requests should go elsewhere; *reasons* maps each failed check to its cause."""

    status: Literal["not ready"]
    reasons: Mapping[str, str]
