"""The error of a damaged record, and decoders that raise no other one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar, final

import msgspec

from ...domain.log.replay import ReplayError

_T = TypeVar("_T")


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


def checked(
    name: str, decoder: msgspec.json.Decoder[_T], *, max_length: int
) -> Callable[[bytes | str], _T]:
    """Return a function that decodes a row, or raises `RecordDecodeError`.

    A row longer than *max_length*, in bytes or characters, is not decoded.
    """

    def decode_row(row: bytes | str) -> _T:
        if len(row) > max_length:
            raise RecordDecodeError(f"{name}: longer than {max_length}")
        try:
            return decoder.decode(row)
        except Exception as error:
            raise RecordDecodeError(f"{name}: {describe(error)}") from None

    return decode_row
