"""Reads a JWK set from a file or over HTTP, within bounds of size and time."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from .jwk_set import JwksError

if TYPE_CHECKING:
    import ssl

TIMEOUT = 10.0
"""Timeout for a whole response, in seconds."""

MAX_BYTES = 1 << 20
"""Maximum size of a set, in bytes."""

_TOO_MUCH = f"more than {MAX_BYTES} bytes, or {TIMEOUT:.0f} seconds"


async def fetch(source: str) -> bytes:
    """Return the content of *source*, a path or URL; raise `JwksError` on failure."""
    try:
        content = await _get(source) if "://" in source else _load(Path(source))
    except OSError as error:
        # Only the type: the message can quote the content.
        raise JwksError(type(error).__name__) from None
    if len(content) > MAX_BYTES:
        raise JwksError(_TOO_MUCH)
    return content


def _load(path: Path) -> bytes:
    # Without a thread: reading 1 MiB is faster than starting one. Opening a pipe could
    # block for ever, so only regular files are read.
    if not path.is_file():
        raise JwksError("no such file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


async def _get(url: str) -> bytes:
    # Imported for a URL only: it takes 11 ms of the start.
    import httpx2

    try:
        return await _request(url)
    # UnicodeError: no resolver takes the host.
    except (httpx2.HTTPError, UnicodeError) as error:
        raise JwksError(type(error).__name__) from None


async def _request(url: str) -> bytes:
    import httpx2

    content = bytearray()
    # Identity: without compression, the counted bytes are the size of the content.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    # Plain http is only allowed for loopback, where no proxy is used.
    is_remote = httpx2.URL(url).scheme == "https"
    try:
        client = httpx2.AsyncClient(verify=_tls(), trust_env=is_remote, timeout=None)
    except (OSError, ValueError, ImportError, httpx2.InvalidURL) as error:
        name = type(error).__name__
        raise JwksError(
            f"unusable proxy or certificates of the environment: {name}"
        ) from None
    with trio.move_on_after(TIMEOUT) as scope:
        async with client, client.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                raise JwksError(f"status {response.status_code}")
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > MAX_BYTES:
                    # Not `break`: httpx2 would not close its generators.
                    scope.cancel()
    if scope.cancelled_caught:
        raise JwksError(_TOO_MUCH)
    return bytes(content)


@cache
def _tls() -> ssl.SSLContext:
    # Cached: loading the certificate authorities takes 18 ms.
    import httpx2

    return httpx2.create_ssl_context()
