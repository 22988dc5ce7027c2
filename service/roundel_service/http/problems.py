"""Problem documents (RFC 9457): the bodies of error responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, final

import attrs
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


@final
@attrs.define(kw_only=True)
class Problem(Exception):  # noqa: N818, RFC 9457 calls it so
    """Raised to answer a request with a problem document; it has no effect.

    *name* is the stable part of the type; *headers* are added to the response.
    """

    status: int
    name: str
    title: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def document(self) -> ProblemDocument:
        """Return the problem as the JSON document of RFC 9457."""
        return ProblemDocument(
            type=f"urn:roundel:problem:{self.name}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            errors=list(self.errors) or UNSET,
        )


def invalid_request(*errors: FieldError) -> Problem:
    """Return the problem of a request with invalid fields (422)."""
    return Problem(
        status=422,
        name="invalid-request",
        title="The request has invalid fields",
        detail="; ".join(f"{error.field}: {error.detail}" for error in errors),
        errors=errors,
    )


def malformed_body(detail: str) -> Problem:
    """Return the problem of a body that is not JSON (400)."""
    return Problem(
        status=400,
        name="malformed-body",
        title="The body is not JSON",
        detail=detail,
    )


def unauthorized(detail: str) -> Problem:
    """Return the problem of missing or invalid credentials (401)."""
    return Problem(
        status=401,
        name="unauthorized",
        title="Missing or invalid credentials",
        detail=detail,
        headers={"WWW-Authenticate": "Bearer"},
    )


def forbidden(detail: str) -> Problem:
    """Return the problem of credentials without permission (403)."""
    return Problem(
        status=403,
        name="forbidden",
        title="Not allowed with these credentials",
        detail=detail,
    )


def too_large(detail: str) -> Problem:
    """Return the problem of a request above a size limit (413)."""
    return Problem(
        status=413,
        name="too-large",
        title="The request is too large",
        detail=detail,
    )


def not_acceptable(detail: str) -> Problem:
    """Return the problem of an `Accept` that excludes event streams (406)."""
    return Problem(
        status=406,
        name="not-acceptable",
        title="Only an event stream is available",
        detail=detail,
    )


def revoked() -> Problem:
    """Return the problem of a revoked credential (401)."""
    return attrs.evolve(
        unauthorized("the credential was issued before the revocation"),
        name="revoked",
        title="The credential was revoked",
    )


def key_reused() -> Problem:
    """Return the problem of an idempotency key with another body (409)."""
    return Problem(
        status=409,
        name="idempotency-key-reused",
        title="The Idempotency-Key was used with another body",
        detail="Idempotency-Key: expected the body of its first use",
    )


def too_many_categories(detail: str) -> Problem:
    """Return the problem of a mailbox at its limit of categories (422)."""
    return Problem(
        status=422,
        name="too-many-categories",
        title="The mailbox has too many categories",
        detail=detail,
        errors=(FieldError("category", detail),),
    )


def too_many_requests(retry_after: int) -> Problem:
    """Return the problem of a caller above its rate limit (429)."""
    return Problem(
        status=429,
        name="too-many-requests",
        title="Too many requests",
        detail=f"rate limit exceeded: try again in {retry_after} s",
        headers={"Retry-After": str(retry_after)},
    )


def internal_error() -> Problem:
    """Return the problem of an internal error, which the log details (500)."""
    return Problem(
        status=500,
        name="internal-error",
        title="Internal error",
        detail="an internal error, which was logged with the request id",
    )


def keys_unavailable() -> Problem:
    """Return the problem of a token before a key is loaded (503)."""
    return Problem(
        status=503,
        name="keys-unavailable",
        title="The verification keys are unavailable",
        detail="the keys for token verification are not loaded yet",
        headers={"Retry-After": "5"},
    )


def engine_unavailable(detail: str) -> Problem:
    """Return the problem of an unavailable engine (503)."""
    return Problem(
        status=503,
        name="engine-unavailable",
        title="The engine is unavailable",
        detail=detail,
        headers={"Retry-After": "2"},
    )
