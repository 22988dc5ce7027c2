"""A Quart-Trio application with one view, which finds the route of a request itself.

Werkzeug would match the path after its escapes are decoded, and would merge slashes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, final
from urllib.parse import quote

from quart import Request as QuartRequest
from quart import Response as QuartResponse
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from werkzeug.routing import MapAdapter

from ...telemetry import access_log
from ..messages import Request, Response

if TYPE_CHECKING:
    from quart.ctx import RequestContext  # From Quart 0.23 on, an `AppContext`.

View: TypeAlias = Callable[[QuartRequest], Awaitable[QuartResponse]]


@final
class RoutedApp(QuartTrio):
    """Passes each request to *view*, whatever its path is."""

    def __init__(self, view: View) -> None:
        super().__init__(__name__, static_folder=None)
        self._view = view

    def create_url_adapter(
        self, request: BaseRequestWebsocket | None
    ) -> MapAdapter | None:
        """Return `None`: requests have no Werkzeug routes. A WebSocket is a 404."""
        if isinstance(request, QuartRequest):
            return None
        return super().create_url_adapter(request)

    async def dispatch_request(
        self, request_context: RequestContext | None = None
    ) -> QuartResponse:
        """Return the view's response."""
        assert request_context is not None
        return await self._view(request_context.request)


def raw_path(request: QuartRequest) -> bytes:
    """Return the path as received; it includes the path that the app is mounted at."""
    scope = request.scope
    # ASGI makes `raw_path` optional. Without it, an escaped slash is already decoded.
    substitute = quote(scope["path"], errors="surrogateescape").encode()
    return scope.get("raw_path") or substitute


def convert_request(request: QuartRequest, params: Mapping[str, str]) -> Request:
    """Return *request* as the handlers expect it, with the *params* of its path."""
    return Request(
        id=access_log.request_id(request.headers.get("X-Request-Id")),
        method=request.method,
        path=raw_path(request).decode("latin-1"),
        params=params,
        query=request.query_string,
        headers=request.headers,
        body=aiter(request.body),
    )


def whole_response(request: QuartRequest, response: Response) -> QuartResponse:
    """Return *response* to *request*; `HEAD` gets no body."""
    # Quart would read a body that is omitted here with asyncio.
    body = b"" if request.method == "HEAD" else response.body
    result = QuartResponse(body, response.status, headers=dict(response.headers))
    if response.status in (204, 304):
        del result.headers["Content-Length"]
    else:
        result.headers["Content-Length"] = str(len(response.body))
    if "Content-Type" not in response.headers:
        del result.headers["Content-Type"]
    return result
