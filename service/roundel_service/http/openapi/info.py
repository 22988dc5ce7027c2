"""What the document says besides its calls: who calls, and the common headers."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

INFO: Json = {
    "title": "Roundel",
    "summary": "Notification badges that cannot drift, live over server-sent events.",
    "version": "1",
    "license": {"name": "MIT", "identifier": "MIT"},
    "description": (
        "A **mailbox** belongs to one user and holds items in a bounded ring. Every "
        "visible change of it makes exactly one version `v`; an **epoch** names an "
        "unbroken line of versions. The **badge** is a fold over the items, and every "
        "answer that carries a number carries the whole number and the epoch and "
        "version at which it is true: apply it only if it is newer.\n\n"
        "All bodies are JSON in UTF-8. An unknown field is an error, never ignored. A "
        "request takes effect whole or not at all, except where the answer for one "
        "recipient says otherwise. Whatever fails is told by a problem document "
        "(RFC 9457).\n\n"
        "A proof of identity that is present and bad is 401, also when another proof "
        "beside it would do. A write that is proved by cookie needs an `Origin` that "
        "is the service's own or on the CORS list.\n\n"
        "Every `GET` answers `HEAD` too. Another path is 404, another method 405. "
        "Pages of the origins in `ROUNDEL_CORS_ORIGINS` may call with credentials."
    ),
}

SERVERS: list[Json] = [{"url": "/", "description": "The main listener."}]
OPERATOR_SERVERS: list[Json] = [
    {"url": "http://127.0.0.1:9180", "description": "The operator's listener."}
]

TAGS: list[Json] = [
    {
        "name": "Producer",
        "description": "What a backend calls: putting in, taking back, looking after.",
    },
    {
        "name": "User",
        "description": "What a browser calls, for the user that its proof names.",
    },
    {"name": "Stream", "description": "The badge or the list, live."},
    {"name": "Operator", "description": "What whoever runs the service asks it."},
]

SECURITY_SCHEMES: Json = {
    "producerKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of `ROUNDEL_PRODUCER_KEYS`.",
    },
    "userToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": (
            "A JWT of the user that its `sub` names; `exp` is required. It is verified "
            "with `ROUNDEL_JWT_SECRET` (HS256) or `ROUNDEL_JWKS` (RS256, ES256, EdDSA)."
        ),
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "roundel",
        "description": "The same JWT in a cookie, which browsers send by themselves.",
    },
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "A ticket of `POST /v1/tickets`; it opens one stream, once.",
    },
}

REQUEST_HEADERS: Json = {
    "idempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": (
            "1 to 255 visible ASCII characters. The same key with the same body within "
            "24 h answers what the first call answered and does nothing; with another "
            "body it is 409."
        ),
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "example": "issue-42-mention-7",
    },
    "ifNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "Entity tags that are known already: one of them is 304.",
        "schema": {"type": "string"},
        "example": '"jMQq2AhBYrQa.3"',
    },
    "lastEventId": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": (
            "The id of the last event the client has, which browsers send by "
            "themselves when they reconnect. It wins over `cursor`."
        ),
        "schema": {"type": "string"},
        "example": "jMQq2AhBYrQa.3",
    },
    "requestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": (
            "The caller's own id of the request: 1 to 64 characters of "
            "`A-Z a-z 0-9 . _ -`. Anything else is replaced."
        ),
        "schema": {"type": "string"},
        "example": "web-7f3a91",
    },
}

HEADERS: Json = {
    "X-Request-Id": {
        "description": "The id of the request, as the service's log has it.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "example": "web-7f3a91",
    },
    "ETag": {
        "description": 'A strong entity tag; of a badge it is `"EPOCH.V"`.',
        "required": True,
        "schema": {"type": "string", "pattern": '^"[!#-~]+"$'},
        "example": '"jMQq2AhBYrQa.3"',
    },
    "Retry-After": {
        "description": "After how many seconds to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    },
    "WWW-Authenticate": {
        "description": "How to prove who calls.",
        "required": True,
        "schema": {"const": "Bearer"},
        "example": "Bearer",
    },
    "Allow": {
        "description": "The methods that the path has.",
        "required": True,
        "schema": {"type": "string"},
        "example": "GET, HEAD, OPTIONS",
    },
}

STREAM_HEADERS: Json = {
    "Cache-Control": {
        "description": "Nothing between may keep or change it.",
        "required": True,
        "schema": {"const": "no-store, no-transform"},
    },
    "X-Accel-Buffering": {
        "description": "No proxy may hold it back.",
        "required": True,
        "schema": {"const": "no"},
    },
}
