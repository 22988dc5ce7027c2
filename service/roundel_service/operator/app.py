"""The application on the operator's listener: health checks and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec
import structlog
import trio
from quart import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from ..http.problems import problem_of_status
from ..http.responses import LiveResponse, NotReadyResponse, ReadyResponse
from ..telemetry.metrics import CONTENT_TYPE, Metrics

Readiness: TypeAlias = Callable[[], Awaitable[Mapping[str, str]]]
"""Returns the reasons why the service is not ready, by name; empty if it is ready."""

READINESS_TIMEOUT = 2.0
"""Timeout of the readiness check, in seconds."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def create_operator_app(*, metrics: Metrics, readiness: Readiness) -> QuartTrio:
    """Create the ASGI application of the operator's listener.

    It has no authentication, so its listener must not be public. If *readiness* raises
    or takes more than `READINESS_TIMEOUT`, the service is not ready.
    """
    app = QuartTrio(__name__, static_folder=None)

    async def live() -> Response:
        return _json(200, LiveResponse("ok"))

    async def ready() -> Response:
        if reasons := await _reasons(readiness):
            return _json(503, NotReadyResponse("not ready", reasons))
        return _json(200, ReadyResponse("ready"))

    async def metrics_text() -> Response:
        return _response(200, metrics.text(), CONTENT_TYPE)

    for path, view in [
        ("/livez", live),
        ("/readyz", ready),
        ("/metrics", metrics_text),
    ]:
        app.add_url_rule(path, view_func=view, provide_automatic_options=False)
    app.register_error_handler(HTTPException, _http_problem)
    return app


async def _reasons(readiness: Readiness) -> Mapping[str, str]:
    with trio.move_on_after(READINESS_TIMEOUT):
        try:
            return await readiness()
        except Exception as error:
            # The error may contain an address with a password. The log redacts it,
            # but this response would not.
            log.exception("readiness failed")
            return {"readiness": f"failed with {type(error).__name__}"}
    return {"readiness": f"not known within {READINESS_TIMEOUT:g} s"}


def _json(status: int, document: object, media_type: str = "json") -> Response:
    body = msgspec.json.encode(document)
    return _response(status, body, f"application/{media_type}")


def _response(status: int, body: bytes, content_type: str) -> Response:
    # A cached health check is worse than none.
    headers = {"Cache-Control": "no-store"}
    return Response(body, status, headers=headers, content_type=content_type)


async def _http_problem(error: HTTPException) -> Response:
    """Return a problem document for an error of the framework, such as 404 or 405."""
    problem = problem_of_status(error.code or 500, error.description)
    response = _json(problem.status, problem.document(), "problem+json")
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response
