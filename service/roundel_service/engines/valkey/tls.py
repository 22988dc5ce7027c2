"""Whom a store over TLS has to be signed by, and why one is not trusted.

The client library verifies each certificate and its name, always. But it tries again
until its time is over, and then says just that: so it is found out here once more.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final, final

import trio

from .url import StoreUrl

_LOOK: Final = 1.5
"""For how many seconds it is found out, at all addresses."""

_CONNECT: Final = 0.5
_HANDSHAKE: Final = 0.5


@final
class CaFileError(Exception):
    """A file of certificates cannot be used."""


def root_certificates(ca: str) -> bytes:
    """Return what is in the file *ca*; raises `CaFileError`."""
    try:
        _context(ca)
        return Path(ca).read_bytes()
    except OSError as error:
        # Of the module `ssl`, too.
        told = error.strerror or "it cannot be read"
        raise CaFileError(f"its ca={ca}: {told}") from None


def _context(ca: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


async def distrust(url: StoreUrl) -> str | None:
    """Return why a server of the store at *url* is not trusted; none if it is.

    None, too, if it is away, or if the store is not asked over TLS.
    """
    if not url.has_tls:
        return None
    try:
        context = _context(url.ca)
    except OSError:
        return None  # That is an error of its own, and the one to be told.
    with trio.move_on_after(_LOOK):
        for host, port in url.addresses:
            if told := await _refused(host, port, context):
                return f"no TLS with {host}:{port}: {told}"
    return None


async def _refused(host: str, port: int, context: ssl.SSLContext) -> str | None:
    stream = None
    with trio.move_on_after(_CONNECT), suppress(OSError):
        stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=context)
    if stream is None:
        return None
    try:
        with trio.fail_after(_HANDSHAKE):
            await stream.do_handshake()
    except trio.TooSlowError:
        return "no answer to a handshake, as of one that speaks no TLS"
    except trio.BrokenResourceError as error:
        return _reason(error.__cause__)
    finally:
        await trio.aclose_forcefully(stream)
    return None


def _reason(error: BaseException | None) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason
    return None
