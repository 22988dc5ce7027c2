"""What callers may send: each body as a type, each mistake with its field's name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from .auth import USER_NAME
from .items import Mark, MarkAll
from .problems import FieldError, invalid, malformed

MAX_BODY = 1 << 20
"""The largest body of a plain request, in bytes."""

MAX_ITEM = 8_192
"""The largest item, in bytes of JSON."""

MAX_SEQ = 2**42 - 1
MAX_TTL = 10 * 365 * 86_400

# A bare `$` would let a line end through behind the last character.
_END = r"$(?!\n)"
User = Annotated[str, Meta(pattern=f"^{USER_NAME}{_END}")]
Category = Annotated[str, Meta(pattern=rf"^[a-z0-9._-]{{1,64}}{_END}")]
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
ItemIds = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=1_000)]

_T = TypeVar("_T", bound=Struct)
_V = TypeVar("_V")
_AT = re.compile(r"^(?P<detail>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)


@final
class Recipients(Struct, forbid_unknown_fields=True):
    """Whom to notify: one *user*, or up to 1,000 *users*."""

    user: User | UnsetType = UNSET
    users: Annotated[list[User], Meta(min_length=1, max_length=1_000)] | UnsetType = (
        UNSET
    )

    def __post_init__(self) -> None:
        """Refuse both at once, and neither."""
        if (self.user is UNSET) == (self.users is UNSET):
            raise ValueError("expected either user or users")

    @property
    def names(self) -> list[str]:
        """The recipients, each once, in the order given."""
        if self.users is not UNSET:
            return list(dict.fromkeys(self.users))
        return [] if self.user is UNSET else [self.user]


@final
class NotifyRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/notify`; *ttl* is in seconds."""

    to: Recipients
    title: Annotated[str, Meta(min_length=1)]
    category: Category = "default"
    body: str | None = None
    url: str | None = None
    icon: str | None = None
    key: Annotated[str, Meta(min_length=1)] | None = None
    source: Annotated[str, Meta(min_length=1)] | None = None
    data: Any = None
    ttl: Annotated[float, Meta(gt=0, le=MAX_TTL)] | None = None


@final
class Op(Struct, forbid_unknown_fields=True):
    """One operation of a user on the own mailbox: exactly one of the verbs."""

    read: ItemIds | UnsetType = UNSET
    unread: ItemIds | UnsetType = UNSET
    archive: ItemIds | UnsetType = UNSET
    unarchive: ItemIds | UnsetType = UNSET
    read_upto: Seq | UnsetType = UNSET
    seen_upto: Seq | UnsetType = UNSET
    read_all: Literal[True] | UnsetType = UNSET
    as_of: Seq | UnsetType = UNSET
    category: Category | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Refuse what is not one verb with just its own conditions."""
        verbs = [name for name in _FLAGS if getattr(self, name) is not UNSET]
        if len(verbs) != 1:
            raise ValueError(f"expected exactly one of {', '.join(_FLAGS)}")
        if (self.as_of is not UNSET) != (verbs == ["read_all"]):
            raise ValueError("expected as_of with read_all, and with nothing else")
        if self.category is not UNSET and verbs[0] not in ("read_all", "read_upto"):
            raise ValueError("expected category only with read_all or read_upto")

    def mark(self) -> Mark:
        """Return what it does to the mailbox."""
        verb = next(name for name in _FLAGS if getattr(self, name) is not UNSET)
        value = getattr(self, verb)
        by_id = isinstance(value, list)
        return Mark(
            flags=_FLAGS[verb],
            ids=frozenset(value) if by_id else None,
            upto=None if by_id else _known(self.as_of, value),
            category=_known(self.category, None),
        )


# Read implies seen: nobody reads what no client has shown.
_READ = {"read": True, "seen": True}
_FLAGS: Mapping[str, Mapping[str, bool]] = {
    "read": _READ,
    "unread": {"read": False},
    "archive": {"archived": True},
    "unarchive": {"archived": False},
    "read_upto": _READ,
    "seen_upto": {"seen": True},
    "read_all": _READ,
}


@final
class OpsRequest(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/ops`."""

    op_id: Annotated[str, Meta(min_length=1, max_length=128)]
    ops: Annotated[list[Op], Meta(min_length=1, max_length=100)]

    def operation(self) -> MarkAll:
        """Return it as an operation on the mailbox."""
        return MarkAll(marks=tuple(op.mark() for op in self.ops), op_id=self.op_id)


@final
class BadgeQuery(Struct, forbid_unknown_fields=True):
    """The query of `GET /v1/badge`; *wait* is in seconds."""

    wait: Annotated[float, Meta(ge=0, le=60)] = 0


@final
class ItemsQuery(Struct, forbid_unknown_fields=True):
    """The query of `GET /v1/items`."""

    category: Category | None = None
    state: Literal["unread", "active", "archived", "all"] = "active"
    before: Seq = MAX_SEQ
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


@final
class StreamQuery(Struct, forbid_unknown_fields=True):
    """The query of `GET /v1/stream`; any *cursor* is well-formed."""

    level: Literal["badge", "items"] = "badge"
    cursor: str = ""


@final
class NoQuery(Struct, forbid_unknown_fields=True):
    """The query of a call that takes none."""


def decode(body: bytes, kind: type[_T]) -> _T:
    """Read *body* as a *kind*, or raise the `Problem` that names every bad field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        first = error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(str(error)) from None
    # The decoder stops at the first mistake; the whole JSON tells of all of them.
    raise invalid(*_field_errors(_parsed(body), kind, first))


def query(parameters: Mapping[str, list[str]], kind: type[_T]) -> _T:
    """Read a query's parameters as a *kind*, or raise the `Problem` that names them."""
    twice = [name for name, values in parameters.items() if len(values) > 1]
    if twice:
        raise invalid(*(FieldError(name, "given more than once") for name in twice))
    raw = {name: values[0] for name, values in parameters.items()}
    try:
        return msgspec.convert(raw, kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(*_field_errors(raw, kind, error, strict=False)) from None


def _parsed(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(str(error)) from None


def _field_errors(
    raw: object, kind: type[Struct], first: Exception, *, strict: bool = True
) -> Iterator[FieldError]:
    """Say what is wrong with each field; *first* is what the decoder stopped at."""
    if not isinstance(raw, dict):
        yield _field_error("", first)
        return
    fields = msgspec.structs.fields(kind)
    for field in fields:
        if field.name in raw:
            try:
                msgspec.convert(raw[field.name], field.type, strict=strict)
            except msgspec.ValidationError as error:
                yield _field_error(field.name, error)
        elif field.required:
            yield FieldError(field.name, "required")
    for name in raw.keys() - {field.name for field in fields}:
        yield FieldError(name, "unknown field")


def _field_error(name: str, error: Exception) -> FieldError:
    match = _AT.match(str(error))
    assert match is not None
    path = name + (match["path"] or "")
    return FieldError(path.removeprefix(".") or "body", match["detail"])


def _known(value: _V | UnsetType, otherwise: _V) -> _V:
    return otherwise if isinstance(value, UnsetType) else value
