"""The operations of the document, read from `operations.toml`.

Schemas and types are named there; fields and examples have their own modules.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, final

from msgspec import Struct

from ..data import read_data

Tag: TypeAlias = Literal["Producer", "User", "Stream", "Operator"]

JSON = "application/json"
NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
TEXT = "text/plain"


@final
class SuccessResponse(Struct, kw_only=True, forbid_unknown_fields=True):
    """A response that is no problem; without a *schema* it has no JSON body."""

    status: int = 200
    description: str
    schema: str | None = None
    content_type: str = JSON
    headers: tuple[str, ...] = ()


@final
class Operation(Struct, kw_only=True, forbid_unknown_fields=True):
    """One call: credentials, parameters, bodies and responses.

    *path_type*, *query_type* and *body* name types of `schemas`. *security* names the
    accepted security schemes, and *headers* the request headers. *extra_problems* are
    the problems that do not follow from the other fields.
    """

    id: str
    method: str
    path: str
    tag: Tag
    summary: str
    description: str
    security: tuple[str, ...] = ()
    path_type: str | None = None
    query_type: str | None = None
    headers: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    body_type: str = JSON
    responses: tuple[SuccessResponse, ...]
    extra_problems: tuple[str, ...] = ()
    is_operator_only: bool = False

    @property
    def problems(self) -> list[str]:
        """The names of all problems that the operation may return."""
        names = {*self.extra_problems}
        if self.security:
            names |= {"unauthorized", "forbidden", "internal-error"}
        if self.security and self.tag != "Stream":
            names |= {"too-many-requests", "engine-unavailable", "keys-unavailable"}
            names |= {"mailbox-damaged"}
        if "userToken" in self.security and self.tag != "Stream":
            names |= {"revoked"}
        if self.query_type:
            names |= {"invalid-request", "query-too-long"}
        if self.path_type:
            names |= {"invalid-request", "not-found"}
        if self.body:
            names |= {"unsupported-media-type"}
        if self.body and self.body_type == JSON:
            names |= {"malformed-body", "request-timeout", "too-large"}
        if self.method == "GET" and not self.is_operator_only:
            names |= {"too-large"}
        return sorted(names)


OPERATIONS = read_data(
    "openapi/operations.toml", dict[Literal["operations"], tuple[Operation, ...]]
)["operations"]
"""Every operation, in reading order."""
