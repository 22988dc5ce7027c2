"""The contract for a server that calls it the short way, without ASGI."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import final

from roundel_adapters.server.fastpath import interface as plain

from ..telemetry import access_log as access
from .dispatcher import Dispatcher
from .messages import Request
from .routes import Route

_NAME = re.compile(r"\{(\w+)\}")
_PART = r"(?P<\1>[^/%#\\x00-\\x20\\x7f-\\xff]+)"


@final
class FastpathApp:
    """Takes what *routes* tell, and answers at *desk*, as the ASGI application does."""

    def __init__(self, desk: Dispatcher, routes: tuple[Route, ...]) -> None:
        self._desk = desk
        self._routes = [(_pattern(route), route) for route in routes]
        self._find = lru_cache(maxsize=1_024)(self._match)

    def handles(self, method: str, path: str, query: bytes = b"") -> bool:
        """Tell whether there is such a call; any other is for the application."""
        return b"wait=" not in query and self._find(method, path) is not None

    def _match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        for pattern, route in self._routes:
            if method == route.method and (found := pattern.fullmatch(path)):
                return route, found.groupdict()
        return None

    async def __call__(self, asked: plain.FastRequest) -> plain.AnyResponse:
        """Answer what `takes()` has said to take."""
        found = self._find(asked.method, asked.path)
        assert found is not None
        route, params = found
        request = Request(
            id=access.request_id(asked.headers.get("X-Request-Id")),
            method=asked.method,
            path=asked.path,
            params=params,
            query=asked.query,
            headers=asked.headers,
            body=asked.body,
            buffered_body=asked.body.buffered,
        )
        return await self._desk.handle(route.path, request, route.handler)


def _pattern(route: Route) -> re.Pattern[str]:
    # What is escaped in a path, or should have been, goes the usual way: what it means
    # is not decided twice.
    return re.compile(_NAME.sub(_PART, route.path.replace(".", r"\.")))
