"""The events of a stream: their data as types, and functions that encode them.

The OpenAPI document is generated from the same types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias, final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from roundel import CloseMessage, Cursor, Event, Position, ResumeInfo, ResumeOutcome

from ..documents import (
    BadgeDocument,
    Epoch,
    ItemDocument,
    NonNegative,
    Version,
    badge_document,
    encode_json,
    encoded_item,
    step_documents,
)
from ..domain.badge import Badge
from ..domain.changes import Categories, Change
from ..domain.items import Item
from ..domain.mailbox import Mailbox

EventFactory: TypeAlias = Callable[[], Event]

CloseReason: TypeAlias = Literal[
    "drain", "max_age", "expired", "shed", "revoked", "slow"
]
Seconds = Annotated[float, Meta(ge=0)]

SNAPSHOT_ITEMS = 50
"""Maximum number of items in a snapshot."""


@final
class HelloData(Struct, forbid_unknown_fields=True, gc=False):
    """How the stream was resumed, and its intervals."""

    proto: Literal[1]
    resume: ResumeOutcome
    epoch: Epoch
    v: Version
    ping: Annotated[Seconds, Meta(description="Seconds of silence before a `ping`.")]
    max_age: Annotated[Seconds, Meta(description="Seconds until the stream ends.")]
    expires_in: Annotated[
        Seconds, Meta(description="Seconds until the credential expires.")
    ]


@final
class SnapshotData(Struct, forbid_unknown_fields=True, gc=False):
    """The badge and the newest items; `next` is the `before` of the next page."""

    epoch: Epoch
    v: Version
    badge: BadgeDocument
    items: Annotated[list[ItemDocument], Meta(max_length=SNAPSHOT_ITEMS)]
    next: NonNegative | None


@final
class ChangeData(Struct, forbid_unknown_fields=True, gc=False):
    """The change of one version; a *from* that is not your own `v` reveals a gap."""

    epoch: Epoch
    from_: Annotated[
        int, Meta(ge=0, description="The version sent before it on this stream.")
    ] = msgspec.field(name="from")
    v: Version
    ops: list[Any]
    badge: BadgeDocument
    op_id: (
        Annotated[str, Meta(description="The `op_id` of the `POST /v1/ops` behind it.")]
        | UnsetType
    ) = UNSET


@final
class PingData(Struct, forbid_unknown_fields=True, gc=False):
    """The newest state sent on this stream, or `hello` before the first.

    A client with a lower `v` or another epoch has lost an event and reconnects.
    """

    epoch: Epoch
    v: Version


@final
class ResetData(Struct, forbid_unknown_fields=True, gc=False):
    """Another epoch begins: discard all state."""

    reason: Literal["epoch"]


@final
class AuthData(Struct, forbid_unknown_fields=True, gc=False):
    """The credential expires soon: renew it."""

    expires_in: Seconds


@final
class ByeData(Struct, forbid_unknown_fields=True, gc=False):
    """The stream ends here, as planned; reconnect after `retry` milliseconds."""

    reason: CloseReason
    retry: NonNegative


def cursor_of(mailbox: Mailbox) -> str:
    """Return the cursor of a client that has seen the whole *mailbox*."""
    return str(Cursor({"": Position(mailbox.epoch, mailbox.v)}))


def item_page(items: list[Item], limit: int) -> tuple[list[ItemDocument], int | None]:
    """Return the first *limit* of *items*, newest first, and the next page's `before`.

    The latter is `None` at the end.
    """
    shown = items[:limit]
    following = shown[-1].seq if len(items) > limit else None
    return [encoded_item(item) for item in shown], following


def badge_event(badge: Badge) -> Event:
    """Return the event that carries the whole badge."""
    return _event("badge", badge_document(badge))


def snapshot_event(mailbox: Mailbox, categories: Categories | None) -> Event:
    """Return the newest items and the badge, of *categories* only if given."""
    newest = [
        item
        for item in reversed(list(mailbox.items.values()))
        if categories is None or item.category in categories
    ]
    badge = badge_document(mailbox.badge.filter(categories))
    items, following = item_page(newest, SNAPSHOT_ITEMS)
    data = SnapshotData(mailbox.epoch, mailbox.v, badge, items, following)
    return _event("snapshot", data)


def change_event(change: Change, items: Mapping[str, Item], previous: int) -> Event:
    """Return the change of one version; *previous* was the version sent before.

    *items* are those of the newest mailbox, which has the text of added items.
    """
    data = ChangeData(
        epoch=change.badge.epoch,
        from_=previous,
        v=change.v,
        ops=step_documents(change.steps, items),
        badge=badge_document(change.badge),
        op_id=UNSET if change.op_id is None else change.op_id,
    )
    return _event("change", data)


def hello_event(resume: ResumeInfo, *, ping: float, expires_in: float) -> Event:
    """Return the first event: how the stream was resumed, and its intervals."""
    at = resume.cursor.positions[""]
    data = HelloData(
        proto=1,
        # The mailbox's outcome only: the topic of a resume key is internal.
        resume=resume.outcomes[""],
        epoch=at.epoch,
        v=at.offset,
        ping=_seconds(ping),
        max_age=_seconds(resume.max_age),
        expires_in=_seconds(min(expires_in, 1e9)),
    )
    return _event("hello", data)


def ping_event(cursor: Cursor) -> Event:
    """Return the epoch and version that the client should have by now."""
    at = cursor.positions[""]
    return _event("ping", PingData(at.epoch, at.offset))


def auth_event(expires_in: float) -> Event:
    """Return the warning that the credential expires in so many seconds."""
    return _event("auth", AuthData(_seconds(expires_in)))


def close_message(reason: CloseReason, retry: int) -> CloseMessage:
    """Return the message that ends a stream; *retry* is in milliseconds."""
    return CloseMessage(_event("bye", ByeData(reason, retry)), retry)


def _seconds(value: float) -> float:
    return int(value) if value >= 1 else round(value, 3)


def _event(kind: str, data: Struct) -> Event:
    return Event(encode_json(data).decode(), kind)


RESET = _event("reset", ResetData("epoch"))
"""Precedes the state of another epoch in a running stream."""
