"""What the document says of each call, apart from its fields and examples."""

from __future__ import annotations

from typing import Literal, TypeAlias, final

import attrs
from msgspec import Struct

from .. import schemas

Tag: TypeAlias = Literal["Producer", "User", "Stream", "Operator"]

JSON = "application/json"
NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"
TEXT = "text/plain"

_PRODUCER = ("producerKey",)
_USER = ("userToken", "cookie")
_HEADED = ("idempotencyKey",)


@final
@attrs.frozen(kw_only=True)
class SuccessResponse:
    """An answer that is no problem: its *schema* by name, or none without a body."""

    status: int = 200
    description: str
    schema: str | None = None
    content_type: str = JSON
    headers: tuple[str, ...] = ()


@final
@attrs.frozen(kw_only=True)
class Operation:
    """One call: who may make it, what it takes and what it is answered.

    *body* names the schemas that its body may have. *failures* are what can go wrong
    besides what `proofs`, a query and a body bring about.
    """

    id: str
    method: str
    path: str
    tag: Tag
    summary: str
    description: str
    proofs: tuple[str, ...] = ()
    parts: type[Struct] | None = None
    query: type[Struct] | None = None
    headers: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    body_type: str = JSON
    answers: tuple[SuccessResponse, ...]
    failures: tuple[str, ...] = ()
    is_operators: bool = False

    @property
    def problems(self) -> list[str]:
        """The names of all the problems that the call may be answered with."""
        names = {*self.failures}
        if self.proofs:
            names |= {"unauthorized", "internal-error"}
        if self.proofs and self.tag != "Stream":
            names |= {"forbidden", "too-many-requests"}
            names |= {"engine-unavailable", "keys-unavailable"}
        if "userToken" in self.proofs and self.tag != "Stream":
            names |= {"revoked"}
        if self.tag == "Stream":
            names |= {"forbidden"}
        if self.query is not None:
            names |= {"invalid-request", "query-too-long"}
        if self.parts is not None:
            names |= {"invalid-request", "not-found"}
        if self.body and self.body_type == JSON:
            names |= {"malformed-body", "request-timeout", "too-large"}
        if self.method == "GET" and not self.is_operators:
            names |= {"too-large"}
        return sorted(names)


def _ok(schema: str, description: str, *headers: str) -> tuple[SuccessResponse, ...]:
    return (SuccessResponse(description=description, schema=schema, headers=headers),)


_BADGE = (
    SuccessResponse(description="The badge.", schema="Badge", headers=("ETag",)),
    SuccessResponse(
        status=304,
        description="The badge is still that of `If-None-Match`.",
        headers=("ETag",),
    ),
)

