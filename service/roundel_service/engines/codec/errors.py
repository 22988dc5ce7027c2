"""The error of a damaged record."""

from __future__ import annotations

import re
from typing import final

from ...domain.log.replay import ReplayError


@final
class RecordDecodeError(ValueError):
    """A stored record is damaged; the message contains no part of its content."""


def describe(error: BaseException) -> str:
    """Return what is wrong with a stored value, without any of its content."""
    message = str(error)
    # Other messages may quote the value.
    is_safe = isinstance(error, (RecordDecodeError, ReplayError))
    is_safe = is_safe or re.match("Expected|JSON", message) is not None
    return message if is_safe else type(error).__name__
