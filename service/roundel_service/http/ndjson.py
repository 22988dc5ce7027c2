"""Splits a stream of bytes into lines, in bounded memory and O(n) time."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TypeAlias

from .problems import Problem

NdjsonLine: TypeAlias = bytes | Problem


async def split_lines(
    chunks: AsyncIterator[bytes], *, limit: int
) -> AsyncGenerator[list[NdjsonLine], None]:
    """Yield the lines that each chunk completes, without blank ones.

    A line of more than *limit* bytes, excluding LF or CRLF, is dropped; a `Problem` is
    yielded in its place. The last line needs no line end. A byte order mark before the
    first line is skipped.
    """
    buffer = bytearray()
    skipping = False
    async with aclosing(_without_bom(chunks)) as parts:
        async for chunk in parts:
            lines: list[NdjsonLine] = []
            # Only the new chunk is searched: small chunks stay O(n) overall.
            *ends, tail = chunk.split(b"\n")
            for end in ends:
                if buffer or skipping:
                    if not skipping:
                        lines += _line(buffer + end, limit)
                    buffer, skipping = bytearray(), False
                elif end:
                    lines += _line(end, limit)
            if not skipping:
                buffer += tail
            if _is_too_long(buffer, limit):
                lines += _line(buffer, limit)
                buffer, skipping = bytearray(), True
            if lines:
                yield lines
    if lines := _line(buffer, limit):
        yield lines


async def _without_bom(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    start = b""
    is_start = True
    async for chunk in chunks:
        if is_start:
            start += chunk
            if len(start) < len(BOM_UTF8) and BOM_UTF8.startswith(start):
                continue
            is_start = False
            yield start.removeprefix(BOM_UTF8)
        else:
            yield chunk
    if is_start:
        yield start


def _line(content: bytes | bytearray, limit: int) -> list[NdjsonLine]:
    """Return the line *content*, or nothing if it is blank."""
    if _is_too_long(content, limit):
        return [Problem("too-large", f"the line takes more than {limit} bytes")]
    return [bytes(content).removesuffix(b"\r")] if content.strip() else []


def _is_too_long(content: bytes | bytearray, limit: int) -> bool:
    return len(content) - content.endswith(b"\r") > limit
