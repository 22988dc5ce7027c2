"""The application on the operator's listener: health checks and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

import attrs
import structlog
import trio
from quart import Request as QuartRequest
from quart import Response as QuartResponse
from quart_trio import QuartTrio

from ..http.apps.routed_app import RoutedApp, convert_request, raw_path, whole_response
from ..http.messages import Request, Response, json_response, problem_response
from ..http.problems import Problem
from ..http.responses import LiveResponse, NotReadyResponse, ReadyResponse
from ..http.router import Route, Router
from ..telemetry.metrics import CONTENT_TYPE, Metrics

Readiness: TypeAlias = Callable[[], Awaitable[Mapping[str, str]]]
"""Returns the reasons why the service is not ready, by name; empty if it is ready."""

Warnings: TypeAlias = Callable[[], Mapping[str, str]]
"""Returns what needs a look although the service is ready, by name."""

READINESS_TIMEOUT = 2.0
"""Timeout of the readiness check, in seconds."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


def create_operator_app(
    *, metrics: Metrics, readiness: Readiness, warnings: Warnings = dict
) -> QuartTrio:
    """Create the ASGI application of the operator's listener.

    It has no authentication, so its listener must not be public. If *readiness* raises
    or takes more than `READINESS_TIMEOUT`, the service is not ready.
    """
    routes = operator_routes(metrics=metrics, readiness=readiness, warnings=warnings)
    router = Router(routes)
    return RoutedApp(partial(_serve, router))


def operator_routes(
    *, metrics: Metrics, readiness: Readiness, warnings: Warnings = dict
) -> tuple[Route, ...]:
    """Return the route of every operation of the operator's listener."""

    async def live(request: Request) -> Response:
        return json_response(LiveResponse("ok"))

    async def ready(request: Request) -> Response:
        if reasons := await _reasons(readiness):
            response = json_response(NotReadyResponse("not ready", reasons))
            return attrs.evolve(response, status=503)
        return json_response(ReadyResponse("ready", warnings()))

    async def metrics_text(request: Request) -> Response:
        headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
        return Response(body=metrics.text(), headers=headers)

    return (
        Route("GET", "/livez", live),
        Route("GET", "/readyz", ready),
        Route("GET", "/metrics", metrics_text),
    )


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


async def _serve(router: Router, request: QuartRequest) -> QuartResponse:
    try:
        match = router.match(request.method, raw_path(request))
    except Problem as problem:
        return whole_response(request, problem_response(problem))
    response = await match.route.handler(convert_request(request, match.params))
    assert isinstance(response, Response)
    return whole_response(request, response)
