"""Redaction of secrets in log lines, by field names and by patterns in text."""

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

# Each alternative takes O(n) time for any text.
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
# A text without one of these cannot match; this check is much faster.
_SIGN = re.compile(r"[\s+%=:]")


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Redact a log line; a processor of structlog."""
    return {name: redact_field(name, value) for name, value in event_dict.items()}


def redact_field(name: str, value: object) -> object:
    """Return *value*, or `REDACTED` if the field *name* is that of a secret."""
    if value is None or isinstance(value, bool):
        return value
    return REDACTED if _is_secret(name) else _redact_value(value)


# Saves 8 us of 19 us for the line of a stream's end.
@lru_cache(maxsize=1_024)
def _is_secret(name: str) -> bool:
    return bool(_NAME.search(name) or _CAMEL_KEY.search(name))


def _redact_value(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            pairs = ((str(name), part) for name, part in value.items())
            return {redact_text(name): redact_field(name, part) for name, part in pairs}
        case list() | tuple():
            return [_redact_value(part) for part in value]
        case str():
            return redact_text(value)
        case _:
            # The renderer would write its repr().
            return redact_text(repr(value))


def redact_text(text: str) -> str:
    """Return *text* with each part that looks like a secret redacted."""
    if "eyJ" not in text and _SIGN.search(text) is None:
        return text
    return _TEXT.sub(_without_secret, text)


def _without_secret(match: re.Match[str]) -> str:
    return "".join(part for part in match.groups() if part) + REDACTED
