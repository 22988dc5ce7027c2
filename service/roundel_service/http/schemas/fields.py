"""The types of fields that several requests have, and their bounds."""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from ...domain.names import (
    CATEGORY_NAME,
    MAX_USER_NAME,
    TOPIC_NAME,
    USER_NAME,
    check_user_name,
)

MAX_SEQ = 2**42 - 1
MAX_TTL = 10 * 365 * 86_400
MAX_TOPIC_TTL = 90 * 86_400
MAX_AHEAD = 366 * 86_400
"""Maximum time in seconds until an item appears that waits."""

MAX_COUNT = 2**53 - 1
MAX_USERS = 1_000
MAX_OPS = 100
MAX_MUTED = 64

MAX_DEPTH = 32
"""Maximum nesting depth of `data`."""

MAX_RAW_DATA = 49_152
"""Size limit of `data` as received, in bytes: six times that of an item.

An escape takes up to six times the bytes of its character.
"""

NULL = Raw(b"null")
# A bare `$` also matches before a final line end.
END = r"$(?!\n)"
_USER = {"pattern": f"^{USER_NAME}$", "minLength": 1, "maxLength": MAX_USER_NAME}
# The length in bytes has no pattern, and a problem has to say which rule was broken: so
# `check_user_name()` decides.
User = Annotated[str, Meta(extra_json_schema=_USER)]
Category = Annotated[str, Meta(pattern=f"^{CATEGORY_NAME}{END}")]
Topic = Annotated[str, Meta(pattern=f"^{TOPIC_NAME}{END}")]
# Up to 64, the limit of a mailbox, separated by commas.
Categories = Annotated[
    str,
    Meta(pattern=f"^{CATEGORY_NAME}(?:,{CATEGORY_NAME}){{0,63}}{END}"),
]
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
# Up to JavaScript's largest safe integer, which clients send for "all".
UpTo = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
ItemIds = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=1_000)]

# 0 is never.
Ttl = Annotated[float, Meta(ge=0, le=MAX_TTL)]
# Its upper bound is `MAX_AHEAD` from now.
FutureTime = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]
ItemId = Annotated[str, Meta(min_length=1, max_length=64)]


def category_names(categories: str | None) -> frozenset[str] | None:
    """Return the names in *categories*, which commas separate; `None` is all."""
    return frozenset(categories.split(",")) if categories else None


def content_hash(content: object) -> str:
    """Return a hash of a decoded body; white space and the order do not matter."""
    return hash_json(msgspec.json.encode(content, order="deterministic"))


def hash_json(encoded: bytes) -> str:
    """Return a hash of *encoded*, 32 hexadecimal digits."""
    return blake2b(encoded, digest_size=16).hexdigest()


def require_user_name(name: str) -> None:
    """Raise `ValueError` if *name* is not a user name."""
    if reason := check_user_name(name):
        raise ValueError(reason)
