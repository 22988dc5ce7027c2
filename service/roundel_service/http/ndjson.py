"""Lines out of pieces, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeAlias

from .problems import Problem, too_large

Line: TypeAlias = bytes | Problem


async def split_lines(
    pieces: AsyncIterator[bytes], *, limit: int
) -> AsyncGenerator[list[Line], None]:
    """Yield the lines that each piece completes; blank ones are left out.

    A line of more than *limit* bytes, without its end (LF or CRLF), is a `Problem`
    and is not kept. The last line needs no end.
    """
    rest = bytearray()
    skipping = False
    async for piece in pieces:
        lines: list[Line] = []
        # Only what is new is looked at, so that small pieces are O(n) too.
        *ends, tail = piece.split(b"\n")
        for end in ends:
            if not skipping:
                lines += _line(rest + end, limit)
            rest, skipping = bytearray(), False
        if not skipping:
            rest += tail
        if _is_too_long(rest, limit):
            lines += _line(rest, limit)
            rest, skipping = bytearray(), True
        if lines:
            yield lines
    if lines := _line(rest, limit):
        yield lines


def _line(content: bytes | bytearray, limit: int) -> list[Line]:
    """Return the one line that *content* is; none if it is blank."""
    if _is_too_long(content, limit):
        return [too_large(f"the line takes more than {limit} bytes")]
    return [bytes(content).removesuffix(b"\r")] if content.strip() else []


def _is_too_long(content: bytes | bytearray, limit: int) -> bool:
    return len(content) - content.endswith(b"\r") > limit
