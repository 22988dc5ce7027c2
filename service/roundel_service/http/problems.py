"""The problems of requests, which become problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import final

from msgspec import UNSET, Struct

from ..domain.items import MAX_ITEM_SIZE
from ..domain.refusals import (
    OperationRefused,
    TooManyCategories,
    TooManySubscriptions,
    TooManyWaiting,
)
from ..engines.base import EngineUnavailable, MailboxDamaged
from .data import read_data
from .responses import FieldError, ProblemDocument

MAX_ERRORS = 20
"""Maximum number of bad fields that a problem names."""

MAX_ERROR_TEXT = 300
"""Maximum length of the name of a bad field, and of what is wrong with it."""


@final
class ProblemExample(Struct, forbid_unknown_fields=True, frozen=True):
    """The arguments of a `Problem` that the OpenAPI document shows."""

    detail: str | None = None
    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = {}


@final
class ProblemType(Struct, forbid_unknown_fields=True):
    """A kind of problem, its default *detail*, and *when* the service returns it."""

    status: int
    title: str
    when: str = ""
    detail: str = ""
    headers: Mapping[str, str] = {}
    example: ProblemExample = ProblemExample()


PROBLEM_TYPES = read_data("problems.toml", dict[str, ProblemType])
"""Each problem by the stable part of its type."""


@final
class Problem(Exception):  # noqa: N818, RFC 9457 calls it so
    """Raised to answer a request with a problem document; it has no effect.

    *name* is one of `PROBLEM_TYPES`, or the reason phrase of an HTTP status in lower
    case with hyphens. *detail* replaces the type's, *headers* are added to the type's.
    """

    def __init__(
        self,
        name: str,
        detail: str | None = None,
        *,
        errors: tuple[FieldError, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        kind = PROBLEM_TYPES.get(name) or _http_status(name)
        self.name: str = name
        self.detail: str = kind.detail if detail is None else detail
        super().__init__(name, self.detail)
        self.status: int = kind.status
        self.title: str = kind.title
        self.errors: tuple[FieldError, ...] = errors
        self.headers: dict[str, str] = {**kind.headers, **(headers or {})}

    def document(self) -> ProblemDocument:
        """Return the problem as the JSON document of RFC 9457."""
        return ProblemDocument(
            type=f"urn:roundel:problem:{self.name}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            errors=list(self.errors) or UNSET,
        )


def _http_status(name: str) -> ProblemType:
    status = HTTPStatus[name.upper().replace("-", "_")]
    return ProblemType(status.value, status.phrase)


def problem_of_status(status: int, detail: str | None, **headers: str) -> Problem:
    """Return the problem of an HTTP error status, such as 404 or 405."""
    found = HTTPStatus(status)
    name = found.name.lower().replace("_", "-")
    return Problem(name, detail or found.description, headers=headers)


def invalid_request(*errors: FieldError) -> Problem:
    """Return the problem of a request with invalid fields; it names `MAX_ERRORS`."""
    # A caller sizes the number of errors and, for unknown fields, their texts.
    errors = tuple(
        FieldError(error.field[:MAX_ERROR_TEXT], error.detail[:MAX_ERROR_TEXT])
        for error in errors[:MAX_ERRORS]
    )
    detail = "; ".join(f"{error.field}: {error.detail}" for error in errors)
    return Problem("invalid-request", detail, errors=errors)


def engine_unavailable(error: EngineUnavailable) -> Problem:
    """Return the problem of an engine, or of one damaged mailbox."""
    if isinstance(error, MailboxDamaged):
        return Problem("mailbox-damaged", str(error))
    return Problem("engine-unavailable", str(error))


def item_too_large(size: int) -> Problem:
    """Return the problem of an item that would take *size* bytes."""
    return Problem(
        "too-large",
        f"the item takes {size} bytes as JSON, expected at most {MAX_ITEM_SIZE}",
    )


def refused(error: OperationRefused) -> Problem:
    """Return the problem of an operation that a mailbox refused."""
    if isinstance(error, TooManyCategories):
        return too_many_categories(str(error))
    if isinstance(error, TooManyWaiting):
        return Problem("too-many-waiting", str(error))
    if isinstance(error, TooManySubscriptions):
        return Problem("too-many-topics", str(error))
    return Problem("too-large", str(error))


def too_many_categories(detail: str) -> Problem:
    """Return the problem of a mailbox at its limit of categories."""
    errors = (FieldError("category", detail),)
    return Problem("too-many-categories", detail, errors=errors)