_PRODUCERS = (
    Operation(
        id="notify",
        method="POST",
        path="/v1/notify",
        tag="Producer",
        summary="Notify one or many",
        description=(
            "Puts one notification into the mailbox of each recipient. An item may "
            "take at most 8 KiB as JSON. When 200 is sent, the engine's promise of "
            "durability holds for every result in it.\n\n"
            "With an `Idempotency-Key`, the same body again within 24 h answers what "
            "the first call answered and does nothing."
        ),
        proofs=_PRODUCER,
        query=schemas.NoQuery,
        headers=_HEADED,
        body=("NotifyRequest",),
        answers=_ok("NotifyResponse", "One result for each recipient, in order."),
        failures=("idempotency-key-reused", "too-many-categories"),
    ),
    Operation(
        id="batch",
        method="POST",
        path="/v1/batch",
        tag="Producer",
        summary="Notify line by line",
        description=(
            "Takes NDJSON, one body of `POST /v1/notify` a line, and answers NDJSON "
            "while it reads: one result or problem a line, in order. Lines for one "
            "user take effect in order; empty lines are left out. Whoever sends too "
            "fast is held back, not refused."
        ),
        proofs=_PRODUCER,
        query=schemas.NoQuery,
        headers=_HEADED,
        body=("NotifyRequest",),
        body_type=NDJSON,
        answers=(
            SuccessResponse(
                description="A result or a problem for each line.",
                schema="BatchLine",
                content_type=NDJSON,
            ),
        ),
    ),
    Operation(
        id="retract",
        method="DELETE",
        path="/v1/items",
        tag="Producer",
        summary="Take items back",
        description=(
            "Retracts from every mailbox, or from that of one `user`, by `source`, or "
            "by `key` and `category` together."
        ),
        proofs=_PRODUCER,
        query=schemas.RetractQuery,
        answers=_ok("RetractResponse", "How many items of how many users."),
    ),
    Operation(
        id="setGauge",
        method="PUT",
        path="/v1/users/{user}/gauges/{category}",
        tag="Producer",
        summary="Set a count that you own",
        description=(
            "Sets a category whose count another database owns. It counts into "
            "`unread` and has no items. A `source_version` that is not newer is "
            "ignored, and `apply` says so."
        ),
        proofs=_PRODUCER,
        parts=schemas.GaugePath,
        query=schemas.NoQuery,
        body=("GaugeRequest",),
        answers=_ok("GaugeResponse", "What holds now."),
        failures=("too-many-categories",),
    ),
    Operation(
        id="dropGauge",
        method="DELETE",
        path="/v1/users/{user}/gauges/{category}",
        tag="Producer",
        summary="Remove a gauge",
        description="Removes it; one that is not there is no mistake.",
        proofs=_PRODUCER,
        parts=schemas.GaugePath,
        query=schemas.NoQuery,
        answers=_ok("BadgeState", "The mailbox without it."),
    ),
    Operation(
        id="badgeOfUser",
        method="GET",
        path="/v1/users/{user}/badge",
        tag="Producer",
        summary="Read a user's badge",
        description="The same as the user's own `GET /v1/badge`.",
        proofs=_PRODUCER,
        parts=schemas.UserPath,
        query=schemas.BadgeQuery,
        headers=("ifNoneMatch",),
        answers=_BADGE,
    ),
    Operation(
        id="explain",
        method="GET",
        path="/v1/users/{user}/explain",
        tag="Producer",
        summary="Ask why a badge is what it is",
        description=(
            "Items counted, items not counted and why, gauges, and the last 50 "
            "operations with their versions. No item's text is in it."
        ),
        proofs=_PRODUCER,
        parts=schemas.UserPath,
        query=schemas.NoQuery,
        answers=_ok("Explanation", "The reasons."),
    ),
    Operation(
        id="disconnect",
        method="POST",
        path="/v1/users/{user}/disconnect",
        tag="Producer",
        summary="End a user's streams",
        description=(
            'Ends them with `bye`, `reason: "revoked"`. With `revoke`, every proof '
            "issued before now is refused for 24 h: with 204 on the stream, with 401 "
            "elsewhere."
        ),
        proofs=_PRODUCER,
        parts=schemas.UserPath,
        query=schemas.NoQuery,
        body=("DisconnectRequest",),
        answers=_ok("DisconnectResponse", "Done."),
    ),
    Operation(
        id="forget",
        method="DELETE",
        path="/v1/users/{user}",
        tag="Producer",
        summary="Forget a user",
        description="Forgets all that the mailbox held; a new epoch begins.",
        proofs=_PRODUCER,
        parts=schemas.UserPath,
        query=schemas.NoQuery,
        answers=_ok("DeleteUserResponse", "The empty mailbox."),
    ),
)

