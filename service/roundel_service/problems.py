"""Problem documents (RFC 9457): what a caller is told when a request fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import attrs
import msgspec
from quart import Response

MEDIA_TYPE = "application/problem+json"


@final
@attrs.frozen
class FieldError:
    """One bad *field* of a request, as a path like ``to.users[2]``."""

    field: str
    detail: str


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

    def document(self) -> dict[str, Any]:
        """Return the problem as the JSON object of RFC 9457."""
        document: dict[str, Any] = {
            "type": f"urn:roundel:problem:{self.name}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [attrs.asdict(error) for error in self.errors]
        return document

    def response(self) -> Response:
        """Return the problem as an answer."""
        return Response(
            msgspec.json.encode(self.document()),
            self.status,
            headers=dict(self.headers),
            content_type=MEDIA_TYPE,
        )


def invalid(*errors: FieldError) -> Problem:
    """Make the problem of a request whose fields are wrong (422)."""
    return Problem(
        status=422,
        name="invalid-request",
        title="The request has invalid fields",
        detail="; ".join(f"{error.field}: {error.detail}" for error in errors),
        errors=errors,
    )


def malformed(detail: str) -> Problem:
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
