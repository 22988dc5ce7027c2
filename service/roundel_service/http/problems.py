"""Problem documents (RFC 9457): what a caller is told when a request fails."""

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
    """A request that is answered with a problem document and takes no effect.

    *name* is the stable part of its type; *headers* go with the answer.
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
    """Make the problem of a request whose fields are wrong (422)."""
    return Problem(
        status=422,
        name="invalid-request",
        title="The request has invalid fields",
        detail="; ".join(f"{error.field}: {error.detail}" for error in errors),
        errors=errors,
    )


def malformed_body(detail: str) -> Problem:
    """Make the problem of a body that is no JSON (400)."""
    return Problem(
        status=400,
        name="malformed-body",
        title="The body is not JSON",
        detail=detail,
    )


def unauthorized(detail: str) -> Problem:
    """Make the problem of a missing or bad proof of identity (401)."""
    return Problem(
        status=401,
        name="unauthorized",
        title="No valid proof of identity",
        detail=detail,
        headers={"WWW-Authenticate": "Bearer"},
    )


def forbidden(detail: str) -> Problem:
    """Make the problem of a proof that does not allow this (403)."""
    return Problem(
        status=403,
        name="forbidden",
        title="Not allowed with this proof of identity",
        detail=detail,
    )


def too_large(detail: str) -> Problem:
    """Make the problem of a request that is over a bound of bytes (413)."""
    return Problem(
        status=413,
        name="too-large",
        title="The request is too large",
        detail=detail,
    )


def not_acceptable(detail: str) -> Problem:
    """Make the problem of an `Accept` that excludes what there is (406)."""
    return Problem(
        status=406,
        name="not-acceptable",
        title="Only an event stream can be had here",
        detail=detail,
    )


def revoked() -> Problem:
    """Make the problem of a proof that was taken back (401)."""
    return attrs.evolve(
        unauthorized("the proof was issued before the user's proofs were revoked"),
        name="revoked",
        title="The proof of identity was revoked",
    )


def key_reused() -> Problem:
    """Make the problem of an idempotency key that came with another body (409)."""
    return Problem(
        status=409,
        name="idempotency-key-reused",
        title="The Idempotency-Key was used with another body",
        detail="Idempotency-Key: expected the body that it came with first",
    )


def too_many_categories(detail: str) -> Problem:
    """Make the problem of a mailbox that may have no more categories (422)."""
    return Problem(
        status=422,
        name="too-many-categories",
        title="The mailbox has too many categories",
        detail=detail,
        errors=(FieldError("category", detail),),
    )


def too_many_requests(retry_after: int) -> Problem:
    """Make the problem of a caller that asks too often (429)."""
    return Problem(
        status=429,
        name="too-many-requests",
        title="Too many requests",
        detail=f"expected fewer calls: try again in {retry_after} s",
        headers={"Retry-After": str(retry_after)},
    )


def internal_error() -> Problem:
    """Make the problem of a failure that is ours (500); the log says more."""
    return Problem(
        status=500,
        name="internal-error",
        title="The service failed",
        detail="the request failed by a fault of the service, which was logged",
    )


def keys_unavailable() -> Problem:
    """Make the problem of a token before the service has loaded a key (503)."""
    return Problem(
        status=503,
        name="keys-unavailable",
        title="Tokens cannot be verified now",
        detail="the keys that tokens are verified with could not be read yet",
        headers={"Retry-After": "5"},
    )


def engine_unavailable(detail: str) -> Problem:
    """Make the problem of an engine that cannot promise anything now (503)."""
    return Problem(
        status=503,
        name="engine-unavailable",
        title="The mailboxes cannot be reached now",
        detail=detail,
        headers={"Retry-After": "2"},
    )