_USERS = (
    Operation(
        id="badge",
        method="GET",
        path="/v1/badge",
        tag="User",
        summary="Read the badge",
        description=(
            "The whole number and the version at which it is true. With "
            "`If-None-Match` it is 304 while nothing changed, and with `wait` the "
            "answer is held until something does."
        ),
        proofs=_USER,
        query=schemas.BadgeQuery,
        headers=("ifNoneMatch",),
        answers=_BADGE,
    ),
    Operation(
        id="items",
        method="GET",
        path="/v1/items",
        tag="User",
        summary="List the items",
        description=(
            "A page of the list, newest first. It is true at its `cursor`, from which "
            "a stream may go on without a gap."
        ),
        proofs=_USER,
        query=schemas.ItemsQuery,
        answers=_ok("ItemsResponse", "A page."),
    ),
    Operation(
        id="ops",
        method="POST",
        path="/v1/ops",
        tag="User",
        summary="Mark as read, seen or archived",
        description=(
            "Does 1 to 100 operations as one version, all or none. Each has exactly "
            "one verb. The same `op_id` again within 24 h answers the same and does "
            "nothing."
        ),
        proofs=_USER,
        query=schemas.NoQuery,
        body=("OpsRequest",),
        answers=_ok("BadgeState", "The mailbox after them."),
    ),
    Operation(
        id="ticket",
        method="POST",
        path="/v1/tickets",
        tag="User",
        summary="Get a ticket for a stream",
        description=(
            "For native `EventSource` where no cookie can be had: it sends no header, "
            "and a URL ends up in logs. A ticket opens one stream, once, within 60 s. "
            "The used ticket together with an id of its own stream, which browsers "
            "send as `Last-Event-ID`, opens it again for as long as the proof behind "
            "it holds.\n\n"
            "A user sends `{}`; a producer says for whom, and for how long the stream "
            "may be reopened."
        ),
        proofs=(*_PRODUCER, *_USER),
        query=schemas.NoQuery,
        body=("NoFields", "TicketRequest"),
        answers=_ok("TicketResponse", "The ticket."),
        failures=("invalid-request",),
    ),
)

_STREAM = Operation(
    id="stream",
    method="GET",
    path="/v1/stream",
    tag="Stream",
    summary="Follow the badge, or the list",
    description=(
        "Server-sent events. The first, `hello`, says how the stream was resumed: "
        "`current`, `replayed`, `snapshot` or `reset`. Nothing is lost without being "
        "told. `HEAD` answers the same head and ends.\n\n"
        "Planned ends are a 200 with `retry:` and `bye`, never 429 or 503, at which a "
        "browser would give up: so when the service is full or is about to end, and "
        "when a stream is as old as it may get or its proof runs out."
    ),
    proofs=(*_USER, "ticket"),
    query=schemas.StreamQuery,
    headers=("lastEventId",),
    answers=(
        SuccessResponse(
            description="The stream; it ends with `bye`, or with the connection.",
            content_type=EVENTS,
        ),
        SuccessResponse(
            status=204,
            description="The proof was revoked: a browser does not come back.",
        ),
    ),
    failures=("not-acceptable",),
)

_OPERATORS = (
    Operation(
        id="livez",
        method="GET",
        path="/livez",
        tag="Operator",
        summary="Ask whether the process lives",
        description="On both listeners; no proof is needed.",
        answers=_ok("LiveResponse", "It does."),
    ),
    Operation(
        id="readyz",
        method="GET",
        path="/readyz",
        tag="Operator",
        summary="Ask whether to send requests here",
        description="On the operator's listener alone.",
        answers=(
            SuccessResponse(description="Yes.", schema="ReadyResponse"),
            SuccessResponse(
                status=503,
                description="No: it is about to end, or the engine or the keys are "
                "out of reach.",
                schema="NotReadyResponse",
            ),
        ),
        is_operators=True,
    ),
    Operation(
        id="metrics",
        method="GET",
        path="/metrics",
        tag="Operator",
        summary="Read the numbers",
        description=(
            "On the operator's listener alone, in Prometheus' text format. "
            "`roundel_badge_audit_mismatch_total` must stay 0."
        ),
        answers=(SuccessResponse(description="The numbers.", content_type=TEXT),),
        is_operators=True,
    ),
    Operation(
        id="openapi",
        method="GET",
        path="/openapi.json",
        tag="Operator",
        summary="Read this document",
        description="OpenAPI 3.1; `GET /api` shows it to people.",
        headers=("ifNoneMatch",),
        answers=(
            SuccessResponse(
                description="The document.", schema="OpenApi", headers=("ETag",)
            ),
            SuccessResponse(
                status=304,
                description="It is still that of `If-None-Match`.",
                headers=("ETag",),
            ),
        ),
    ),
)

OPERATIONS = (*_PRODUCERS, *_USERS, _STREAM, *_OPERATORS)
"""Every call, in the order in which people read of them."""
