"""What callers are answered, as types: the document's schemas are made of these.

Nothing is sent through them. A test holds every answer and event of the running
service against their schemas, in which no other field may be.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0)]
Version = Annotated[int, Meta(ge=0, description="A version of the mailbox.")]
Epoch = Annotated[
    str,
    Meta(
        min_length=1,
        description="Names an unbroken line of versions; compare it, never sort it.",
    ),
]
Seconds = Annotated[float, Meta(ge=0)]
Time = Annotated[float, Meta(ge=0, description="Seconds since 1970.")]
ItemId = Annotated[str, Meta(min_length=1, max_length=64)]


@final
class CategoryCount(Struct, forbid_unknown_fields=True):
    """How many items of one category are unread, and how many of those unseen."""

    unread: Count
    unseen: Count


@final
class Total(Struct, forbid_unknown_fields=True):
    """A badge without its categories; with *more*, `unread` is a lower bound."""

    unread: Count
    unseen: Count
    more: bool


@final
class Badge(Struct, forbid_unknown_fields=True):
    """The whole number that is true at version `v` of the epoch.

    With *more*, unread items were evicted from a full mailbox, and `unread` is a
    lower bound: show it as "200+". Categories with no unread item are left out of
    `by`.
    """

    epoch: Epoch
    v: Version
    unread: Annotated[
        Count, Meta(description="Items neither read, archived nor expired, and gauges.")
    ]
    unseen: Annotated[Count, Meta(description="Those that no client has shown.")]
    more: bool
    by: Annotated[dict[str, CategoryCount], Meta(description="The same by category.")]


@final
class Item(Struct, forbid_unknown_fields=True):
    """One notification of a mailbox."""

    id: ItemId
    seq: Annotated[Count, Meta(description="The version at which it (re)appeared.")]
    category: str
    title: str
    body: str | None
    url: str | None
    icon: str | None
    key: str | None
    source: str | None
    data: Any
    created_at: Time
    expires_at: Time | None
    seen: bool
    read: bool
    archived: bool


@final
class FieldError(Struct, forbid_unknown_fields=True):
    """One bad field of a request."""

    field: Annotated[str, Meta(description="A path like `to.users[2]`.")]
    detail: str


@final
class Problem(Struct, forbid_unknown_fields=True):
    """A problem document (RFC 9457); the request took no effect."""

    type: Annotated[
        str,
        Meta(
            pattern="^urn:roundel:problem:[a-z0-9-]+$",
            description="What went wrong, for programs; it never changes.",
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
class Notified(Struct, forbid_unknown_fields=True):
    """What became of the notification in one recipient's mailbox."""

    user: str
    item: ItemId
    v: Version
    epoch: Epoch
    badge: Total


@final
class NotNotified(Struct, forbid_unknown_fields=True):
    """A recipient whose mailbox took nothing, and why."""

    user: str
    problem: Problem


@final
class NotifyAnswer(Struct, forbid_unknown_fields=True):
    """One result for each recipient, in the order given."""

    results: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=1_000)]


@final
class RetractAnswer(Struct, forbid_unknown_fields=True):
    """How many items were removed, and from how many users' mailboxes."""

    removed: Count
    users: Count


@final
class BadgeState(Struct, forbid_unknown_fields=True):
    """Where the mailbox stands after the call."""

    epoch: Epoch
    v: Version
    badge: Badge


@final
class GaugeAnswer(Struct, forbid_unknown_fields=True):
    """Whether the count was *applied*, and the `source_version` that holds now."""

    applied: bool
    source_version: Count
    epoch: Epoch
    v: Version
    badge: Badge


@final
class DisconnectAnswer(Struct, forbid_unknown_fields=True):
    """Whose streams were ended, and whether the proofs so far are refused now."""

    user: str
    revoked: bool


@final
class ForgetAnswer(Struct, forbid_unknown_fields=True):
    """The empty mailbox of the forgotten user, in its new epoch."""

    user: str
    epoch: Epoch
    v: Version
    badge: Badge


@final
class ExplainedItem(Struct, forbid_unknown_fields=True):
    """An item without its text, and where it is not counted, *why*."""

    id: ItemId
    seq: Count
    category: str
    key: str | None
    source: str | None
    seen: bool
    expires_at: Time | None
    reason: Literal["archived", "read"] | UnsetType = UNSET


@final
class ExplainedGauge(Struct, forbid_unknown_fields=True):
    """A count that another database owns."""

    category: str
    count: Count
    source_version: Count


@final
class AddedStep(Struct, forbid_unknown_fields=True):
    """An item that appeared, by its id."""

    add: ItemId


