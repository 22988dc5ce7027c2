"""The types of the rows of earlier versions: JSON lists, with their bounds."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, final

from msgspec import Meta, Struct

from ..domain.changes import Step
from .codec.rows import Counts

_Epoch = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}\Z")]
_Version = Annotated[int, Meta(ge=0, le=2**42 - 1)]
_Count = Annotated[int, Meta(ge=0, le=2**60)]
_By = Annotated[str, Meta(pattern=r"^(producer|user|time|topic)\Z")]
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
class OldItemRow(_Row):
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
    topic: _Text = None


ChangeRow: TypeAlias = tuple[
    _Epoch, _Version, bool, Counts, str, _By, float, _Text, tuple[Step, ...]
]
