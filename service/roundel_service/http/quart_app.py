"""The HTTP contract as a Quart-Trio application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus

from quart import Response as QuartResponse
from quart import request as quart_request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from roundel_adapters.quart import prepare, stream_response

from ..telemetry import access_log as access
from .cors import Cors
from .dispatcher import NO_ROUTE, Dispatcher
from .messages import (
    AnyResponse,
    EventStreamResponse,
    Request,
    Response,
    StreamingResponse,
)
from .problems import Problem
from .routes import Handler, Route


def create_app(dispatcher: Dispatcher, routes: tuple[Route, ...]) -> QuartTrio:
    """Return the ASGI application that answers at *desk* what *routes* tell."""
    app = QuartTrio(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    # With an empty name of a user, a path must not become that of another call.
    app.url_map.merge_slashes = False
    prepare(app)
    # A path is what it is: no redirection to what it might have meant.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.path, []).append(route.method)
        _add(app, dispatcher, route)
    for path, allowed in methods.items():
        _add(
            app,
            dispatcher,
            Route("OPTIONS", path, _preflight(dispatcher.cors, allowed)),
        )
    app.register_error_handler(HTTPException, partial(_refuse, dispatcher))
    return app


def _add(app: QuartTrio, desk: Dispatcher, route: Route) -> None:
    rule = route.path.replace("{", "<").replace("}", ">")
    endpoint = f"{route.method} {route.path}"
    app.add_url_rule(rule, endpoint, _view(desk, route), methods=[route.method])


def _view(desk: Dispatcher, route: Route) -> Callable[..., Awaitable[QuartResponse]]:
    async def view(**params: str) -> QuartResponse:
        request = _request(params)
        return _response(request, await desk.handle(route.path, request, route.handler))

    return view


def _preflight(cors: Cors, methods: list[str]) -> Handler:
    async def preflight(request: Request) -> Response:
        allow = ["OPTIONS", *(["HEAD"] if "GET" in methods else []), *methods]
        headers = cors.preflight(request.headers.get("Origin"), methods)
        return Response(status=204, headers={"Allow": ", ".join(allow), **headers})

    return preflight


async def _refuse(desk: Dispatcher, error: HTTPException) -> QuartResponse:
    """Answer what the framework refuses in the same form as everything else."""

    async def handler(request: Request) -> AnyResponse:
        raise _problem(error)

    request = _request({})
    return _response(request, await desk.handle(NO_ROUTE, request, handler))


def _request(params: Mapping[str, str]) -> Request:
    return Request(
        id=access.request_id(quart_request.headers.get("X-Request-Id")),
        method=quart_request.method,
        path=quart_request.path,
        params=params,
        query=quart_request.query_string,
        headers=quart_request.headers,
        body=aiter(quart_request.body),
    )


def _response(request: Request, reply: AnyResponse) -> QuartResponse:
    match reply:
        case EventStreamResponse():
            response = stream_response(
                reply.stream, reply.wakeup, lifespan=reply.lifespan
            )
            response.headers.update(reply.headers)
        case StreamingResponse():
            response = QuartResponse(reply.body, headers=dict(reply.headers))
            response.timeout = None
        case Response():
            # Quart reads a body that is not given by asyncio's means: b"" it is.
            body = b"" if request.method == "HEAD" else reply.body
            response = QuartResponse(body, reply.status, headers=dict(reply.headers))
            if reply.status in (204, 304):
                del response.headers["Content-Length"]
            else:
                response.headers["Content-Length"] = str(len(reply.body))
    if "Content-Type" not in reply.headers and not isinstance(
        reply, EventStreamResponse
    ):
        del response.headers["Content-Type"]
    return response


def _problem(error: HTTPException) -> Problem:
    status = HTTPStatus(error.code or 500)
    return Problem(
        status=status.value,
        name=status.phrase.lower().replace(" ", "-"),
        title=status.phrase,
        detail=error.description or status.description,
        headers={
            name: ", ".join(sorted(value.split(", ")))
            for name, value in error.get_headers()
            if name == "Allow"
        },
    )
