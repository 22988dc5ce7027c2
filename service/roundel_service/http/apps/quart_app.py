"""Serves the routes of the HTTP contract as a Quart-Trio application."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import inf

from quart import Request as QuartRequest
from quart import Response as QuartResponse
from quart import request as quart_request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from roundel_adapters.quart import stream_response
from roundel_adapters.quart_trio import prepare

from ..cors import Cors
from ..dispatcher import NO_ROUTE, Dispatcher
from ..messages import (
    AnyResponse,
    EventStreamResponse,
    Request,
    Response,
    StreamingResponse,
)
from ..problems import Problem, problem_of_status
from ..router import Handler, Route, Router
from .routed_app import RoutedApp, convert_request, raw_path, whole_response


def create_app(dispatcher: Dispatcher, router: Router) -> QuartTrio:
    """Return an ASGI application that passes the routes of *router* to *dispatcher*."""
    methods: dict[str, list[str]] = {}
    for route in router.routes:
        methods.setdefault(route.path, []).append(route.method)
    preflights = [
        Route("OPTIONS", path, _preflight(dispatcher.cors, allowed))
        for path, allowed in methods.items()
    ]
    every_method = sorted({route.method for route in router.routes})
    preflights.append(Route("OPTIONS", "*", _server_options(every_method)))
    with_preflights = Router([*router.routes, *preflights])
    app = RoutedApp(partial(_serve, dispatcher, with_preflights))
    prepare(app)
    app.register_error_handler(HTTPException, partial(_on_http_error, dispatcher))
    return app


async def _serve(
    dispatcher: Dispatcher, router: Router, request: QuartRequest
) -> QuartResponse:
    try:
        match = router.match(
            request.method, raw_path(request), mounted_at=request.root_path
        )
    except Problem as problem:
        return await _respond(dispatcher, NO_ROUTE, _raising(problem), request, {})
    route = match.route
    return await _respond(dispatcher, route.path, route.handler, request, match.params)


async def _respond(
    dispatcher: Dispatcher,
    route: str,
    handler: Handler,
    received: QuartRequest,
    params: Mapping[str, str],
) -> QuartResponse:
    request = convert_request(received, params)
    response = await dispatcher.handle(route, request, handler)
    return _quart_response(received, response)


def _raising(problem: Problem) -> Handler:
    async def handler(request: Request) -> AnyResponse:
        raise problem

    return handler


def _preflight(cors: Cors, methods: list[str]) -> Handler:
    async def preflight(request: Request) -> Response:
        allow = ["OPTIONS", *(["HEAD"] if "GET" in methods else []), *methods]
        asked = request.headers.getlist("Access-Control-Request-Headers")
        headers = cors.preflight(request.headers.get("Origin"), asked)
        return Response(status=204, headers={"Allow": ", ".join(allow), **headers})

    return preflight


def _server_options(methods: list[str]) -> Handler:
    allow = ", ".join(["OPTIONS", "HEAD", *methods])

    async def options(request: Request) -> Response:
        # RFC 9110 9.3.7: the asterisk asks for the methods of the server.
        return Response(headers={"Allow": allow})

    return options


async def _on_http_error(dispatcher: Dispatcher, error: HTTPException) -> QuartResponse:
    """Return the problem response of an error that Quart raised."""
    problem = problem_of_status(error.code or 500, error.description)
    return await _respond(dispatcher, NO_ROUTE, _raising(problem), quart_request, {})


def _quart_response(request: QuartRequest, response: AnyResponse) -> QuartResponse:
    match response:
        case EventStreamResponse():
            result = stream_response(
                response.stream,
                response.wakeup,
                lifespan=response.lifespan,
                # The server cuts a peer that reads nothing. The stream says `bye` to
                # one that reads again.
                write_timeout=inf,
            )
            result.headers.update(response.headers)
        case StreamingResponse():
            result = QuartResponse(response.body, headers=dict(response.headers))
            result.timeout = None
        case Response():
            result = whole_response(request, response)
    return result
