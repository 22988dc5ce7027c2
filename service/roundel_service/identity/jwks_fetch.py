"""Reading what an issuer publishes, from a file or over HTTP, within bounds."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

import httpx2
import trio

from .jwk_set import UnreadableError

TIMEOUT = 10.0
"""Seconds that an answer may take as a whole."""

MAX_SET = 1 << 20
"""The longest set, in bytes."""

_TOO_MUCH = f"more than {MAX_SET} bytes, or {TIMEOUT:.0f} seconds"


async def read(source: str) -> bytes:
    """Return what is at *source*; raises `UnreadableError`."""
    try:
        content = await _get(source) if "://" in source else _load(Path(source))
    except (httpx2.HTTPError, OSError) as error:
        # The name alone, since a message can quote what has come.
        raise UnreadableError(type(error).__name__) from None
    if len(content) > MAX_SET:
        raise UnreadableError(_TOO_MUCH)
    return content


def _load(path: Path) -> bytes:
    # Not in a thread: so little is there before a thread is. But a pipe may never be.
    if not path.is_file():
        raise UnreadableError("no such file")
    with path.open("rb") as file:
        return file.read(MAX_SET + 1)


async def _get(url: str) -> bytes:
    content = bytearray()
    # Not coded, so that the bytes that are counted are all that there will be.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    with trio.move_on_after(TIMEOUT) as scope:
        async with (
            _client(url) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code != 200:
                raise UnreadableError(f"status {response.status_code}")
            async for piece in response.aiter_raw():
                content += piece
                if len(content) > MAX_SET:
                    # Not left by a break: httpx2 would not close its generators.
                    scope.cancel()
    if scope.cancelled_caught:
        raise UnreadableError(_TOO_MUCH)
    return bytes(content)


def _client(url: str) -> httpx2.AsyncClient:
    # A proxy of the environment is for what is outside, so not for plain http.
    is_outside = httpx2.URL(url).scheme == "https"
    return httpx2.AsyncClient(verify=_tls(), trust_env=is_outside, timeout=None)


@cache
def _tls() -> ssl.SSLContext:
    # Once: it takes as long as thousands of requests.
    return httpx2.create_ssl_context()
