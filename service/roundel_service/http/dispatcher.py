"""What happens to every request, whichever way it came: it is answered and logged."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import perf_counter
from typing import final

import attrs

from ..engines.base import EngineUnavailable
from ..telemetry import access_log as access
from ..telemetry.metrics import Metrics
from . import problems
from .cors import Cors
from .messages import AnyResponse, Request, Response, problem_response
from .problems import Problem
from .routes import Handler

log = logging.getLogger(__name__)

NO_ROUTE = "none"
"""What the books call the path of a call that there is none of."""


@final
@attrs.frozen
class Dispatcher:
    """Answers requests by their handlers, and keeps the books."""

    cors: Cors
    metrics: Metrics

    async def handle(
        self, route: str, request: Request, handler: Handler
    ) -> AnyResponse:
        """Answer *request* by *handler*, whatever happens in it.

        *route* is the path of the call with its names, for the books.
        """
        began = perf_counter()
        access.bound_request_id.set(request.id)
        reply, problem = await _run_handler(route, request, handler)
        seconds = perf_counter() - began
        self.metrics.requested(request.method, route, reply.status, seconds)
        access.request_line(
            method=request.method,
            path=request.path,
            status=reply.status,
            seconds=seconds,
            request_id=request.id,
            problem=problem,
        )
        headers = {
            **reply.headers,
            **self.cors.headers(request.headers.get("Origin")),
            "X-Request-Id": request.id,
        }
        return _with_headers(reply, headers)


def _with_headers(reply: AnyResponse, headers: Mapping[str, str]) -> AnyResponse:
    """Return *reply* with these *headers*."""
    if not isinstance(reply, Response):
        return attrs.evolve(reply, headers=headers)
    # Nearly all are such, and this takes a quarter of the time.
    return Response(status=reply.status, headers=headers, body=reply.body)


async def _run_handler(
    route: str, request: Request, handler: Handler
) -> tuple[AnyResponse, str | None]:
    """Return the answer, and the name of the problem that it is, if it is one."""
    try:
        if route != NO_ROUTE:
            _check_no_body(request)
        return await handler(request), None
    except Problem as error:
        problem = error
    except EngineUnavailable as error:
        problem = problems.engine_unavailable(str(error))
    except Exception:
        log.exception("a request failed")
        problem = problems.internal_error()
    return problem_response(problem), problem.name


def _check_no_body(request: Request) -> None:
    """Refuse a body where none is read: it would hide the caller's disconnect."""
    if request.method not in ("GET", "HEAD"):
        return
    length = request.headers.get("Content-Length") or "0"
    if length != "0" or request.headers.get("Transfer-Encoding") is not None:
        raise problems.too_large(f"expected no body with {request.method}")
