"""The responses of the calls for topics, as types that they are encoded from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, final, get_args

from msgspec import Meta, Struct

from ...documents import Epoch, ItemDocument, NonNegative, Time, Version
from ...domain.subscriptions import SubscriptionSource
from ..responses import BadgeTotal, RecipientProblem


@final
class FollowerResult(Struct, gc=False):
    """A user who follows the topic from now on, or has left it."""

    user: str
    v: Version
    epoch: Epoch
    badge: BadgeTotal


if TYPE_CHECKING:
    FollowerOutcome: TypeAlias = FollowerResult | RecipientProblem
else:
    FollowerOutcome = Any  # msgspec has no unions of structs without tags.


@final
class FollowersResponse(Struct, gc=False):
    """One result for each user: first those added, then those removed."""

    results: Annotated[list[FollowerOutcome], Meta(min_length=1, max_length=1_000)]

    @property
    def problems(self) -> list[RecipientProblem]:
        """The users whose mailbox is unchanged."""
        return [each for each in self.results if isinstance(each, RecipientProblem)]


@final
class SubscriptionDocument(Struct, gc=False):
    """Since when a user follows a topic, and *by* what: each user follows `all`."""

    since: Time | Literal["now", "start"]
    # A client accepts the words of a newer service too.
    by: Annotated[
        str, Meta(extra_json_schema={"enum": [*get_args(SubscriptionSource)]})
    ]


@final
class UserTopicsResponse(Struct, gc=False):
    """The topics that a user follows, by name."""

    topics: dict[str, SubscriptionDocument]


@final
class TopicResponse(Struct, gc=False):
    """A page of the items of a topic, newest first, and all that wait in it."""

    topic: str
    epoch: Epoch
    v: Version
    items: Annotated[list[ItemDocument], Meta(max_length=100)]
    waiting: list[ItemDocument]
    next: NonNegative | None


@final
class DeleteTopicResponse(Struct, gc=False):
    """The numbers of items that were *removed*, and that were *waiting*."""

    topic: str
    removed: NonNegative
    waiting: NonNegative
    epoch: Epoch
    v: Version
