"""The types of stored rows: JSON lists with fields by position, and their bounds."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, final

from msgspec import Meta, Struct

from ..domain.changes import RemovalReason

_Epoch = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}\Z")]
_Version = Annotated[int, Meta(ge=0, le=2**42 - 1)]
_Count = Annotated[int, Meta(ge=0, le=2**60)]
_FlagName = Annotated[str, Meta(pattern=r"^(seen|read|archived)\Z")]
_By = Annotated[str, Meta(pattern=r"^(producer|user|time)\Z")]
Counts: TypeAlias = dict[str, tuple[_Count, _Count]]
_Text: TypeAlias = str | None


class _Row(Struct, array_like=True, forbid_unknown_fields=True):
    """A list with fields by position."""


@final
class MailboxRow(_Row):
    """The mailbox, without its items, results and changes."""

    epoch: _Epoch
    v: _Version
    more: bool
    disconnected_at: float
    revoked_at: float
    gauges: Counts
    # Only rows whose revocation has a time of the issuer's clock have one.
    issued_before: float | None = None


@final
class ItemRow(_Row):
    """An item without its flags."""

    id: str
    seq: _Version
    category: str
    title: str
    body: _Text
    url: _Text
    icon: _Text
    key: _Text
    source: _Text
    data: Any
    created_at: float
    expires_at: float | None
    size: _Count
    # Rows of earlier versions have none.
    updated_at: float | None = None


@final
class ResultRow(_Row):
    """The result of an operation id."""

    epoch: _Epoch
    v: _Version
    more: bool
    by: Counts
    time: float
    item: _Text
    # Rows of earlier versions have none.
    digest: str = ""


@final
class AddedRow(_Row, tag="add"):
    """An item appeared."""

    id: str
    category: str
    seq: _Version


@final
class UpdatedRow(_Row, tag="update"):
    """The content of items was changed."""

    ids: dict[str, str]


@final
class FlaggedRow(_Row, tag="set"):
    """Flags of items were set or cleared."""

    ids: dict[str, str]
    flags: dict[_FlagName, bool]


@final
class RemovedRow(_Row, tag="remove"):
    """Items were removed."""

    ids: dict[str, str]
    reason: RemovalReason


StepRow: TypeAlias = AddedRow | UpdatedRow | FlaggedRow | RemovedRow
ChangeRow: TypeAlias = tuple[
    _Epoch, _Version, bool, Counts, str, _By, float, _Text, tuple[StepRow, ...]
]
