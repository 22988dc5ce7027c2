"""The characters and lengths that names of users and categories may have.

A user name has to hold every `sub` of OpenID Connect: 255 characters (Core 1.0, 2),
among them URIs, e-mail addresses and names in any script. It is compared byte for byte.
"""

from __future__ import annotations

import re
from typing import Final

MAX_USER_NAME: Final = 255
"""Maximum length of a user name in characters."""

MAX_USER_NAME_BYTES: Final = 512
"""Maximum length of a user name in bytes of UTF-8."""

CATEGORY_NAME: Final = r"[a-z0-9._-]{1,64}"
"""Pattern of a category name."""

TOPIC_NAME: Final = r"[A-Za-z0-9._~@:+-]{1,64}"
"""Pattern of a topic name."""

ALL: Final = "all"
"""The topic that every user follows."""

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_SPACE = r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

# Without lookaround, which some clients' engines lack. `\s` differs between them, and
# so does what one character is: the length is not in the pattern.
USER_NAME: Final = rf"[^#{_SPACE}{_CONTROL}](?:[^{_CONTROL}]*[^{_SPACE}{_CONTROL}])?"
"""Pattern of a user name, apart from its length and from surrogates."""

_UNFIT = re.compile(rf"[{_CONTROL}\ud800-\udfff]")


def topic_mailbox(topic: str) -> str:
    """Return the name of the mailbox of *topic*, which no user can have."""
    return f"#{topic}"


def topic_of(mailbox: str) -> str:
    """Return the topic whose mailbox is named *mailbox*."""
    return mailbox.removeprefix("#")


ALL_MAILBOX: Final = topic_mailbox(ALL)
"""The mailbox of the topic that every user follows."""


def is_topic_mailbox(name: str) -> bool:
    """Return whether the mailbox *name* belongs to a topic."""
    return name.startswith("#")


def check_user_name(name: str) -> str | None:
    """Return why *name* is not a valid user name, or `None` if it is valid."""
    if not 1 <= len(name) <= MAX_USER_NAME:
        return f"expected 1 to {MAX_USER_NAME} characters, got {len(name)}"
    if match := _UNFIT.search(name):
        if match[0] < "\xa0":
            return "expected no control characters"
        # Python decodes bytes that are not UTF-8 to lone surrogates (PEP 383).
        return "expected valid UTF-8 without lone surrogates"
    if name[0].isspace() or name[-1].isspace():
        return "expected no white space at the ends"
    if name[0] == "#":
        return "expected no # at the beginning"
    if (size := len(name.encode())) > MAX_USER_NAME_BYTES:
        return f"expected at most {MAX_USER_NAME_BYTES} bytes in UTF-8, got {size}"
    return None
