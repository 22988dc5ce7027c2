"""Request types: bodies, queries and path parameters."""

from __future__ import annotations

from .fields import (
    MAX_AHEAD,
    MAX_COUNT,
    MAX_DEPTH,
    MAX_MUTED,
    MAX_OPS,
    MAX_RAW_DATA,
    MAX_SEQ,
    MAX_TOPIC_TTL,
    MAX_TTL,
    MAX_USERS,
)
from .notify import NotifyRequest, Recipients
from .ops import (
    FLAGS_BY_VERB,
    VERBS,
    VERBS_WITH_AS_OF,
    VERBS_WITH_CATEGORY,
    Op,
    OpsRequest,
)
from .preferences import MutedNames, PreferencesRequest
from .producers import DisconnectRequest, GaugeRequest, NoFields, TicketRequest
from .queries import (
    BadgeQuery,
    GaugePath,
    ItemsQuery,
    NoQuery,
    StreamQuery,
    UserItemsQuery,
    UserPath,
)
from .selection import RetractQuery
from .topics import FollowersRequest, TopicPath, TopicQuery
from .update import UpdatedFields, UpdateRequest

__all__ = [
    "FLAGS_BY_VERB",
    "MAX_AHEAD",
    "MAX_COUNT",
    "MAX_DEPTH",
    "MAX_MUTED",
    "MAX_OPS",
    "MAX_RAW_DATA",
    "MAX_SEQ",
    "MAX_TOPIC_TTL",
    "MAX_TTL",
    "MAX_USERS",
    "VERBS",
    "VERBS_WITH_AS_OF",
    "VERBS_WITH_CATEGORY",
    "BadgeQuery",
    "DisconnectRequest",
    "FollowersRequest",
    "GaugePath",
    "GaugeRequest",
    "ItemsQuery",
    "MutedNames",
    "NoFields",
    "NoQuery",
    "NotifyRequest",
    "Op",
    "OpsRequest",
    "PreferencesRequest",
    "Recipients",
    "RetractQuery",
    "StreamQuery",
    "TicketRequest",
    "TopicPath",
    "TopicQuery",
    "UpdateRequest",
    "UpdatedFields",
    "UserItemsQuery",
    "UserPath",
]
