"""Problem documents (RFC 9457): the bodies of error responses."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, final

from msgspec import UNSET, Meta, Struct, UnsetType

MEDIA_TYPE = "application/problem+json"


@final
class FieldError(Struct, forbid_unknown_fields=True, frozen=True):
    """One bad field of a request."""

    field: Annotated[str, Meta(description="A path like `to.users[2]`.")]
    detail: str


@final
class ProblemDocument(Struct, forbid_unknown_fields=True):
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


_BEARER = {"WWW-Authenticate": "Bearer"}
PROBLEM_TYPES: Mapping[str, tuple[int, str, Mapping[str, str]]] = {
    "malformed-body": (400, "The body is not JSON", {}),
    "unauthorized": (401, "Missing or invalid credentials", _BEARER),
    "revoked": (401, "The credential was revoked", _BEARER),
    "forbidden": (403, "Not allowed with these credentials", {}),
    "not-acceptable": (406, "Only an event stream is available", {}),
    "request-timeout": (408, "The request was not received in time", {}),
    "idempotency-key-reused": (
        409,
        "The Idempotency-Key was used with another body",
        {},
    ),
    "too-large": (413, "The request is too large", {}),
    "query-too-long": (414, "The query is too long", {}),
    "invalid-request": (422, "The request has invalid fields", {}),
    "too-many-categories": (422, "The mailbox has too many categories", {}),
    "too-many-requests": (429, "Too many requests", {}),
    "internal-error": (500, "Internal error", {}),
    "keys-unavailable": (
        503,
        "The verification keys are unavailable",
        {"Retry-After": "5"},
    ),
    "engine-unavailable": (503, "The engine is unavailable", {"Retry-After": "2"}),
}
"""Status, title and headers of each problem, by the stable part of its type."""


@final
class Problem(Exception):  # noqa: N818, RFC 9457 calls it so
    """Raised to answer a request with a problem document; it has no effect.

    *name* is one of `PROBLEM_TYPES`, or the reason phrase of an HTTP status in lower
    case with hyphens, such as `not-found`. *headers* are added to the type's.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, detail)
        status, title, type_headers = PROBLEM_TYPES.get(name) or _http_status(name)
        self.name, self.detail, self.errors = name, detail, errors
        self.status, self.title = status, title
        self.headers = {**type_headers, **(headers or {})}

    def document(self) -> ProblemDocument:
        """Return the problem as the JSON document of RFC 9457."""
        return ProblemDocument(
            type=f"urn:roundel:problem:{self.name}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            errors=list(self.errors) or UNSET,
        )


def _http_status(name: str) -> tuple[int, str, Mapping[str, str]]:
    status = HTTPStatus[name.upper().replace("-", "_")]
    return status.value, status.phrase, {}


def problem_of_status(status: int, detail: str | None, **headers: str) -> Problem:
    """Return the problem of an HTTP error status, such as 404 or 405."""
    found = HTTPStatus(status)
    name = found.name.lower().replace("_", "-")
    return Problem(name, detail or found.description, headers=headers)


def invalid_request(*errors: FieldError) -> Problem:
    """Return the problem of a request with invalid fields."""
    detail = "; ".join(f"{error.field}: {error.detail}" for error in errors)
    return Problem("invalid-request", detail, errors=errors)


def too_many_categories(detail: str) -> Problem:
    """Return the problem of a mailbox at its limit of categories."""
    errors = (FieldError("category", detail),)
    return Problem("too-many-categories", detail, errors=errors)


def too_many_requests(retry_after: int) -> Problem:
    """Return the problem of a caller above its rate limit."""
    detail = f"rate limit exceeded: try again in {retry_after} s"
    headers = {"Retry-After": str(retry_after)}
    return Problem("too-many-requests", detail, headers=headers)


def revoked() -> Problem:
    """Return the problem of a revoked credential."""
    return Problem("revoked", "the credential was issued before the revocation")


def internal_error() -> Problem:
    """Return the problem of an internal error, which the log details."""
    detail = "an internal error, which was logged with the request id"
    return Problem("internal-error", detail)


def keys_unavailable() -> Problem:
    """Return the problem of a token before a key is loaded."""
    detail = "the keys for token verification are not loaded yet"
    return Problem("keys-unavailable", detail)


def key_reused() -> Problem:
    """Return the problem of an idempotency key with another body."""
    detail = "Idempotency-Key: expected the body of its first use"
    return Problem("idempotency-key-reused", detail)