@final
class ExplainedOperation(Struct, forbid_unknown_fields=True):
    """What one version changed: who, when and what, and the number after it."""

    v: Version
    at: Time
    by: Literal["producer", "user", "time"]
    operation: str
    steps: Annotated[
        list[dict[str, Any]],
        Meta(description="As in a `change` event; of an added item just the id."),
    ]
    unread: Count


@final
class Explanation(Struct, forbid_unknown_fields=True):
    """Why a badge is what it is, newest first; no item's text is in it."""

    badge: Badge
    counted: list[ExplainedItem]
    not_counted: list[ExplainedItem]
    gauges: list[ExplainedGauge]
    operations: Annotated[list[ExplainedOperation], Meta(max_length=50)]


@final
class TicketAnswer(Struct, forbid_unknown_fields=True):
    """A ticket that opens one stream, once, within `expires_in` seconds."""

    ticket: Annotated[str, Meta(min_length=1)]
    expires_in: Annotated[int, Meta(ge=0, le=60)]
    url: Annotated[str, Meta(description="What to give to `new EventSource()`.")]


@final
class ItemsAnswer(Struct, forbid_unknown_fields=True):
    """A page of the list, true at its `cursor`; `next` is the next page's `before`."""

    cursor: Annotated[str, Meta(pattern="^[A-Za-z0-9._~-]{1,128}$")]
    badge: Badge
    items: Annotated[list[Item], Meta(max_length=100)]
    next: Count | None


@final
class Alive(Struct, forbid_unknown_fields=True):
    """The process is alive."""

    status: Literal["ok"]


@final
class Ready(Struct, forbid_unknown_fields=True):
    """Requests may be sent here."""

    status: Literal["ready"]


@final
class NotReady(Struct, forbid_unknown_fields=True):
    """Requests should go elsewhere; *reasons* says why, by a name for each."""

    status: Literal["not ready"]
    reasons: dict[str, str]


# The events of the stream.


@final
class HelloEvent(Struct, forbid_unknown_fields=True):
    """How the stream was resumed, and what to expect of it."""

    proto: Literal[1]
    resume: Literal["current", "replayed", "snapshot", "reset"]
    epoch: Epoch
    v: Version
    ping: Annotated[Seconds, Meta(description="Seconds of silence before a `ping`.")]
    max_age: Annotated[Seconds, Meta(description="Seconds until the stream ends.")]
    expires_in: Annotated[Seconds, Meta(description="Seconds that the proof holds.")]


@final
class SnapshotEvent(Struct, forbid_unknown_fields=True):
    """The badge and the newest items; `next` is where `GET /v1/items` goes on."""

    epoch: Epoch
    v: Version
    badge: Badge
    items: Annotated[list[Item], Meta(max_length=50)]
    next: Count | None


@final
class AddStep(Struct, forbid_unknown_fields=True):
    """An item that appeared."""

    add: Item


@final
class SetStep(Struct, forbid_unknown_fields=True):
    """Items whose flags were set or cleared."""

    set: list[ItemId]
    seen: bool | UnsetType = UNSET
    read: bool | UnsetType = UNSET
    archived: bool | UnsetType = UNSET


@final
class RemoveStep(Struct, forbid_unknown_fields=True):
    """Items that went, and why."""

    remove: list[ItemId]
    reason: Literal["expired", "evicted", "retracted", "replaced"]


@final
class ChangeEvent(Struct, forbid_unknown_fields=True):
    """What one version changed; a *from* that is not your own `v` shows a hole."""

    epoch: Epoch
    from_: Annotated[
        int, Meta(ge=0, description="The version told before it on this stream.")
    ] = msgspec.field(name="from")
    v: Version
    ops: list[dict[str, Any]]
    badge: Badge
    op_id: (
        Annotated[str, Meta(description="That of the `POST /v1/ops` that did it.")]
        | UnsetType
    ) = UNSET


@final
class PingEvent(Struct, forbid_unknown_fields=True):
    """The newest version told here: whoever has a lower one reconnects."""

    v: Version


@final
class ResetEvent(Struct, forbid_unknown_fields=True):
    """Another epoch begins: forget everything."""

    reason: Literal["epoch"]


@final
class AuthEvent(Struct, forbid_unknown_fields=True):
    """The proof of identity is about to run out: renew it."""

    expires_in: Seconds


@final
class ByeEvent(Struct, forbid_unknown_fields=True):
    """The stream ends here, as planned; come back after `retry` milliseconds."""

    reason: Literal["drain", "max_age", "expired", "shed", "revoked", "slow"]
    retry: Count
