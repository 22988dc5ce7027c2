"""JSON documents that responses and events share: badges, items and change steps.

Responses and events are encoded from these types. The OpenAPI document is generated
from them too, so each field is declared once. `gc=False`: the types form no cycles, so
the garbage collector need not scan the responses of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Annotated, Any, TypeAlias, cast, final, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from .domain.badge import Badge
from .domain.changes import Added, Flagged, RemovalReason, Removed, Step, Updated
from .domain.content import ItemContent
from .domain.items import Item, without_flags
from .domain.waiting import Waiting

NonNegative = Annotated[int, Meta(ge=0)]
Version = Annotated[int, Meta(ge=0, description="A version of the mailbox.")]
Epoch = Annotated[
    str,
    Meta(
        min_length=1,
        description="Names an unbroken line of versions; compare it, never sort it.",
    ),
]
Time = Annotated[float, Meta(ge=0, description="Seconds since 1970.")]
ItemId = Annotated[str, Meta(min_length=1, max_length=64)]


@final
class CategoryCount(Struct, gc=False):
    """The unread items of one category, and the unseen ones among them."""

    unread: NonNegative
    unseen: NonNegative


@final
class BadgeDocument(Struct, gc=False):
    """The whole number that is true at version `v` of the epoch.

    With *more*, unread items were evicted from a full mailbox, and `unread` is a
    lower bound: show it as "200+". Categories with no unread item are left out of
    `by`.
    """

    epoch: Epoch
    v: Version
    unread: Annotated[
        NonNegative,
        Meta(description="Items neither read, archived nor expired, and gauges."),
    ]
    unseen: Annotated[
        NonNegative, Meta(description="Unread items that no client has shown.")
    ]
    more: bool
    by: Annotated[dict[str, CategoryCount], Meta(description="Counts by category.")]


@final
class ItemDocument(Struct, gc=False):
    """One notification of a mailbox."""

    id: ItemId
    seq: Annotated[
        NonNegative, Meta(description="The version at which it (re)appeared.")
    ]
    category: str
    title: str
    body: str | None
    url: str | None
    icon: str | None
    data: Any
    key: str | None
    source: str | None
    topic: str | None
    created_at: Time
    expires_at: Time | None
    updated_at: Time | None
    seen: bool
    read: bool
    archived: bool
    until: (
        Annotated[Time, Meta(description="When an item that waits appears.")] | None
    ) = None


@final
class AddStep(Struct, gc=False):
    """An item that appeared."""

    add: ItemDocument


@final
class SetStep(Struct, gc=False):
    """Items whose flags were set or cleared."""

    set: list[ItemId]
    archived: bool | UnsetType = UNSET
    read: bool | UnsetType = UNSET
    seen: bool | UnsetType = UNSET


@final
class UpdateStep(Struct, gc=False):
    """The text of an item was changed in place."""

    update: ItemDocument


@final
class RemoveStep(Struct, gc=False):
    """Items that were removed, and the reason."""

    remove: list[ItemId]
    # A client accepts the reasons of a newer service too.
    reason: Annotated[str, Meta(extra_json_schema={"enum": [*get_args(RemovalReason)]})]


StepDocument: TypeAlias = AddStep | UpdateStep | SetStep | RemoveStep

_LINE_SEPARATORS = "\x85\u2028\u2029"
_encode = msgspec.json.Encoder().encode
_HEAD = ("id", "seq", "category")
_TAIL = tuple(
    name
    for name in ItemDocument.__struct_fields__
    if name not in (*_HEAD, *ItemContent.__struct_fields__, "until")
)
_ItemHead = msgspec.defstruct("_ItemHead", _HEAD, gc=False)
_ItemTail = msgspec.defstruct("_ItemTail", _TAIL, gc=False)
_tail_values = attrgetter(*_TAIL)


def encode_json(document: object) -> bytes:
    """Encode *document* as JSON that is one line for every reader.

    A reader that splits text as Python's `str.splitlines()` does, also splits at
    U+0085, U+2028 and U+2029. JSON allows them unescaped (RFC 8259 7); here they are
    escapes.
    """
    encoded = msgspec.json.encode(document)
    if encoded.isascii():
        return encoded
    # A search for one character is fast: 6 KB take 2 to 3 µs, mostly for decode().
    # Searches for the bytes take 11 to 17 µs.
    text = encoded.decode()
    for separator in _LINE_SEPARATORS:
        if separator in text:
            text = text.replace(separator, f"\\u{ord(separator):04x}")
            encoded = text.encode()
    return encoded


def badge_document(badge: Badge) -> BadgeDocument:
    """Return the JSON document of *badge*."""
    by = {
        name: CategoryCount(count.unread, count.unseen)
        for name, count in badge.by.items()
    }
    return BadgeDocument(
        badge.epoch, badge.v, badge.unread, badge.unseen, badge.more, by
    )


def encoded_item(item: Item) -> ItemDocument:
    """Return the JSON document of *item*, which leaves out its size.

    It is encoded already, and cannot be read: it is the JSON of the content, and of the
    other fields before and after it.
    """
    return cast("ItemDocument", Raw(_encode_item(item)))


def encoded_waiting_item(waiting: Waiting) -> ItemDocument:
    """Return the JSON document of an item that waits, which has *until*."""
    encoded = _encode_item(waiting.item)
    until = _encode(waiting.until)
    return cast("ItemDocument", Raw(b'%b,"until":%b}' % (encoded[:-1], until)))


def _encode_item(item: Item) -> bytes:
    head = _encode(_ItemHead(item.id, item.seq, item.category))
    tail = _encode(_ItemTail(*_tail_values(item)))
    return b"%b,%b,%b" % (head[:-1], item.content[1:-1], tail[1:])


def step_document(step: Flagged | Removed) -> SetStep | RemoveStep:
    """Return the JSON document of a step that names its items by their ids."""
    match step:
        case Flagged(ids, flags):
            return SetStep(list(ids), **flags)
        case Removed(ids, reason):
            return RemoveStep(list(ids), reason)


def step_documents(
    steps: Iterable[Step], items: Mapping[str, Item]
) -> list[StepDocument]:
    """Return the JSON documents of the *steps* of a change, with the text of *items*.

    An item has the text that it has now. An added one has no flag, because later
    changes set them. An item that is gone is left out.
    """
    documents: list[StepDocument] = []
    for step in steps:
        if isinstance(step, Updated):
            held = (items[name] for name in step.ids if name in items)
            documents += [UpdateStep(encoded_item(item)) for item in held]
        elif not isinstance(step, Added):
            documents.append(step_document(step))
        elif (item := items.get(step.id)) is not None and item.seq == step.seq:
            documents.append(AddStep(encoded_item(without_flags(item))))
    return documents
