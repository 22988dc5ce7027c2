"""Builds operations, mailboxes and records for tests of the domain and the engines."""

from __future__ import annotations

import attrs
import msgspec

from roundel_service.domain.content import ItemContent, encode_content
from roundel_service.domain.items import Item, MailboxLimits
from roundel_service.domain.mailbox import Applied, Mailbox, apply
from roundel_service.domain.operations import Notify, Operation, SetGauge, UserOps
from roundel_service.domain.record import Record
from roundel_service.engines.base import Engine
from roundel_service.http.schemas import OpsRequest

from .documents import document

DEFAULT_LIMITS = MailboxLimits()

LIMITS = MailboxLimits(items=3, bytes=100, categories=3)
"""Small limits, for tests of eviction and rejection."""


@attrs.define
class Clock:
    """A clock that a test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def note(name: str, category: str = "c", **fields) -> Notify:
    """Return a notification with the id and title *name*.

    Of *fields*, a body, url, icon and data belong to its content.
    """
    names = ItemContent.__struct_fields__
    content = {key: fields.pop(key) for key in names if key in fields}
    encoded = encode_content(**{"title": name} | content)
    return Notify(**{"id": name, "category": category, "content": encoded} | fields)


def item(category: str = "c", **flags: bool) -> Item:
    """Return an item of *category*, with some *flags* set."""
    return Item(
        id="1",
        seq=1,
        category=category,
        content=encode_content("a secret affair"),
        key=None,
        source=None,
        created_at=0.0,
        expires_at=None,
        size=0,
        **flags,
    )


def ops(*requested, op_id: str = "op") -> UserOps:
    """Return the operation for a request body; without *requested* it has no effect."""
    request = {"ops": requested or [{"read": []}]}
    return msgspec.convert(request, OpsRequest).operation(op_id)


def gauge(count: int, version: int, category: str = "g") -> SetGauge:
    """Return the operation that sets a gauge."""
    return SetGauge(category=category, count=count, source_version=version)


def apply_all(*operations, limits: MailboxLimits = DEFAULT_LIMITS) -> list[Applied]:
    """Apply *operations* to an empty mailbox; a float sets the time."""
    mailbox, now, applied = Mailbox(epoch="e"), 0.0, []
    for operation in operations:
        if isinstance(operation, float):
            now = operation
            continue
        applied.append(apply(mailbox, operation, now=now, limits=limits))
        mailbox = applied[-1].mailbox
    return applied


def mailbox_after(*operations, limits: MailboxLimits = DEFAULT_LIMITS) -> Mailbox:
    """Return the mailbox after *operations*."""
    return apply_all(*operations, limits=limits)[-1].mailbox


def steps(applied: Applied) -> list[dict]:
    """Return the steps of the change as JSON; an added item by its id alone."""
    assert applied.change is not None
    documents = [document(step) for step in applied.change.steps]
    return [{"add": step["add"]["id"]} if "add" in step else step for step in documents]


def flags(mailbox: Mailbox) -> dict[str, str]:
    """Return the first letters of the flags that are set, by item."""
    return {
        name: "s" * item.seen + "r" * item.read + "a" * item.archived
        for name, item in mailbox.items.items()
    }


async def put(engine: Engine, user: str, operation: Operation) -> Applied:
    """Apply one operation; raise its error if the engine rejects it."""
    (result,) = await engine.apply([(user, operation)])
    if isinstance(result, Exception):
        raise result
    return result


def record_changes(engine: Engine) -> list[tuple[str, int, int]]:
    """Return a list that collects the user, version and unread count of each change."""
    changes: list[tuple[str, int, int]] = []

    def listen(user: str, record: Record) -> None:
        changes.append((user, record.mailbox.v, record.badge.unread))

    engine.listen(listen, ())
    return changes
