"""Calls of the HTTP contract as data: the request, and how its response is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar, final
from urllib.parse import quote, urlencode

import attrs
import msgspec

T = TypeVar("T")

JSON = "application/json"
IDEMPOTENCY_KEY = "Idempotency-Key"


def encode(document: object) -> bytes:
    """Return *document* as JSON; raises `ValueError` if it has another type."""
    try:
        return msgspec.json.encode(document)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"expected JSON: {error}") from None


@final
@attrs.frozen
class Endpoint(Generic[T]):
    """A *method* and a *path* template of the contract, and what it returns.

    *operation* is its id in the OpenAPI document. *decode* reads the body of a 200
    response of *media_type*.
    """

    operation: str
    method: str
    path: str
    decode: Callable[[bytes], T]
    media_type: str = attrs.field(default=JSON, kw_only=True)

    def call(
        self,
        *names: str,
        query: Mapping[str, object] | None = None,
        document: object = None,
    ) -> Call[T]:
        """Return a call; *names* are the values of the path parameters, in order.

        *document* is sent as JSON. A parameter of the query that is `None` is left out.
        """
        target = self.path
        for name in names:
            before, _, rest = target.partition("{")
            target = f"{before}{_escape_segment(name)}{rest.partition('}')[2]}"
        given = {key: each for key, each in (query or {}).items() if each is not None}
        if given:
            target = f"{target}?{urlencode(given)}"
        call = Call(endpoint=self, target=target, decode=self.decode)
        if document is None:
            return call
        content = encode(document)
        return attrs.evolve(call, content=content, headers={"Content-Type": JSON})


@final
@attrs.frozen(kw_only=True)
class Call(Generic[T]):
    """One call: its request, and how its response is read.

    Args:
        endpoint: The endpoint that is called.
        target: The path and the query, percent-encoded.
        decode: Reads the body of a 200 response.
        content: The body of the request.
        headers: Headers of the request, without the credential.
        may_repeat: Whether a second request has no second effect.
        known: The result of a 304.
        wait: Seconds for which the service may hold the response.
        is_transient: Whether a result has problems that a repetition may end.
    """

    endpoint: Endpoint[T]
    target: str
    decode: Callable[[bytes], T]
    content: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    may_repeat: bool = True
    known: T | None = None
    wait: float = 0.0
    is_transient: Callable[[T], bool] = lambda _: False

    @property
    def name(self) -> str:
        """The method and path template: the text for errors, without user names."""
        return f"{self.endpoint.method} {self.endpoint.path}"


def _escape_segment(name: str) -> str:
    if not name:
        raise ValueError("expected a name, got an empty text")
    try:
        escaped = quote(name, safe="")
    except UnicodeEncodeError:
        raise ValueError("expected a name without lone surrogates") from None
    # HTTP libraries remove dot segments, unless the dots are escaped.
    return escaped.replace(".", "%2E") if name in (".", "..") else escaped
