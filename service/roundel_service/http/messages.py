"""Requests and responses of the HTTP contract, independent of the server."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, final
from urllib.parse import unquote_to_bytes

import attrs
import trio

from roundel_adapters.driver import EventStream
from roundel_adapters.wakeup import Wakeup

from ..documents import encode_json
from .problems import Problem
from .responses import PROBLEM_MEDIA_TYPE

BODY_TIMEOUT = 30.0
"""Timeout for a whole body, and for the next chunk of a long one, in seconds."""

MAX_QUERY = 8_192
"""Size limit of a query, in bytes."""

MAX_TARGET = MAX_QUERY + 4_096
"""Size limit of a path and query, in bytes; the server answers a longer one itself."""

_MALFORMED_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SURROGATE = re.compile("[\ud800-\udfff]")
# A lone surrogate, in place of a text with a malformed escape.
_UNDECODABLE = "\udc25"
# Cookies that need no decoding, which nearly all are.
_PLAIN_COOKIES = re.compile(r"[\w-]+=[\w.-]*(?:; [\w-]+=[\w.-]*)*", re.ASCII)


class RequestHeaders(Protocol):
    """The header fields of a request, by case-insensitive name (RFC 9110 5.1)."""

    def get(self, name: str) -> str | None:
        """Return the first value of a field."""
        ...

    def getlist(self, name: str) -> list[str]:
        """Return all values of a field."""
        ...


@final
@attrs.define(kw_only=True, eq=False)
class Request:
    """Represents a request; *params* are the named parts of the path.

    *body* is bytes if the server has received all of it, and an iterator of its
    chunks otherwise.
    """

    id: str
    method: str
    path: str
    params: Mapping[str, str]
    query: bytes
    headers: RequestHeaders
    body: bytes | AsyncIterator[bytes]

    @property
    def parameters(self) -> Sequence[tuple[str, str]]:
        """The parameters of the query, in its order; raises a 414 `Problem`.

        A value that is not percent-encoded UTF-8 contains a lone surrogate.
        """
        if not self.query:
            return ()
        if len(self.query) > MAX_QUERY:
            detail = f"expected at most {MAX_QUERY} bytes, got {len(self.query)}"
            raise Problem("query-too-long", detail)
        pairs = [pair.partition(b"=") for pair in self.query.split(b"&") if pair]
        return [(_decode_name(name), _form_decode(value)) for name, _, value in pairs]

    def cookies(self, name: str) -> list[str]:
        """Return the values of the cookies of that name; not ASCII becomes ``?``."""
        # RFC 9113 8.2.3: over HTTP/2 each cookie may come in a field of its own.
        fields = self.headers.getlist("Cookie")
        if not fields:
            return []
        cookies = "; ".join(fields)
        if _PLAIN_COOKIES.fullmatch(cookies):
            pairs = (pair.partition("=") for pair in cookies.split("; "))
            return [value for its_name, _, value in pairs if its_name == name]
        from werkzeug.http import parse_cookie  # 20 ms of a start.

        # Werkzeug raises an error for any cookie with bytes that are not UTF-8.
        return parse_cookie(cookies.encode("ascii", "replace").decode()).getlist(name)

    async def body_chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it is received."""
        if isinstance(self.body, bytes):
            yield self.body
        else:
            async for chunk in self.body:
                yield chunk

    async def whole_body(self, limit: int) -> bytes:
        """Read the body, of at most *limit* bytes; raises a 408 or 413 `Problem`.

        A byte order mark is left out.
        """
        length = self.headers.get("Content-Length") or ""
        # Python refuses to parse a number of thousands of digits.
        if length.isdecimal() and (len(length) > 18 or int(length) > limit):
            raise _body_too_large(limit)
        if isinstance(self.body, bytes):
            if len(self.body) > limit:
                raise _body_too_large(limit)
            return self.body.removeprefix(BOM_UTF8)
        body = bytearray()
        with trio.move_on_after(BODY_TIMEOUT) as scope:
            async for chunk in self.body:
                body += chunk
                if len(body) > limit:
                    raise _body_too_large(limit)
        if scope.cancelled_caught:
            raise Problem("request-timeout")
        return bytes(body).removeprefix(BOM_UTF8)


@final
@attrs.frozen(kw_only=True)
class Response:
    """A complete response."""

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""


@final
@attrs.frozen(kw_only=True)
class StreamingResponse:
    """A response whose body is generated while it is sent."""

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: AsyncGenerator[bytes, None]


@final
@attrs.frozen(kw_only=True)
class EventStreamResponse:
    """A response whose body is an event stream.

    *wakeup* is notified when *stream* may have bytes to send. *lifespan* is entered
    when the stream starts and left when it ends.
    """

    stream: EventStream
    wakeup: Wakeup
    lifespan: AbstractContextManager[object]
    headers: Mapping[str, str] = attrs.field(factory=dict)
    status: int = 200


AnyResponse: TypeAlias = Response | StreamingResponse | EventStreamResponse


_JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


def percent_decode(encoded: bytes) -> str:
    """Return the text in *encoded*, with a lone surrogate if that is not UTF-8."""
    if b"%" in encoded:
        if _MALFORMED_ESCAPE.search(encoded):
            return _UNDECODABLE
        encoded = unquote_to_bytes(encoded)
    return encoded.decode(errors="surrogateescape")


def is_text(decoded: str) -> bool:
    """Return whether *decoded* is text, without a lone surrogate."""
    return decoded.isascii() or _SURROGATE.search(decoded) is None


def _form_decode(encoded: bytes) -> str:
    # WHATWG URL 5.1: a plus is a space.
    return percent_decode(encoded.replace(b"+", b" "))


def _decode_name(encoded: bytes) -> str:
    name = _form_decode(encoded)
    # A problem document, which is UTF-8, may quote the name.
    return name if is_text(name) else name.encode(errors="replace").decode()


def json_response(document: object) -> Response:
    """Return a 200 response with a JSON document."""
    return Response(body=encode_json(document), headers=_JSON)


def problem_response(problem: Problem) -> Response:
    """Return the response of a problem."""
    return Response(
        status=problem.status,
        body=encode_json(problem.document()),
        headers={
            "Content-Type": PROBLEM_MEDIA_TYPE,
            "Cache-Control": "no-store",
            **problem.headers,
        },
    )


def _body_too_large(limit: int) -> Problem:
    return Problem("too-large", f"the body takes more than {limit} bytes")
