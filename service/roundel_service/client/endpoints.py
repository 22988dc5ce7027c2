"""The endpoints of producers and users, each declared once for both clients."""

from __future__ import annotations

from typing import Final

from ..documents import BadgeDocument
from ..http.responses import (
    BadgeState,
    DeleteUserResponse,
    DisconnectResponse,
    GaugeResponse,
    ItemsResponse,
    LiveResponse,
    PreferencesResponse,
    PreferencesState,
    RetractResponse,
    StreamsResponse,
    TicketResponse,
)
from ..http.schemas.topic_responses import (
    DeleteTopicResponse,
    TopicResponse,
    UserTopicsResponse,
)
from .call import Endpoint
from .decoding import (
    decode_explanation,
    decode_followers,
    decode_lines,
    decode_notify,
    decode_update,
    decoder_of,
)

_USER: Final = "/v1/users/{user}"
_TOPIC: Final = "/v1/topics/{topic}"
_GAUGE: Final = "/v1/users/{user}/gauges/{category}"

NOTIFY = Endpoint("notify", "POST", "/v1/notify", decode_notify)
BATCH = Endpoint(
    "batch", "POST", "/v1/batch", decode_lines, media_type="application/x-ndjson"
)
UPDATE = Endpoint("update", "POST", "/v1/update", decode_update)
RETRACT = Endpoint("retract", "DELETE", "/v1/items", decoder_of(RetractResponse))
SET_GAUGE = Endpoint("setGauge", "PUT", _GAUGE, decoder_of(GaugeResponse))
DROP_GAUGE = Endpoint("dropGauge", "DELETE", _GAUGE, decoder_of(BadgeState))
USER_BADGE = Endpoint("badgeOfUser", "GET", f"{_USER}/badge", decoder_of(BadgeDocument))
USER_PREFERENCES = Endpoint(
    "preferencesOfUser", "GET", f"{_USER}/preferences", decoder_of(PreferencesResponse)
)
SET_USER_PREFERENCES = Endpoint(
    "setPreferencesOfUser", "PUT", f"{_USER}/preferences", decoder_of(PreferencesState)
)
TOPICS_OF_USER = Endpoint(
    "topicsOfUser", "GET", f"{_USER}/topics", decoder_of(UserTopicsResponse)
)
TOPIC = Endpoint("topic", "GET", _TOPIC, decoder_of(TopicResponse))
DELETE_TOPIC = Endpoint(
    "deleteTopic", "DELETE", _TOPIC, decoder_of(DeleteTopicResponse)
)
EXPLAIN_TOPIC = Endpoint("explainTopic", "GET", f"{_TOPIC}/explain", decode_explanation)
CHANGE_FOLLOWERS = Endpoint(
    "changeFollowers", "POST", f"{_TOPIC}/followers", decode_followers
)
USER_ITEMS = Endpoint("itemsOfUser", "GET", f"{_USER}/items", decoder_of(ItemsResponse))
STREAMS = Endpoint(
    "streamsOfUser", "GET", f"{_USER}/streams", decoder_of(StreamsResponse)
)
EXPLAIN = Endpoint("explain", "GET", f"{_USER}/explain", decode_explanation)
DISCONNECT = Endpoint(
    "disconnect", "POST", f"{_USER}/disconnect", decoder_of(DisconnectResponse)
)
DELETE_USER = Endpoint("forget", "DELETE", _USER, decoder_of(DeleteUserResponse))
BADGE = Endpoint("badge", "GET", "/v1/badge", decoder_of(BadgeDocument))
ITEMS = Endpoint("items", "GET", "/v1/items", decoder_of(ItemsResponse))
OPS = Endpoint("ops", "POST", "/v1/ops", decoder_of(BadgeState))
PREFERENCES = Endpoint(
    "preferences", "GET", "/v1/preferences", decoder_of(PreferencesResponse)
)
SET_PREFERENCES = Endpoint(
    "setPreferences", "PUT", "/v1/preferences", decoder_of(PreferencesState)
)
TICKET = Endpoint("ticket", "POST", "/v1/tickets", decoder_of(TicketResponse))
LIVE = Endpoint("livez", "GET", "/livez", decoder_of(LiveResponse))

ENDPOINTS = (
    *(NOTIFY, BATCH, UPDATE, RETRACT, SET_GAUGE, DROP_GAUGE, USER_BADGE, EXPLAIN),
    *(DISCONNECT, DELETE_USER, BADGE, ITEMS, OPS, TICKET, LIVE),
    *(TOPICS_OF_USER, CHANGE_FOLLOWERS, USER_ITEMS, STREAMS),
    *(TOPIC, DELETE_TOPIC, EXPLAIN_TOPIC),
    *(PREFERENCES, SET_PREFERENCES, USER_PREFERENCES, SET_USER_PREFERENCES),
)
"""All endpoints that the clients call."""
