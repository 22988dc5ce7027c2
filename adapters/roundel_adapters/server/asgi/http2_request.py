"""Checks the fields of an HTTP/2 request, and translates them for ASGI.

A malformed request is a stream error (RFC 9113 8.1.1). What HTTP/1.1 rejects by its
grammar is malformed here too, so that both ways serve the same requests.
"""

from __future__ import annotations

import re

from h2.errors import ErrorCodes
from hypercorn.protocol.events import Request
from hypercorn.typing import ConnectionState

from .authority import HOST
from .http2_frames import StreamError
from .http2_head import FieldLines

# RFC 9113 8.2.1, and RFC 9110 5.1 for the other characters of a name.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"(?:[^\0\r\n\t ](?:[^\0\r\n]*[^\0\r\n\t ])?)?")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*")
_PATH = re.compile(rb"/[!-~]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path"))
_CONNECTION_SPECIFIC = frozenset(
    [
        *(b"connection", b"proxy-connection", b"keep-alive"),
        *(b"transfer-encoding", b"upgrade"),
    ]
)


def malformed(reason: str) -> StreamError:
    """Return the stream error of a malformed request (RFC 9113 8.1.1)."""
    return StreamError(ErrorCodes.PROTOCOL_ERROR, reason)


def check_trailers(fields: FieldLines) -> None:
    """Raise `StreamError` if the trailers of a request are malformed."""
    if any(name.startswith(b":") for name, _ in fields):
        raise malformed("a pseudo-header field among the trailers")
    _check_regular(fields)


def check_request(fields: FieldLines, *, has_body: bool) -> None:
    """Raise `StreamError` if the head of a request is malformed."""
    names = [name for name, _ in fields]
    pseudo_count = sum(name.startswith(b":") for name in names)
    pseudo = dict(fields[:pseudo_count])
    if len(pseudo) < pseudo_count or not pseudo.keys() <= _PSEUDO:
        raise malformed("a pseudo-header field is unknown, late or there twice")
    if not all(map(_VALUE.fullmatch, pseudo.values())):
        raise malformed("an invalid pseudo-header field")
    _check_regular(fields[pseudo_count:])
    _check_target(pseudo)
    _check_host(pseudo, [value for name, value in fields if name == b"host"])
    lengths = [value for name, value in fields if name == b"content-length"]
    _check_length(lengths, has_body=has_body)


def _check_regular(fields: FieldLines) -> None:
    for name, value in fields:
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise malformed("an invalid field")
        if name in _CONNECTION_SPECIFIC:
            raise malformed("a connection-specific field")
        if name == b"te" and value.lower() != b"trailers":
            raise malformed("a TE field with another value than trailers")


def _check_target(pseudo: dict[bytes, bytes]) -> None:
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not _METHOD.fullmatch(method):
        raise malformed("no valid method")
    if method == b"CONNECT":
        # RFC 9113 8.5: it has an authority only.
        if pseudo.keys() != {b":method", b":authority"}:
            raise malformed("a CONNECT request with a scheme, a path or no authority")
        return
    if not _SCHEME.fullmatch(pseudo.get(b":scheme", b"")):
        raise malformed("no valid scheme")
    is_for_server = method == b"OPTIONS" and path == b"*"
    if not (_PATH.fullmatch(path) or is_for_server):
        raise malformed("no valid path")


def _check_host(pseudo: dict[bytes, bytes], hosts: list[bytes]) -> None:
    """Check the authority and the Host field (RFC 9113 8.3.1)."""
    names = [pseudo[b":authority"]] if b":authority" in pseudo else []
    names += hosts
    if not names or len(hosts) > 1:
        raise malformed("not exactly one host")
    if not all(name and HOST.fullmatch(name) for name in names):
        raise malformed("an invalid host")
    if len({name.lower() for name in names}) > 1:
        raise malformed("two hosts")


def _check_length(lengths: list[bytes], *, has_body: bool) -> None:
    if not lengths:
        return
    if len(set(lengths)) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise malformed("an invalid content-length")
    if int(lengths[0]) and not has_body:
        raise malformed("a content-length without a body")


def asgi_request(
    stream_id: int, fields: FieldLines, state: ConnectionState
) -> Request | None:
    """Return the request that has the valid *fields*, or `None` if ASGI has none."""
    pseudo = {name: value for name, value in fields if name.startswith(b":")}
    method = pseudo[b":method"]
    if method == b"CONNECT" or method != method.upper():
        # RFC 9110 9.1: methods are case-sensitive. ASGI has no lower case.
        return None
    regular = [each for each in fields if each[0] not in pseudo]
    host = pseudo.get(b":authority") or dict(regular)[b"host"]
    others = [each for each in regular if each[0] not in {b"host", b"cookie"}]
    cookies = [value for name, value in regular if name == b"cookie"]
    if cookies:
        # RFC 9113 8.2.3: a client may split the field.
        others.append((b"cookie", b"; ".join(cookies)))
    return Request(
        stream_id=stream_id,
        headers=[(b"host", host), *others],
        http_version="2",
        method=method.decode("ascii"),
        raw_path=pseudo[b":path"],
        state=state,
    )
