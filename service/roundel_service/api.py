"""The HTTP contract as one table of routes, and its binding to Quart-Trio."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypeAlias, final

import attrs
import trio
from quart import Response
from quart import request as quart_request
from quart_trio import QuartTrio
from structlog.contextvars import bind_contextvars
from werkzeug.exceptions import HTTPException

from roundel_adapters.quart import pull_bodies, stream_response

from . import logs, problems
from .door import Door
from .http import Answer, Events, Lines, Reply, Request, json_answer, problem_answer
from .hub import Hub
from .problems import Problem
from .producers import Producers
from .streaming import Streaming
from .users import Users

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Request], Awaitable[Reply]]


@final
@attrs.frozen
class Route:
    """One call of the contract; ``{name}`` in *path* is a part with a name."""

    method: str
    path: str
    handler: Handler


def create_routes(hub: Hub, door: Door) -> tuple[Route, ...]:
    """Return every call of the contract."""
    producers, users = Producers(hub, door), Users(hub, door)
    user, gauge = "/v1/users/{user}", "/v1/users/{user}/gauges/{category}"
    return (
        Route("POST", "/v1/notify", producers.notify),
        Route("POST", "/v1/batch", producers.batch),
        Route("DELETE", "/v1/items", producers.retract),
        Route("PUT", gauge, producers.set_gauge),
        Route("DELETE", gauge, producers.drop_gauge),
        Route("GET", f"{user}/badge", users.badge_of_user),
        Route("GET", f"{user}/explain", producers.explain),
        Route("POST", f"{user}/disconnect", producers.disconnect),
        Route("DELETE", user, producers.forget),
        Route("POST", "/v1/tickets", users.ticket),
        Route("GET", "/v1/badge", users.badge),
        Route("GET", "/v1/items", users.items),
        Route("POST", "/v1/ops", users.ops),
        Route("GET", "/v1/stream", Streaming(hub, door).stream),
        Route("GET", "/livez", _live),
    )


async def _live(request: Request) -> Answer:
    return json_answer({"status": "ok"})


def create_app(hub: Hub, door: Door) -> QuartTrio:
    """Return the ASGI application of the badge service.

    `Hub.run()` has to run beside it.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    pull_bodies(app)
    desk = _Desk(hub, door)
    methods: dict[str, list[str]] = {}
    for route in create_routes(hub, door):
        rule = route.path.replace("{", "<").replace("}", ">")
        endpoint = f"{route.method} {route.path}"
        view = desk.view(route)
        app.add_url_rule(rule, endpoint, view, methods=[route.method])
        methods.setdefault(route.path, []).append(route.method)
    for path, allowed in methods.items():
        rule = path.replace("{", "<").replace("}", ">")
        view = desk.view(Route("OPTIONS", path, desk.preflight(allowed)))
        app.add_url_rule(rule, f"OPTIONS {path}", view, methods=["OPTIONS"])
    app.register_error_handler(HTTPException, desk.refuse)
    return app


@final
@attrs.frozen
class _Desk:
    """Takes requests from Quart and gives answers back; everything passes here."""

    hub: Hub
    door: Door

    def view(self, route: Route) -> Callable[..., Awaitable[Response]]:
        async def view(**params: str) -> Response:
            return await self._answer(route.path, _request(params), route.handler)

        return view

    def preflight(self, methods: list[str]) -> Handler:
        async def preflight(request: Request) -> Answer:
            allow = ["OPTIONS", *(["HEAD"] if "GET" in methods else []), *methods]
            origin = request.headers.get("Origin")
            headers = self.door.cors.preflight(origin, methods)
            return Answer(status=204, headers={"Allow": ", ".join(allow), **headers})

        return preflight

    async def refuse(self, error: HTTPException) -> Response:
        """Answer what the framework refuses in the same form as everything else."""

        async def handler(request: Request) -> Answer:
            return _http_answer(error)

        return await self._answer("none", _request({}), handler)

    async def _answer(self, route: str, request: Request, handler: Handler) -> Response:
        began = trio.current_time()
        bind_contextvars(request_id=request.id)
        try:
            _check_no_body(request)
            reply = await handler(request)
        except Problem as problem:
            reply = problem_answer(problem)
        except Exception:
            log.exception("a request failed")
            reply = problem_answer(problems.internal_error())
        seconds = trio.current_time() - began
        self.hub.metrics.requested(request.method, route, reply.status, seconds)
        logs.request_line(
            method=request.method,
            path=request.path,
            status=reply.status,
            seconds=seconds,
            request_id=request.id,
            problem=reply.problem,
        )
        response = _response(request, reply)
        response.headers.update(self.door.cors.headers(request.headers.get("Origin")))
        response.headers["X-Request-Id"] = request.id
        return response


def _request(params: Mapping[str, str]) -> Request:
    return Request(
        id=logs.request_id(quart_request.headers.get("X-Request-Id")),
        method=quart_request.method,
        path=quart_request.path,
        params=params,
        query=quart_request.query_string,
        headers=quart_request.headers,
        body=aiter(quart_request.body),
    )


def _check_no_body(request: Request) -> None:
    """Refuse a body where none is read: it would hide the caller's disconnect."""
    length = request.headers.get("Content-Length") or "0"
    chunked = request.headers.get("Transfer-Encoding") is not None
    if request.method in ("GET", "HEAD") and (length != "0" or chunked):
        raise problems.too_large(f"expected no body with {request.method}")


def _response(request: Request, reply: Reply) -> Response:
    match reply:
        case Events():
            response = stream_response(reply.reader, reply.bell, within=reply.within)
        case Lines():
            response = Response(reply.pieces, headers=dict(reply.headers))
            response.timeout = None
        case Answer():
            # Quart reads a body that is not given by asyncio's means: b"" it is.
            body = b"" if request.method == "HEAD" else reply.body
            response = Response(body, reply.status, headers=dict(reply.headers))
            if reply.status in (204, 304):
                del response.headers["Content-Length"]
            else:
                response.headers["Content-Length"] = str(len(reply.body))
    if "Content-Type" not in reply.headers and not isinstance(reply, Events):
        del response.headers["Content-Type"]
    return response


def _http_answer(error: HTTPException) -> Answer:
    status = HTTPStatus(error.code or 500)
    problem = Problem(
        status=status,
        name=status.phrase.lower().replace(" ", "-"),
        title=status.phrase,
        detail=error.description or status.description,
        headers={name: value for name, value in error.get_headers() if name == "Allow"},
    )
    return problem_answer(problem)
