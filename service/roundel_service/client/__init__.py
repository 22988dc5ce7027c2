"""A client of the badge service: `BadgeClient` and `AsyncBadgeClient`.

It needs the extra `client` only, and none of the service's own dependencies.
"""

from __future__ import annotations

from roundel_adapters import requires_extra

with requires_extra("client"):
    import anyio  # noqa: F401
    import msgspec  # noqa: F401

from ..documents import BadgeDocument, CategoryCount, ItemDocument
from ..http.explanation import (
    ExplainedGauge,
    ExplainedItem,
    ExplainedOperation,
    ExplainedTopic,
    ExplainedWaitingItem,
    Explanation,
)
from ..http.responses import (
    BadgeState,
    BadgeTotal,
    DeleteUserResponse,
    DisconnectResponse,
    FieldError,
    GaugeResponse,
    ItemsResponse,
    LiveResponse,
    MutedDocument,
    NotifyResponse,
    PreferencesResponse,
    PreferencesState,
    ProblemDocument,
    RecipientProblem,
    RecipientResult,
    RetractResponse,
    StreamsResponse,
    TicketResponse,
    TopicResult,
    TopicUpdateResult,
    UpdateResponse,
    UpdateResult,
)
from ..http.schemas import Op
from ..http.schemas.topic_responses import (
    DeleteTopicResponse,
    FollowerResult,
    FollowersResponse,
    SubscriptionDocument,
    TopicResponse,
    UserTopicsResponse,
)
from .async_badge_client import AsyncBadgeClient
from .badge_client import BadgeClient
from .batch import BatchLine, BatchResponse, LineProblem
from .errors import (
    BadgeClientError,
    CredentialsRejected,
    KeyReused,
    PartialFailure,
    ProblemResponse,
    RateLimited,
    RequestRejected,
    ServiceFailed,
    ServiceUnreachable,
    UnexpectedResponse,
)
from .notification import ALL_USERS, Followers, Notification
from .transport import http_library

http_library()  # Raises an error that names the extra.

__all__ = [
    "ALL_USERS",
    "AsyncBadgeClient",
    "BadgeClient",
    "BadgeClientError",
    "BadgeDocument",
    "BadgeState",
    "BadgeTotal",
    "BatchLine",
    "BatchResponse",
    "CategoryCount",
    "CredentialsRejected",
    "DeleteTopicResponse",
    "DeleteUserResponse",
    "DisconnectResponse",
    "ExplainedGauge",
    "ExplainedItem",
    "ExplainedOperation",
    "ExplainedTopic",
    "ExplainedWaitingItem",
    "Explanation",
    "FieldError",
    "FollowerResult",
    "Followers",
    "FollowersResponse",
    "GaugeResponse",
    "ItemDocument",
    "ItemsResponse",
    "KeyReused",
    "LineProblem",
    "LiveResponse",
    "MutedDocument",
    "Notification",
    "NotifyResponse",
    "Op",
    "PartialFailure",
    "PreferencesResponse",
    "PreferencesState",
    "ProblemDocument",
    "ProblemResponse",
    "RateLimited",
    "RecipientProblem",
    "RecipientResult",
    "RequestRejected",
    "RetractResponse",
    "ServiceFailed",
    "ServiceUnreachable",
    "StreamsResponse",
    "SubscriptionDocument",
    "TicketResponse",
    "TopicResponse",
    "TopicResult",
    "TopicUpdateResult",
    "UnexpectedResponse",
    "UpdateResponse",
    "UpdateResult",
    "UserTopicsResponse",
]
