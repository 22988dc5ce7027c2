"""Requests and answers, whoever brings the one and takes the other."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache
from typing import Protocol, final
from urllib.parse import parse_qs

import attrs
import msgspec
import trio
from werkzeug.http import parse_cookie

from roundel_adapters.server.fastpath.interface import Response

from .problems import MEDIA_TYPE, FieldError, Problem, invalid, too_large

BODY_TIMEOUT = 30.0
"""For how many seconds a whole body, or the next piece of a long one, may take."""

MAX_QUERY = 8_192
"""The longest query, in bytes."""

_MAX_PARAMETERS = 20
# What nobody reads in more than one way.
_PLAIN_COOKIES = re.compile(r"[\w-]+=[\w.-]*(?:; [\w-]+=[\w.-]*)*", re.ASCII)


class Headers(Protocol):
    """The header of a request; names are compared without regard to case."""

    def get(self, name: str) -> str | None:
        """Return the first value of that name."""
        ...

    def getlist(self, name: str) -> list[str]:
        """Return all values of that name."""
        ...


def _nothing() -> None:
    return None


# Pages ask for the same again and again; a ticket or a cursor is not to be kept.
_KEPT_QUERY = re.compile(rb"(?:(?:level|categories|state|limit)=[\w.,-]{0,64}&?){1,4}")


def _parsed(query: bytes) -> Mapping[str, list[str]]:
    return parse_qs(
        query.decode("ascii", "replace"),
        keep_blank_values=True,
        max_num_fields=_MAX_PARAMETERS,
    )


_known = lru_cache(maxsize=64)(_parsed)


@final
@attrs.define(kw_only=True, eq=False)
class Request:
    """What was asked for; *params* are the parts of the path that have a name.

    *at_hand* takes the whole body, instead of *body*, if it need not be waited for.
    """

    id: str
    method: str
    path: str
    params: Mapping[str, str]
    query: bytes
    headers: Headers
    body: AsyncIterator[bytes]
    buffered_body: Callable[[], bytes | None] = _nothing

    @property
    def parameters(self) -> Mapping[str, list[str]]:
        """The query's parameters; raises a 414 or 422 `Problem`."""
        if not self.query:
            return {}
        if len(self.query) > MAX_QUERY:
            raise _query_too_long(len(self.query))
        try:
            is_kept = _KEPT_QUERY.fullmatch(self.query)
            return (_known if is_kept else _parsed)(self.query)
        except ValueError:
            detail = f"expected at most {_MAX_PARAMETERS} parameters"
            raise invalid(FieldError("query", detail)) from None

    def cookies(self, name: str) -> list[str]:
        """Return the values of the cookies of that name; what is not ASCII is ``?``."""
        # RFC 9113 8.2.3: over HTTP/2 each cookie may come in a field of its own.
        fields = self.headers.getlist("Cookie")
        if not fields:
            return []
        told = "; ".join(fields)
        if _PLAIN_COOKIES.fullmatch(told):
            pairs = (pair.partition("=") for pair in told.split("; "))
            return [value for its_name, _, value in pairs if its_name == name]
        # Werkzeug fails on bytes that are no UTF-8, whoever's cookie they are in.
        return parse_cookie(told.encode("ascii", "replace").decode()).getlist(name)

    async def whole_body(self, limit: int) -> bytes:
        """Read the body, of at most *limit* bytes; raises a 408 or 413 `Problem`."""
        length = self.headers.get("Content-Length") or ""
        # Python refuses to read a number of thousands of digits.
        if length.isdecimal() and (len(length) > 18 or int(length) > limit):
            raise _body_too_large(limit)
        body = self.buffered_body()
        if body is None:
            return await self._awaited_body(limit)
        if len(body) > limit:
            raise _body_too_large(limit)
        return body

    async def _awaited_body(self, limit: int) -> bytes:
        read = bytearray()
        with trio.move_on_after(BODY_TIMEOUT) as scope:
            async for piece in self.body:
                read += piece
                if len(read) > limit:
                    raise _body_too_large(limit)
        if scope.cancelled_caught:
            raise body_too_slow()
        return bytes(read)


_JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


def json_response(document: object) -> Response:
    """Answer with *document*."""
    return Response(body=msgspec.json.encode(document), headers=_JSON)


def problem_response(problem: Problem) -> Response:
    """Answer with *problem*."""
    return Response(
        status=problem.status,
        body=msgspec.json.encode(problem.document()),
        headers={
            "Content-Type": MEDIA_TYPE,
            "Cache-Control": "no-store",
            **problem.headers,
        },
    )


def body_too_slow() -> Problem:
    """Make the problem of a body that does not come (408)."""
    return Problem(
        status=408,
        name="request-timeout",
        title="The request took too long to come",
        detail=f"the body did not come within {BODY_TIMEOUT:.0f} seconds",
    )


def _body_too_large(limit: int) -> Problem:
    return too_large(f"the body takes more than {limit} bytes")


def _query_too_long(length: int) -> Problem:
    return Problem(
        status=414,
        name="query-too-long",
        title="The query is too long",
        detail=f"expected at most {MAX_QUERY} bytes, got {length}",
    )
