"""Finds the route of a request by its raw path.

A path is split at its slashes, and each segment is decoded after that (RFC 3986 2.4).
An encoded slash is thus a part of a user's name and separates nothing. Neither empty
nor dot segments are removed: they match no route, but may be a user's name.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias, final

import attrs

from .messages import AnyResponse, Request, percent_decode
from .problems import Problem

Handler: TypeAlias = Callable[[Request], Awaitable[AnyResponse]]

_ORIGIN = re.compile(rb"^https?://(?:\[[0-9a-f:.]+\]|[^/\[\]])+", re.IGNORECASE)


@final
@attrs.frozen
class Route:
    """A method and a path template; ``{name}`` in *path* is a path parameter."""

    method: str
    path: str
    handler: Handler


@final
@attrs.frozen
class Match:
    """The route of a request, and the decoded path parameters by name.

    A parameter that is not percent-encoded UTF-8 contains a lone surrogate.
    """

    route: Route
    params: Mapping[str, str]


@final
@attrs.frozen
class _Path:
    """The routes of one path template, by method."""

    segments: list[str]
    routes: dict[str, Route] = attrs.field(factory=dict)

    def params(self, segments: list[str]) -> dict[str, str] | None:
        """Return the parameters in *segments*, of which there are as many as own.

        Returns `None` if the template differs.
        """
        params = {}
        for own, segment in zip(self.segments, segments, strict=True):
            if own[:1] == "{" and segment:
                params[own[1:-1]] = segment
            elif own != segment:
                return None
        return params


@final
class Router:
    """Finds the routes of requests."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes: tuple[Route, ...] = tuple(routes)
        paths: dict[str, _Path] = {}
        for route in self.routes:
            own = paths.setdefault(route.path, _Path(_split(route.path)))
            own.routes[route.method] = route
            if route.method == "GET":
                own.routes.setdefault("HEAD", route)
        # As received, nearly every path without parameters is equal to its template.
        self._fixed = {t.encode(): own for t, own in paths.items() if "{" not in t}
        self._by_length: dict[int, list[_Path]] = {}
        # Paths without parameters take precedence.
        for template in sorted(paths, key=lambda template: "{" in template):
            own = paths[template]
            self._by_length.setdefault(len(own.segments), []).append(own)

    def match(self, method: str, path: bytes, *, mounted_at: str = "") -> Match:
        """Return the route of *path*; raises a 404 or 405 `Problem`.

        *path* is as received, without the query. It begins with *mounted_at*, the
        decoded path of an application that contains this one.
        """
        if not mounted_at and (fixed := self._fixed.get(path)) is not None:
            return Match(_route(fixed, method), {})
        segments, prefix = _decoded_segments(path), _split(mounted_at.rstrip("/"))
        if segments[: len(prefix)] != prefix:
            raise Problem("not-found")
        del segments[: len(prefix)]
        for each in self._by_length.get(len(segments), ()):
            params = each.params(segments)
            if params is not None:
                return Match(_route(each, method), params)
        raise Problem("not-found")


def _route(path: _Path, method: str) -> Route:
    route = path.routes.get(method)
    if route is None:
        allowed = ", ".join(sorted(path.routes))
        raise Problem("method-not-allowed", headers={"Allow": allowed})
    return route


def _split(path: str) -> list[str]:
    return path.split("/")[1:]


def _decoded_segments(path: bytes) -> list[str]:
    """Return the segments of *path*, none for an asterisk; raises a 404 `Problem`."""
    if path == b"*":
        return []
    # RFC 9112 3.2.2: a server has to accept a URL in place of a path.
    path = _ORIGIN.sub(b"", path, count=1)
    # RFC 9112 3.2: a request target has no fragment.
    if path[:1] != b"/" or b"#" in path:
        raise Problem("not-found")
    return [percent_decode(segment) for segment in path[1:].split(b"/")]
