"""The types of the stored JSON, with their bounds.

To add a field of the mailbox: add it with a default to `HeadRow` and to `FieldsRow`,
and its conversion to `fields`. A row without it is read as before.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias, final

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from ...domain.changes import Step
from ...domain.subscriptions import NOTHING_MUTED, EpochEnd, Muted, Subscription

FORMAT_VERSION: Final = 3
"""Version of the stored form. An engine converts or rejects another version.

Versions 1 and 2 had a row for each item, change and result.
"""

Epoch = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}\Z")]
Version = Annotated[int, Meta(ge=0, le=2**42 - 1)]
StoredCount = Annotated[int, Meta(ge=0, le=2**60)]
_Flags = Annotated[int, Meta(ge=0, le=7)]
Caller = Annotated[str, Meta(pattern=r"^(producer|user|time|topic)\Z")]
Counts: TypeAlias = dict[str, tuple[StoredCount, StoredCount]]
RevocationRow: TypeAlias = tuple[float, float]
Text: TypeAlias = str | None


class ArrayRow(Struct, array_like=True, forbid_unknown_fields=True):
    """A list with fields by position."""


class _Object(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An object with fields by name; those with their default are left out."""


@final
class ContentRow(Struct, forbid_unknown_fields=True):
    """The content of an item: all of its fields."""

    title: str
    body: Text
    url: Text
    icon: Text
    data: Any


@final
class ItemRow(ArrayRow):
    """An item; *flags* are 1 for seen, 2 for read and 4 for archived.

    *content* is the JSON of a `ContentRow`, which is copied and never made again.
    """

    id: str
    seq: Version
    category: str
    content: Raw
    key: Text
    source: Text
    created_at: float
    expires_at: float | None
    size: StoredCount
    updated_at: float | None
    flags: _Flags
    topic: Text = None


@final
class WaitingRow(ArrayRow):
    """An item that appears at *until*, in seconds since 1970."""

    until: float
    is_snoozed: bool
    replaces: Text
    item: ItemRow


@final
class ResultRow(ArrayRow):
    """The result of an operation id."""

    epoch: Epoch
    v: Version
    more: bool
    by: Counts
    time: float
    item: Text
    # Results of earlier versions have none.
    digest: str = ""


@final
class ChangeRow(ArrayRow):
    """A change in the epoch of its mailbox."""

    v: Version
    more: bool
    by: Counts
    operation: str
    caller: Caller
    time: float
    op_id: Text
    steps: tuple[Step, ...]


@final
class HeadRow(_Object):
    """The mailbox, without its items, results and changes."""

    epoch: Epoch
    v: Version
    more: bool = False
    disconnected_at: float = 0.0
    revocation: RevocationRow = (0.0, 0.0)
    gauges: Counts = {}
    waiting: dict[str, WaitingRow] = {}
    subscriptions: dict[str, Subscription] = {}
    muted: Muted = NOTHING_MUTED
    claimed_at: float = 0.0
    epoch_history: tuple[EpochEnd, ...] = ()
    evicted_upto: Version = 0


@final
class FieldsRow(_Object):
    """What changed in a mailbox besides its items.

    A field that is left out did not change. *drop* has the keys that were removed from
    mappings, by the name of the field.
    """

    results: dict[str, ResultRow] = {}
    gauges: Counts = {}
    waiting: dict[str, WaitingRow] = {}
    subscriptions: dict[str, Subscription] = {}
    drop: dict[str, tuple[str, ...]] = {}
    more: bool | UnsetType = UNSET
    disconnected_at: float | UnsetType = UNSET
    revocation: RevocationRow | UnsetType = UNSET
    muted: Muted | UnsetType = UNSET
    claimed_at: float | UnsetType = UNSET
    epoch_history: tuple[EpochEnd, ...] | UnsetType = UNSET
    evicted_upto: Version | UnsetType = UNSET


@final
class EntryRow(_Object):
    """An entry: its *number* after the snapshot, from 1, and what changed.

    Most entries have no *fields*.
    """

    number: Version
    changes: tuple[ChangeRow, ...] = ()
    items: tuple[ItemRow, ...] = ()
    fields: FieldsRow | None = None
