"""Lines out of pieces, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeAlias

from .problems import Problem, too_large

Line: TypeAlias = bytes | Problem


async def split(
    pieces: AsyncIterator[bytes], *, limit: int
) -> AsyncGenerator[list[Line], None]:
    """Yield the lines that each piece completes; empty ones are left out.

    A line of more than *limit* bytes is a `Problem`, and is not kept. The last line
    needs no end.
    """
    rest = bytearray()
    skipping = False
    async for piece in pieces:
        rest += piece
        *whole, tail = rest.split(b"\n")
        lines: list[Line] = []
        for line in whole:
            if not skipping and line.strip():
                lines.append(bytes(line) if len(line) <= limit else _too_long(limit))
            skipping = False
        rest = bytearray() if skipping else tail
        if len(rest) > limit:
            lines.append(_too_long(limit))
            skipping, rest = True, bytearray()
        if lines:
            yield lines
    if rest.strip():
        yield [bytes(rest)]


def _too_long(limit: int) -> Problem:
    return too_large(f"the line takes more than {limit} bytes")
