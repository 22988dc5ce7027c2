"""The document's info, servers, tags, security schemes and common headers."""

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
        "request takes effect entirely or not at all, except that one recipient may "
        "fail alone. Errors are problem documents (RFC 9457).\n\n"
        "An invalid credential is 401, even if the request has a valid one too. A "
        "write by cookie needs an `Origin` that is the service's own or on the CORS "
        "list.\n\n"
        "Every `GET` supports `HEAD`. An unknown path is 404, another method 405. The "
        "origins in `ROUNDEL_CORS_ORIGINS` may call with credentials."
    ),
}

SERVERS: list[Json] = [{"url": "/", "description": "The main listener."}]
OPERATOR_SERVERS: list[Json] = [
    {"url": "http://127.0.0.1:9180", "description": "The operator's listener."}
]

TAGS: list[Json] = [
    {
        "name": "Producer",
        "description": "Calls of a backend: notify, retract, set gauges, manage users.",
    },
    {
        "name": "User",
        "description": "Calls of a browser, for the user of its credentials.",
    },
    {"name": "Stream", "description": "Live events of the badge or the list."},
    {"name": "Operator", "description": "Health checks, metrics and this document."},
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
            "A JWT of the user in its claim `sub`; `exp` is required. It is verified "
            "with `ROUNDEL_JWT_SECRET` (HS256) or `ROUNDEL_JWKS` (RS256, ES256, EdDSA)."
        ),
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "roundel",
        "description": "The same JWT in a cookie, which browsers send automatically.",
    },
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "A ticket of `POST /v1/tickets`, for one stream, once.",
    },
}

REQUEST_HEADERS: Json = {
    "idempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": (
            "1 to 255 visible ASCII characters. The same key with the same body within "
            "24 h gets the first response and changes nothing; with another body it "
            "is 409."
        ),
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "example": "issue-42-mention-7",
    },
    "ifNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "Known entity tags: a match is a 304.",
        "schema": {"type": "string"},
        "example": '"jMQq2AhBYrQa.3"',
    },
    "lastEventId": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": (
            "The id of the last event received, which browsers send when they "
            "reconnect. It takes precedence over `cursor`."
        ),
        "schema": {"type": "string"},
        "example": "jMQq2AhBYrQa.3",
    },
    "requestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": (
            "The caller's id of the request: 1 to 64 characters of "
            "`A-Z a-z 0-9 . _ -`. Any other value is replaced."
        ),
        "schema": {"type": "string"},
        "example": "web-7f3a91",
    },
}

HEADERS: Json = {
    "X-Request-Id": {
        "description": "The id of the request in the service's log.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "example": "web-7f3a91",
    },
    "ETag": {
        "description": 'A strong entity tag; of a badge: `"EPOCH.V"`.',
        "required": True,
        "schema": {"type": "string", "pattern": '^"[!#-~]+"$'},
        "example": '"jMQq2AhBYrQa.3"',
    },
    "Retry-After": {
        "description": "Seconds until the next attempt.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    },
    "WWW-Authenticate": {
        "description": "The authentication scheme.",
        "required": True,
        "schema": {"const": "Bearer"},
        "example": "Bearer",
    },
    "Allow": {
        "description": "The methods of the path.",
        "required": True,
        "schema": {"type": "string"},
        "example": "GET, HEAD, OPTIONS",
    },
}

STREAM_HEADERS: Json = {
    "Cache-Control": {
        "description": "Intermediaries must not store or transform the stream.",
        "required": True,
        "schema": {"const": "no-store, no-transform"},
    },
    "X-Accel-Buffering": {
        "description": "Reverse proxies must not buffer the stream.",
        "required": True,
        "schema": {"const": "no"},
    },
}
