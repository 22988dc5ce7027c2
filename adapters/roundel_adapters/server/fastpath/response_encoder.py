"""Encodes HTTP/1.1 responses."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time

from .interface import AnyFastResponse

CHUNKED = "Transfer-Encoding: chunked\r\n"

_REASONS = {status.value: status.phrase for status in HTTPStatus}


def encode_head(response: AnyFastResponse, framing: str, *, keep_alive: bool) -> bytes:
    """Return a response head; *framing* is the field that delimits the body."""
    status = response.status
    fields = [f"{name}: {value}\r\n" for name, value in response.headers.items()]
    connection = "" if keep_alive else "Connection: close\r\n"
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n"
        f"{''.join(fields)}{framing}Date: {_http_date(int(time()))}\r\n{connection}\r\n"
    )
    return head.encode("latin-1")


def content_length(status: int, body: bytes) -> str:
    """Return the field that delimits *body*."""
    # RFC 9110 8.6: not with 204, nor with a 304 whose 200 has another length.
    return "" if status in (204, 304) else f"Content-Length: {len(body)}\r\n"


@lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    # 10 µs to format, 0.1 µs from the cache.
    return formatdate(second, usegmt=True)
