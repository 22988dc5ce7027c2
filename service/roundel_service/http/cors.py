"""CORS (WHATWG Fetch 3.2): which other origins may call, with credentials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import final

import attrs

_ALLOWED_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, If-None-Match"
)
_MAX_AGE = "600"


@final
@attrs.define(eq=False)
class Cors:
    """Allows an exact list of *origins*, with credentials; a reload replaces it."""

    origins: frozenset[str] = frozenset()

    def allows(self, origin: str | None) -> bool:
        """Return whether *origin* is allowed."""
        return origin in self.origins

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """Return the CORS headers of a response to *origin*."""
        if not self.origins:
            return {}
        if origin is None or not self.allows(origin):
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": "ETag",
        }

    def preflight(
        self, origin: str | None, methods: Iterable[str]
    ) -> Mapping[str, str]:
        """Return the headers of a preflight response, in addition to `headers()`."""
        if not self.allows(origin):
            return {}
        return {
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": _MAX_AGE,
        }
