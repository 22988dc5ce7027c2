"""Secrets in what is about to be written: they are cut out of it.

It goes by the names of fields, and by what secrets look like in a text.
"""

from __future__ import annotations

import re
from functools import lru_cache

from structlog.typing import EventDict, WrappedLogger

REDACTED = "[redacted]"

_NAME = re.compile(
    r"authorization|cookie|token|ticket|secret|passw|credential|jwt|proof"
    r"|api[_-]?key|(?<![a-z])keys?(?![a-z])",
    re.IGNORECASE,
)
_CAMEL_KEY = re.compile(r"[a-z]Keys?(?![a-z])")

# Each of them takes time in proportion to the text, whoever wrote it.
_TEXT = re.compile(
    r"""
      (?:(?<![\w-])|(?<=%[0-9a-f]{2})) (?-i:eyJ)[\w-]{8,}\.[\w.-]+  # RFC 7519: a JWT
    | (?P<scheme> \bbearer (?:\s|%20|\+)+ ) [^\s"',;&]+             # RFC 6750
    | (?P<name> (?:ticket|token|secret|password)["']? \s* (?:[=:]|%3D) \s* ["']? )
      [^\s"',;&\#]+
    | (?P<userinfo> ://[^\s"'/@:]*: ) [^\s"'/@]+ (?=@)              # RFC 3986 3.2.1
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Without one of these none of them matches, and to see that is much quicker.
_SIGN = re.compile(r"[\s+%=:]")


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Take away the values of fields named like secrets, and text that looks so."""
    return {name: redacted(name, value) for name, value in event_dict.items()}


def redacted(name: str, value: object) -> object:
    """Return *value* as the field *name* may be written."""
    if value is None or isinstance(value, bool):
        return value
    return REDACTED if _is_secret(name) else _cleaned(value)


@lru_cache(maxsize=1_024)
def _is_secret(name: str) -> bool:
    return bool(_NAME.search(name) or _CAMEL_KEY.search(name))


def _cleaned(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            pairs = ((str(name), part) for name, part in value.items())
            return {cleaned(name): redacted(name, part) for name, part in pairs}
        case list() | tuple():
            return [_cleaned(part) for part in value]
        case str():
            return cleaned(value)
        case _:
            # What the renderer would make of it, only cleaned.
            return cleaned(repr(value))


def cleaned(text: str) -> str:
    """Return *text* without what looks like a secret in it."""
    if "eyJ" not in text and _SIGN.search(text) is None:
        return text
    return _TEXT.sub(_without_secret, text)


def _without_secret(match: re.Match[str]) -> str:
    return "".join(part for part in match.groups() if part) + REDACTED
