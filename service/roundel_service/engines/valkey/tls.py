"""TLS to the store: the files of certificates, and why a connection is not trusted.

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
_REFUSAL_TIMEOUT: Final = 0.2


@final
class TlsFileError(Exception):
    """A file of certificates or of a key cannot be used."""


def root_certificates(ca: str) -> bytes:
    """Return the content of the PEM file *ca*; raises `TlsFileError`."""
    try:
        ssl.create_default_context(cafile=ca)
        return Path(ca).read_bytes()
    except OSError as error:  # ssl.SSLError is an OSError
        raise TlsFileError(f"ca={ca}: {_reason(error)}") from None


def check_client_certificate(cert: str, key: str) -> None:
    """Raise `TlsFileError` unless *cert* and *key* are PEM files of one key pair."""
    for name, file in (("cert", cert), ("key", key)):
        try:
            Path(file).read_bytes()
        except OSError as error:
            raise TlsFileError(f"{name}={file}: {_reason(error)}") from None
    try:
        _add_client_certificate(ssl.create_default_context(), cert, key)
    except _EncryptedKeyError:
        raise TlsFileError(f"key={key}: the key must not be encrypted") from None
    except OSError as error:
        raise TlsFileError(f"cert={cert}, key={key}: {_reason(error)}") from None


class _EncryptedKeyError(Exception):
    pass


def _add_client_certificate(context: ssl.SSLContext, cert: str, key: str) -> None:
    def refuse() -> str:
        # Without a function OpenSSL would ask on the terminal.
        raise _EncryptedKeyError

    context.load_cert_chain(cert, key, password=refuse)


def _reason(error: OSError) -> str:
    return error.strerror or "cannot be read"


async def find_connection_error(url: StoreUrl) -> str | None:
    """Return why the store at *url* cannot be used, as far as that is found here.

    A server may be not trusted, or trust no client. A Unix socket may not be there.
    """
    if url.socket is not None:
        return await _socket_error(url.socket)
    if not url.has_tls:
        return None
    try:
        context = ssl.create_default_context(cafile=url.ca)
        if url.cert is not None and url.key is not None:
            _add_client_certificate(context, url.cert, url.key)
    except (OSError, _EncryptedKeyError):
        return None  # These errors were reported when the files were checked.
    with trio.move_on_after(_TIMEOUT):
        for host, port in url.addresses:
            if reason := await _handshake_error(host, port, context):
                return f"no TLS with {host}:{port}: {reason}"
    return None


async def _socket_error(path: str) -> str | None:
    try:
        stream = await trio.open_unix_socket(path)
    except OSError as error:
        return _reason(error)
    await trio.aclose_forcefully(stream)
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
        # In TLS 1.3 a server refuses the client's certificate after the handshake. A
        # command would meet a closed connection, and its reset would hide the reason.
        with trio.move_on_after(_REFUSAL_TIMEOUT):
            await stream.receive_some(1)
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
