"""Which pages of other origins may call, by the CORS protocol of WHATWG Fetch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import final

import attrs

_ALLOWED = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, If-None-Match"
_MAX_AGE = "600"


@final
@attrs.frozen
class Cors:
    """Lets in the pages of an exact list of *origins*, with their credentials."""

    origins: frozenset[str] = frozenset()

    def allows(self, origin: str | None) -> bool:
        """Tell whether a page of *origin* may call."""
        return origin in self.origins

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """Return what an answer to a page of *origin* has to say."""
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
        """Return what the answer to a preflight says besides `headers()`."""
        if not self.allows(origin):
            return {}
        return {
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": _ALLOWED,
            "Access-Control-Max-Age": _MAX_AGE,
        }
