"""Runs handlers: maps errors to problem responses, and records logs and metrics."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import perf_counter
from typing import final

import attrs
from structlog.contextvars import bind_contextvars

from ..engines.base import EngineUnavailable
from ..telemetry import access_log
from ..telemetry.metrics import Metrics
from .cors import Cors
from .messages import AnyResponse, Request, Response, problem_response
from .problems import Problem, engine_unavailable
from .router import Handler

log: logging.Logger = logging.getLogger(__name__)

NO_ROUTE = "none"
"""The route label in metrics of a request that matches no route."""


@final
@attrs.frozen
class Dispatcher:
    """Runs the handler of a request, and records its log line and metrics."""

    cors: Cors
    metrics: Metrics

    async def handle(
        self, route: str, request: Request, handler: Handler
    ) -> AnyResponse:
        """Return the response of *handler*; an exception becomes a problem response.

        *route* is the path template of the request, for the metrics.
        """
        started = perf_counter()
        bind_contextvars(request_id=request.id)
        response, problem = await _run_handler(route, request, handler)
        seconds = perf_counter() - started
        self.metrics.requested(request.method, route, response.status, seconds)
        access_log.request_line(
            method=request.method,
            path=request.path,
            status=response.status,
            seconds=seconds,
            request_id=request.id,
            problem=problem,
        )
        headers = {
            **response.headers,
            **self.cors.headers(request.headers.get("Origin")),
            "X-Request-Id": request.id,
        }
        return _with_headers(response, headers)


def _with_headers(response: AnyResponse, headers: Mapping[str, str]) -> AnyResponse:
    """Return *response* with these *headers*."""
    if not isinstance(response, Response):
        return attrs.evolve(response, headers=headers)
    # The common case; a constructor call takes a quarter of the time of evolve().
    return Response(status=response.status, headers=headers, body=response.body)


async def _run_handler(
    route: str, request: Request, handler: Handler
) -> tuple[AnyResponse, str | None]:
    """Return the response, and the name of its problem if it is one."""
    try:
        if route != NO_ROUTE:
            _check_body(request)
        return await handler(request), None
    except Problem as error:
        problem = error
    except EngineUnavailable as error:
        problem = engine_unavailable(error)
    except Exception:
        log.exception("a request failed")
        problem = Problem("internal-error")
    return problem_response(problem), problem.name


def _check_body(request: Request) -> None:
    """Raise a 413 or 415 `Problem` for a body that no handler can read."""
    if request.method in ("GET", "HEAD"):
        # An unread body would hide a disconnect.
        length = request.headers.get("Content-Length") or "0"
        if length != "0" or request.headers.get("Transfer-Encoding") is not None:
            raise Problem("too-large", f"expected no body with {request.method}")
        return
    codings = ",".join(request.headers.getlist("Content-Encoding")).lower()
    if codings.replace("identity", "").strip(" \t,"):
        raise Problem("unsupported-media-type")
