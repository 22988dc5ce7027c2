"""Explains a badge: counted items, other items, gauges and the latest operations."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, final

from msgspec import UNSET, Meta, Struct, UnsetType

from ..documents import (
    BadgeDocument,
    Epoch,
    ItemId,
    NonNegative,
    RemoveStep,
    SetStep,
    Time,
    Version,
    badge_document,
    step_document,
)
from ..domain.changes import Added, Change, Step, Updated
from ..domain.items import Item
from ..domain.mailbox import Mailbox
from ..domain.names import ALL, ALL_MAILBOX, topic_mailbox
from ..domain.record import Record
from ..domain.subscriptions import subscribe
from ..domain.waiting import Waiting

MAX_OPERATIONS = 50
"""Maximum number of operations in an explanation."""


_REASONS = ["archived", "read", "muted"]
_AUTHORS = ["producer", "user", "time", "topic"]


@final
class ExplainedItem(Struct):
    """An item without its text; an item that is not counted has a *reason*."""

    id: ItemId
    seq: NonNegative
    category: str
    key: str | None
    source: str | None
    topic: str | None
    seen: bool
    expires_at: Time | None
    reason: Annotated[str, Meta(extra_json_schema={"enum": _REASONS})] | UnsetType = (
        UNSET
    )


@final
class ExplainedGauge(Struct):
    """A count that another database owns; *reason* says why it is not counted."""

    category: str
    count: NonNegative
    source_version: NonNegative
    reason: Annotated[str, Meta(extra_json_schema={"enum": ["muted"]})] | UnsetType = (
        UNSET
    )


@final
class ExplainedWaitingItem(Struct):
    """An item that appears at *until*, and the *reason* why it waits."""

    id: ItemId
    category: str
    key: str | None
    source: str | None
    topic: str | None
    until: Time
    expires_at: Time | None
    reason: Annotated[str, Meta(extra_json_schema={"enum": ["scheduled", "snoozed"]})]


@final
class ExplainedTopic(Struct):
    """A topic that the user follows, and the version up to which it was pulled.

    *behind* says whether the topic has news that were not pulled.
    """

    topic: str
    since: Annotated[
        str | float,
        Meta(description="`now`, `start`, or a time in seconds since 1970."),
    ]
    by: Annotated[
        str, Meta(extra_json_schema={"enum": ["default", "producer", "token"]})
    ]
    epoch: Epoch
    v: Version
    behind: bool


@final
class ExplainedAddStep(Struct):
    """An item that appeared, by its id."""

    add: ItemId


@final
class ExplainedUpdateStep(Struct):
    """Items whose text was changed in place."""

    update: list[ItemId]


if TYPE_CHECKING:
    ExplainedStep: TypeAlias = (
        ExplainedAddStep | ExplainedUpdateStep | SetStep | RemoveStep
    )
else:
    ExplainedStep = Any  # msgspec has no unions of structs without tags.


@final
class ExplainedOperation(Struct):
    """The change of one version: author, time, operation and the number after it."""

    v: Version
    at: Time
    by: Annotated[str, Meta(extra_json_schema={"enum": _AUTHORS})]
    operation: str
    steps: Annotated[
        list[ExplainedStep],
        Meta(description="As in a `change` event; items are named by their ids."),
    ]
    unread: NonNegative


@final
class Explanation(Struct):
    """The parts of a badge, newest first, without the text of any item."""

    badge: BadgeDocument
    counted: list[ExplainedItem]
    not_counted: list[ExplainedItem]
    gauges: list[ExplainedGauge]
    waiting: list[ExplainedWaitingItem]
    topics: list[ExplainedTopic]
    operations: Annotated[list[ExplainedOperation], Meta(max_length=MAX_OPERATIONS)]


# All fields but the last, the reason.
_fields = attrgetter(*ExplainedItem.__struct_fields__[:-1])


def explain(record: Record, topics: Mapping[str, Record] | None = None) -> Explanation:
    """Return the explanation of the badge of *record*.

    *topics* are the records of the topic mailboxes that it pulls from, by name. A topic
    pulls from none.
    """
    mailbox = record.mailbox
    newest = [
        (item, _reason(item, mailbox)) for item in [*mailbox.items.values()][::-1]
    ]
    return Explanation(
        badge=badge_document(mailbox.badge),
        counted=[_item(item, UNSET) for item, reason in newest if reason is UNSET],
        not_counted=[_item(item, why) for item, why in newest if why is not UNSET],
        gauges=_gauges(mailbox),
        waiting=[_waiting(waiting) for waiting in mailbox.waiting.values()],
        topics=_topics(record, topics or {}),
        operations=[
            _operation(change) for change in record.changes[: -MAX_OPERATIONS - 1 : -1]
        ],
    )


def _reason(item: Item, mailbox: Mailbox) -> str | UnsetType:
    """Return why *item* is not counted, if it is not."""
    if not item.is_counted:
        return "archived" if item.archived else "read"
    return "muted" if mailbox.muted.covers(item.category, item.topic) else UNSET


def _item(item: Item, reason: str | UnsetType) -> ExplainedItem:
    values = (*_fields(item), reason)
    return ExplainedItem(*values)


def _gauges(mailbox: Mailbox) -> list[ExplainedGauge]:
    muted = mailbox.muted.categories
    return [
        ExplainedGauge(
            category,
            gauge.count,
            gauge.source_version,
            "muted" if category in muted else UNSET,
        )
        for category, gauge in mailbox.gauges.items()
    ]


def _waiting(waiting: Waiting) -> ExplainedWaitingItem:
    item = waiting.item
    return ExplainedWaitingItem(
        id=item.id,
        category=item.category,
        key=item.key,
        source=item.source,
        topic=item.topic,
        until=waiting.until,
        expires_at=item.expires_at,
        reason="snoozed" if waiting.is_snoozed else "scheduled",
    )


def _topics(record: Record, topics: Mapping[str, Record]) -> list[ExplainedTopic]:
    subscriptions = dict(record.mailbox.subscriptions)
    all_users = topics.get(ALL_MAILBOX)
    if ALL not in subscriptions and all_users is not None and all_users.mailbox.v:
        subscriptions[ALL] = subscribe(all_users.mailbox, "start", "default")
    found = []
    for topic, subscription in sorted(subscriptions.items()):
        name = topic_mailbox(topic)
        epoch, v = subscription.position[-1]
        behind = name in topics and record.is_behind({name: topics[name]})
        found.append(
            ExplainedTopic(topic, subscription.since, subscription.by, epoch, v, behind)
        )
    return found


def _operation(change: Change) -> ExplainedOperation:
    return ExplainedOperation(
        v=change.v,
        at=change.time,
        by=change.by,
        operation=change.operation,
        steps=[_step(step) for step in change.steps],
        unread=change.badge.unread,
    )


def _step(step: Step) -> ExplainedStep:
    if isinstance(step, Added):
        return ExplainedAddStep(step.id)
    if isinstance(step, Updated):
        return ExplainedUpdateStep(list(step.ids))
    return step_document(step)
