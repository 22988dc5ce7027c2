"""Explains a badge: counted items, other items, gauges and the latest operations."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, final

from msgspec import UNSET, Meta, Struct, UnsetType

from ..documents import (
    BadgeDocument,
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
from ..domain.record import Record

MAX_OPERATIONS = 50
"""Maximum number of operations in an explanation."""


_REASONS = ["archived", "read"]


@final
class ExplainedItem(Struct):
    """An item without its text; an item that is not counted has a *reason*."""

    id: ItemId
    seq: NonNegative
    category: str
    key: str | None
    source: str | None
    seen: bool
    expires_at: Time | None
    reason: Annotated[str, Meta(extra_json_schema={"enum": _REASONS})] | UnsetType = (
        UNSET
    )


@final
class ExplainedGauge(Struct):
    """A count that another database owns."""

    category: str
    count: NonNegative
    source_version: NonNegative


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
    by: Annotated[str, Meta(extra_json_schema={"enum": ["producer", "user", "time"]})]
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
    operations: Annotated[list[ExplainedOperation], Meta(max_length=MAX_OPERATIONS)]


# All fields but the last, the reason.
_fields = attrgetter(*ExplainedItem.__struct_fields__[:-1])


def explain(record: Record) -> Explanation:
    """Return the explanation of the badge of *record*."""
    mailbox = record.mailbox
    newest = list(mailbox.items.values())[::-1]
    return Explanation(
        badge=badge_document(mailbox.badge),
        counted=[_item(item) for item in newest if item.is_counted],
        not_counted=[_item(item) for item in newest if not item.is_counted],
        gauges=[
            ExplainedGauge(category, gauge.count, gauge.source_version)
            for category, gauge in mailbox.gauges.items()
        ],
        operations=[
            _operation(change) for change in record.changes[: -MAX_OPERATIONS - 1 : -1]
        ],
    )


def _item(item: Item) -> ExplainedItem:
    reason = UNSET if item.is_counted else "archived" if item.archived else "read"
    values = (*_fields(item), reason)
    return ExplainedItem(*values)


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
