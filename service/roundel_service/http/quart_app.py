"""Serves the routes of the HTTP contract as a Quart-Trio application."""

from __future__ import annotations

from functools import partial

from quart import Response as QuartResponse
from quart import request as quart_request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from roundel_adapters.quart import prepare, stream_response

from ..telemetry import access_log
from .cors import Cors
from .dispatcher import NO_ROUTE, Dispatcher
from .messages import (
    AnyResponse,
    EventStreamResponse,
    Request,
    Response,
    StreamingResponse,
)
from .problems import problem_of_status
from .routes import Handler, Route


def create_app(dispatcher: Dispatcher, routes: tuple[Route, ...]) -> QuartTrio:
    """Return an ASGI application that passes *routes* to *dispatcher*."""
    app = QuartTrio(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    prepare(app)
    # Neither redirect nor merge: with an empty user name, a path must not become the
    # path of another route.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.path, []).append(route.method)
    preflights = [
        Route("OPTIONS", path, _preflight(dispatcher.cors, allowed))
        for path, allowed in methods.items()
    ]
    for route in (*routes, *preflights):
        rule = route.path.replace("{", "<").replace("}", ">")
        view = partial(_respond, dispatcher, route.path, route.handler)
        endpoint = f"{route.method} {route.path}"
        app.add_url_rule(rule, endpoint, view, methods=[route.method])
    app.register_error_handler(HTTPException, partial(_on_http_error, dispatcher))
    return app


async def _respond(
    dispatcher: Dispatcher, route: str, handler: Handler, /, **params: str
) -> QuartResponse:
    request = Request(
        id=access_log.request_id(quart_request.headers.get("X-Request-Id")),
        method=quart_request.method,
        path=quart_request.path,
        params=params,
        query=quart_request.query_string,
        headers=quart_request.headers,
        body=aiter(quart_request.body),
    )
    return _quart_response(request, await dispatcher.handle(route, request, handler))


def _preflight(cors: Cors, methods: list[str]) -> Handler:
    async def preflight(request: Request) -> Response:
        allow = ["OPTIONS", *(["HEAD"] if "GET" in methods else []), *methods]
        headers = cors.preflight(request.headers.get("Origin"), methods)
        return Response(status=204, headers={"Allow": ", ".join(allow), **headers})

    return preflight


async def _on_http_error(dispatcher: Dispatcher, error: HTTPException) -> QuartResponse:
    """Return the problem response of an error that Quart raised, such as 404 or 405."""

    headers = {
        name: ", ".join(sorted(value.split(", ")))
        for name, value in error.get_headers()
        if name == "Allow"
    }
    problem = problem_of_status(error.code or 500, error.description, **headers)

    async def handler(request: Request) -> AnyResponse:
        raise problem

    return await _respond(dispatcher, NO_ROUTE, handler)


def _quart_response(request: Request, response: AnyResponse) -> QuartResponse:
    headers = dict(response.headers)
    match response:
        case EventStreamResponse():
            result = stream_response(
                response.stream, response.wakeup, lifespan=response.lifespan
            )
            result.headers.update(headers)
            return result
        case StreamingResponse():
            result = QuartResponse(response.body, headers=headers)
            result.timeout = None
        case Response():
            # Quart would read a body that is omitted here with asyncio.
            body = b"" if request.method == "HEAD" else response.body
            result = QuartResponse(body, response.status, headers=headers)
            if response.status in (204, 304):
                del result.headers["Content-Length"]
            else:
                result.headers["Content-Length"] = str(len(response.body))
    if "Content-Type" not in headers:
        del result.headers["Content-Type"]
    return result
