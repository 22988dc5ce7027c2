"""One story in calls and answers, which the running service tells in the same words.

A test calls them one after the other. What differs from run to run stands here as a
word of its own: epochs, ids of items, tickets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, final

import attrs

START = 1_763_690_000.0
"""When the story is told, in seconds since 1970."""

Proof: TypeAlias = Literal["producer", "user"]

_NOTHING: Mapping[str, str] = {}


@final
@attrs.frozen(kw_only=True)
class Example:
    """A call with the operation id *call*, and its whole *answer*.

    Where it is NDJSON, *body* and *answer* are a list, a line for each.
    """

    call: str
    name: str
    summary: str
    proof: Proof | None = None
    parts: Mapping[str, str] = _NOTHING
    query: Mapping[str, str] = _NOTHING
    headers: Mapping[str, str] = _NOTHING
    body: Any = None
    status: int = 200
    answer: Any = None
    answer_headers: Mapping[str, str] = _NOTHING


STORY = (
    Example(
        call="notify",
        name="two",
        summary="Two users, one notification",
        proof="producer",
        headers={"Idempotency-Key": "issue-42-mention-7"},
        body={
            "to": {"users": ["alice", "bob"]},
            "category": "mention",
            "title": "Carol mentioned you",
            "body": "Can you have a look?",
            "url": "/t/42",
            "key": "thread-42",
            "source": "issue:42",
            "data": {"thread": 42},
            "ttl": 86400,
        },
        answer={
            "results": [
                {
                    "user": "alice",
                    "item": "01KAJ1VBM07Q3V9D2MXKAE5TRW",
                    "v": 1,
                    "epoch": "jMQq2AhBYrQa",
                    "badge": {"unread": 1, "unseen": 1, "more": False},
                },
                {
                    "user": "bob",
                    "item": "01KAJ1VBM0C8N4B1ZGHP6YSFJ0",
                    "v": 1,
                    "epoch": "x0V_4dTn8sKc",
                    "badge": {"unread": 1, "unseen": 1, "more": False},
                },
            ]
        },
    ),
    Example(
        call="batch",
        name="lines",
        summary="A line that is good, and one that is not",
        proof="producer",
        body=[
            {"to": {"user": "alice"}, "category": "dm", "title": "Lunch?"},
            {"to": {"user": "alice"}, "category": "dm"},
        ],
        answer=[
            {
                "results": [
                    {
                        "user": "alice",
                        "item": "01KAJ1VBM0M5T0R9QWVK2EXD3A",
                        "v": 2,
                        "epoch": "jMQq2AhBYrQa",
                        "badge": {"unread": 2, "unseen": 2, "more": False},
                    }
                ]
            },
            {
                "type": "urn:roundel:problem:invalid-request",
                "title": "The request has invalid fields",
                "status": 422,
                "detail": "title: required",
                "errors": [{"field": "title", "detail": "required"}],
            },
        ],
    ),
    Example(
        call="setGauge",
        name="newer",
        summary="A newer count",
        proof="producer",
        parts={"user": "alice", "category": "invoices"},
        body={"count": 7, "source_version": 91},
        answer={
            "applied": True,
            "source_version": 91,
            "epoch": "jMQq2AhBYrQa",
            "v": 3,
            "badge": {
                "epoch": "jMQq2AhBYrQa",
                "v": 3,
                "unread": 9,
                "unseen": 2,
                "more": False,
                "by": {
                    "invoices": {"unread": 7, "unseen": 0},
                    "mention": {"unread": 1, "unseen": 1},
                    "dm": {"unread": 1, "unseen": 1},
                },
            },
        },
    ),
    Example(
        call="setGauge",
        name="older",
        summary="An older one is ignored",
        proof="producer",
        parts={"user": "alice", "category": "invoices"},
        body={"count": 6, "source_version": 90},
        answer={
            "applied": False,
            "source_version": 91,
            "epoch": "jMQq2AhBYrQa",
            "v": 3,
            "badge": {
                "epoch": "jMQq2AhBYrQa",
                "v": 3,
                "unread": 9,
                "unseen": 2,
                "more": False,
                "by": {
                    "invoices": {"unread": 7, "unseen": 0},
                    "mention": {"unread": 1, "unseen": 1},
                    "dm": {"unread": 1, "unseen": 1},
                },
            },
        },
    ),
    Example(
        call="badgeOfUser",
        name="alice",
        summary="Alice's badge",
        proof="producer",
        parts={"user": "alice"},
        answer={
            "epoch": "jMQq2AhBYrQa",
            "v": 3,
            "unread": 9,
            "unseen": 2,
            "more": False,
            "by": {
                "invoices": {"unread": 7, "unseen": 0},
                "mention": {"unread": 1, "unseen": 1},
                "dm": {"unread": 1, "unseen": 1},
            },
        },
    ),
    Example(
        call="badge",
        name="own",
        summary="The caller's badge",
        proof="user",
        answer_headers={"ETag": '"jMQq2AhBYrQa.3"'},
        answer={
            "epoch": "jMQq2AhBYrQa",
            "v": 3,
            "unread": 9,
            "unseen": 2,
            "more": False,
            "by": {
                "invoices": {"unread": 7, "unseen": 0},
                "mention": {"unread": 1, "unseen": 1},
                "dm": {"unread": 1, "unseen": 1},
            },
        },
    ),
    Example(
        call="badge",
        name="known",
        summary="It is known already",
        proof="user",
        headers={"If-None-Match": '"jMQq2AhBYrQa.3"'},
        status=304,
        answer_headers={"ETag": '"jMQq2AhBYrQa.3"'},
    ),
    Example(
        call="items",
        name="page",
        summary="The newest unread item",
        proof="user",
        query={"state": "unread", "limit": "1"},
        answer={
            "cursor": "jMQq2AhBYrQa.3",
            "badge": {
                "epoch": "jMQq2AhBYrQa",
                "v": 3,
                "unread": 9,
                "unseen": 2,
                "more": False,
                "by": {
                    "invoices": {"unread": 7, "unseen": 0},
                    "mention": {"unread": 1, "unseen": 1},
                    "dm": {"unread": 1, "unseen": 1},
                },
            },
            "items": [
                {
                    "id": "01KAJ1VBM0M5T0R9QWVK2EXD3A",
                    "seq": 2,
                    "category": "dm",
                    "title": "Lunch?",
                    "body": None,
                    "url": None,
                    "icon": None,
                    "key": None,
                    "source": None,
                    "data": None,
                    "created_at": 1763690000.0,
                    "expires_at": None,
                    "seen": False,
                    "read": False,
                    "archived": False,
                }
            ],
            "next": 2,
        },
    ),
    Example(
        call="items",
        name="next",
        summary="The page after it",
        proof="user",
        query={"state": "unread", "limit": "1", "before": "2"},
        answer={
            "cursor": "jMQq2AhBYrQa.3",
            "badge": {
                "epoch": "jMQq2AhBYrQa",
                "v": 3,
                "unread": 9,
                "unseen": 2,
                "more": False,
                "by": {
                    "invoices": {"unread": 7, "unseen": 0},
                    "mention": {"unread": 1, "unseen": 1},
                    "dm": {"unread": 1, "unseen": 1},
                },
            },
            "items": [
                {
                    "id": "01KAJ1VBM07Q3V9D2MXKAE5TRW",
                    "seq": 1,
                    "category": "mention",
                    "title": "Carol mentioned you",
                    "body": "Can you have a look?",
                    "url": "/t/42",
                    "icon": None,
                    "key": "thread-42",
                    "source": "issue:42",
                    "data": {"thread": 42},
                    "created_at": 1763690000.0,
                    "expires_at": 1763776400.0,
                    "seen": False,
                    "read": False,
                    "archived": False,
                }
            ],
            "next": None,
        },
    ),
    Example(
        call="ops",
        name="read",
        summary="One was read, and all were seen",
        proof="user",
        body={
            "op_id": "tap-1",
            "ops": [{"read": ["01KAJ1VBM07Q3V9D2MXKAE5TRW"]}, {"seen_upto": 3}],
        },
        answer={
            "epoch": "jMQq2AhBYrQa",
            "v": 4,
            "badge": {
                "epoch": "jMQq2AhBYrQa",
                "v": 4,
                "unread": 8,
                "unseen": 0,
                "more": False,
                "by": {
                    "invoices": {"unread": 7, "unseen": 0},
                    "dm": {"unread": 1, "unseen": 0},
                },
            },
        },
    ),
    Example(
        call="explain",
        name="alice",
        summary="Why Alice has 8",
        proof="producer",
        parts={"user": "alice"},
        answer={
            "badge": {
                "epoch": "jMQq2AhBYrQa",
                "v": 4,
                "unread": 8,
                "unseen": 0,
                "more": False,
                "by": {
                    "invoices": {"unread": 7, "unseen": 0},
                    "dm": {"unread": 1, "unseen": 0},
                },
            },
            "counted": [
                {
                    "id": "01KAJ1VBM0M5T0R9QWVK2EXD3A",
                    "seq": 2,
                    "category": "dm",
                    "key": None,
                    "source": None,
                    "seen": True,
                    "expires_at": None,
                }
            ],
            "not_counted": [
                {
                    "id": "01KAJ1VBM07Q3V9D2MXKAE5TRW",
                    "seq": 1,
                    "category": "mention",
                    "key": "thread-42",
                    "source": "issue:42",
                    "seen": True,
                    "expires_at": 1763776400.0,
                    "reason": "read",
                }
            ],
            "gauges": [{"category": "invoices", "count": 7, "source_version": 91}],
            "operations": [
                {
                    "v": 4,
                    "at": 1763690000.0,
                    "by": "user",
                    "operation": "ops",
                    "steps": [
                        {
                            "set": ["01KAJ1VBM07Q3V9D2MXKAE5TRW"],
                            "read": True,
                            "seen": True,
                        },
                        {"set": ["01KAJ1VBM0M5T0R9QWVK2EXD3A"], "seen": True},
                    ],
                    "unread": 8,
                },
                {
                    "v": 3,
                    "at": 1763690000.0,
                    "by": "producer",
                    "operation": "gauge",
                    "steps": [],
                    "unread": 9,
                },
                {
                    "v": 2,
                    "at": 1763690000.0,
                    "by": "producer",
                    "operation": "notify",
                    "steps": [{"add": "01KAJ1VBM0M5T0R9QWVK2EXD3A"}],
                    "unread": 2,
                },
                {
                    "v": 1,
                    "at": 1763690000.0,
                    "by": "producer",
                    "operation": "notify",
                    "steps": [{"add": "01KAJ1VBM07Q3V9D2MXKAE5TRW"}],
                    "unread": 1,
                },
            ],
        },
    ),
    Example(
        call="ticket",
        name="own",
        summary="A user, for the own stream",
        proof="user",
        body={},
        answer={
            "ticket": "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiI.c2lnbmF0dXJl",
            "expires_in": 60,
            "url": "/v1/stream?ticket=eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiI.c2lnbmF0dXJl",
        },
    ),
    Example(
        call="ticket",
        name="for",
        summary="A producer, for a user",
        proof="producer",
        body={"user": "alice", "session": 7200},
        answer={
            "ticket": "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiI.c2lnbmF0dXJl",
            "expires_in": 60,
            "url": "/v1/stream?ticket=eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiI.c2lnbmF0dXJl",
        },
    ),
    Example(
        call="retract",
        name="source",
        summary="All that is about one issue",
        proof="producer",
        query={"source": "issue:42"},
        answer={"removed": 2, "users": 2},
    ),
    Example(
        call="dropGauge",
        name="gone",
        summary="The gauge goes",
        proof="producer",
        parts={"user": "alice", "category": "invoices"},
        answer={
            "epoch": "jMQq2AhBYrQa",
            "v": 6,
            "badge": {
                "epoch": "jMQq2AhBYrQa",
                "v": 6,
                "unread": 1,
                "unseen": 0,
                "more": False,
                "by": {"dm": {"unread": 1, "unseen": 0}},
            },
        },
    ),
    Example(
        call="disconnect",
        name="revoke",
        summary="Log Alice out everywhere",
        proof="producer",
        parts={"user": "alice"},
        body={"revoke": True},
        answer={"user": "alice", "revoked": True},
    ),
    Example(
        call="forget",
        name="alice",
        summary="Alice is gone",
        proof="producer",
        parts={"user": "alice"},
        answer={
            "user": "alice",
            "epoch": "Wm3kE7yLr2Hd",
            "v": 0,
            "badge": {
                "epoch": "Wm3kE7yLr2Hd",
                "v": 0,
                "unread": 0,
                "unseen": 0,
                "more": False,
                "by": {},
            },
        },
    ),
    Example(
        call="livez",
        name="alive",
        summary="Alive",
        answer={"status": "ok"},
    ),
    Example(
        call="readyz",
        name="ready",
        summary="Ready",
        answer={"status": "ready"},
    ),
)

_BADGE = next(example.answer for example in STORY if example.call == "badgeOfUser")

EVENTS: Mapping[str, Any] = {
    "hello": {
        "proto": 1,
        "resume": "snapshot",
        "epoch": "jMQq2AhBYrQa",
        "v": 3,
        "ping": 25,
        "max_age": 540,
        "expires_in": 3600,
    },
    "badge": _BADGE,
    "snapshot": {
        "epoch": "jMQq2AhBYrQa",
        "v": 3,
        "badge": _BADGE,
        "items": [
            item
            for example in STORY
            if example.call == "items"
            for item in example.answer["items"]
        ],
        "next": None,
    },
    "change": {
        "epoch": "jMQq2AhBYrQa",
        "from": 3,
        "v": 4,
        "ops": [
            {"set": ["01KAJ1VBM07Q3V9D2MXKAE5TRW"], "read": True, "seen": True},
            {"set": ["01KAJ1VBM0M5T0R9QWVK2EXD3A"], "seen": True},
        ],
        "badge": {
            "epoch": "jMQq2AhBYrQa",
            "v": 4,
            "unread": 8,
            "unseen": 0,
            "more": False,
            "by": {
                "invoices": {"unread": 7, "unseen": 0},
                "dm": {"unread": 1, "unseen": 0},
            },
        },
        "op_id": "tap-1",
    },
    "ping": {"v": 4},
    "auth": {"expires_in": 60},
    "reset": {"reason": "epoch"},
    "bye": {"reason": "drain", "retry": 1007},
}
"""The data of each event, as streams that follow the story are told it."""

STREAMS: Mapping[str, tuple[str, ...]] = {
    "badge": ("hello", "badge"),
    "items": ("hello", "snapshot", "change"),
}
"""The events of a stream that is opened before the user's own operation, by level."""
