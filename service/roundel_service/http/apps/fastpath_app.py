"""Serves the routes of the HTTP contract on the fast path, without ASGI."""

from __future__ import annotations

from functools import partial
from typing import final
from urllib.parse import unquote_to_bytes

from roundel_adapters.server.fastpath.interface import FastHandler

from ...telemetry import access_log
from ..dispatcher import Dispatcher
from ..messages import AnyResponse, Request, RequestHeaders
from ..problems import Problem
from ..router import Match, Router

# The fast path does not leave the body out, and preflights are rare.
_ASGI_METHODS = frozenset({"HEAD", "OPTIONS"})


@final
class FastpathApp:
    """Finds the route of a request and passes it to *dispatcher*."""

    def __init__(self, dispatcher: Dispatcher, router: Router) -> None:
        self._dispatcher = dispatcher
        self.router = router

    def find_handler(
        self, method: str, path: str, query: bytes = b""
    ) -> FastHandler | None:
        """Return the handler of a request; `None` if ASGI has to serve it.

        That is also so with a `wait` parameter: a long poll has to notice that its
        client left.
        """
        # A path with other characters is an error, which ASGI answers (RFC 3986 2).
        is_plain = path.isascii() and path.isprintable()
        may_wait = b"wait=" in unquote_to_bytes(query)
        if may_wait or method in _ASGI_METHODS or not is_plain:
            return None
        try:
            match = self.router.match(method, path.encode())
        except Problem:
            return None
        return partial(self._handle, match, path, query)

    async def _handle(
        self,
        match: Match,
        path: str,
        query: bytes,
        headers: RequestHeaders,
        body: bytes,
    ) -> AnyResponse:
        request = Request(
            id=access_log.request_id(headers.get("X-Request-Id")),
            method=match.route.method,
            path=path,
            params=match.params,
            query=query,
            headers=headers,
            body=body,
        )
        route = match.route
        return await self._dispatcher.handle(route.path, request, route.handler)
