"""TLS to the store: the certificate authorities, and why a server is not trusted.

The client library always verifies the certificate and the host name. But it retries a
failed handshake until its timeout and then reports a timeout. So a second handshake
here finds the reason.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final, final

import trio

from .url import StoreUrl

_TIMEOUT: Final = 1.5
"""Timeout for the checks of all addresses together, in seconds."""

_CONNECT_TIMEOUT: Final = 0.5
_HANDSHAKE_TIMEOUT: Final = 0.5


@final
class CaFileError(Exception):
    """The file of certificate authorities cannot be used."""


def root_certificates(ca: str) -> bytes:
    """Return the content of the PEM file *ca*; raises `CaFileError`."""
    try:
        ssl.create_default_context(cafile=ca)
        return Path(ca).read_bytes()
    except OSError as error:  # ssl.SSLError is an OSError
        reason = error.strerror or "cannot be read"
        raise CaFileError(f"ca={ca}: {reason}") from None


async def find_tls_error(url: StoreUrl) -> str | None:
    """Return why a server of the store at *url* is not trusted.

    Returns `None` if all reachable servers are trusted or the URL is without TLS.
    """
    if not url.has_tls:
        return None
    try:
        context = ssl.create_default_context(cafile=url.ca)
    except OSError:
        return None  # `root_certificates()` has reported this error.
    with trio.move_on_after(_TIMEOUT):
        for host, port in url.addresses:
            if reason := await _handshake_error(host, port, context):
                return f"no TLS with {host}:{port}: {reason}"
    return None


async def _handshake_error(host: str, port: int, context: ssl.SSLContext) -> str | None:
    stream = None
    with trio.move_on_after(_CONNECT_TIMEOUT), suppress(OSError):
        stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=context)
    if stream is None:
        return None
    try:
        with trio.fail_after(_HANDSHAKE_TIMEOUT):
            await stream.do_handshake()
    except trio.TooSlowError:
        return "handshake timed out; the server may not speak TLS"
    except trio.BrokenResourceError as error:
        match error.__cause__:
            case ssl.SSLCertVerificationError(verify_message=reason):
                return reason
            case ssl.SSLError(reason=reason):
                return reason
    finally:
        await trio.aclose_forcefully(stream)
    return None
