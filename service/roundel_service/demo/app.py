"""The demo: a page with two users side by side, and a connection to cut.

The page holds a producer key and can act as either user. It is therefore served only
to this machine, and only under a loopback name. A foreign page cannot make a browser
request it under such a name (DNS rebinding).

Each user has the whole service below a path, and a cookie for that path. The page thus
works like any site: with plain `EventSource`, and authentication by cookie.
"""

from __future__ import annotations

import re
from typing import TypeAlias, final

import attrs
import msgspec
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from ..app import Service
from ..http.problems import Problem
from ..http.responses import PROBLEM_MEDIA_TYPE
from ..http.static_file import PAGE_HEADERS, StaticFile, page_files

COOKIE_TTL = 12 * 3_600
"""Lifetime of the cookies of the two users, in seconds."""

_FILES = {
    "/": ("demo/demo.html", "text/html; charset=utf-8"),
    "/demo.css": ("demo/demo.css", "text/css; charset=utf-8"),
    "/demo.js": ("demo/demo.js", "text/javascript; charset=utf-8"),
    "/demo.svg": ("icon.svg", "image/svg+xml"),
    "/subscriber.js": ("demo/subscriber.js", "text/javascript; charset=utf-8"),
}
_SETUP = b"{{setup}}"
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?")

_HEADERS = {**PAGE_HEADERS, "Cache-Control": "no-store"}

_Header: TypeAlias = tuple[str, str]


def demo_app(
    service: Service, *, users: tuple[str, str] = ("alice", "bob"), producer_key: str
) -> Demo:
    """Return an ASGI application that adds the demo page to *service*.

    `GET /` returns the page, and sets a cookie for each of *users*. The service itself
    is below ``/as/USER``. The page contains *producer_key*.
    """
    return Demo(service, users, producer_key, page_files(_FILES))


@final
@attrs.frozen(repr=False)
class Demo:
    """The ASGI application of the demo."""

    _service: Service
    _users: tuple[str, str]
    _producer_key: str
    _files: dict[str, StaticFile]

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve the page and its files; pass other requests to the service."""
        if scope["type"] == "http":
            if file := self._files.get(scope["path"]):
                await _send(send, scope, *self._response(scope, file))
                return
            if prefix := self._prefix(scope["path"]):
                # ASGI: path and raw_path include root_path; the framework removes it.
                scope = {**scope, "root_path": prefix}
        await self._service.app(scope, receive, send)

    def _prefix(self, path: str) -> str | None:
        prefixes = map(_prefix_of, self._users)
        return next((p for p in prefixes if path.startswith(f"{p}/")), None)

    def _response(
        self, scope: HTTPScope, file: StaticFile
    ) -> tuple[int, list[_Header], bytes]:
        if not _has_loopback_host(scope):
            return _problem(Problem("forbidden", "Host: expected a loopback name"))
        if scope["method"] not in ("GET", "HEAD"):
            return _problem(_METHOD_NOT_ALLOWED)
        headers = [("Content-Type", file.content_type)]
        if _SETUP not in file.content:
            return 200, headers, file.content
        cookies = [("Set-Cookie", self._cookie(user)) for user in self._users]
        return 200, headers + cookies, file.content.replace(_SETUP, self._setup())

    def _cookie(self, user: str) -> str:
        token = self._service.authenticator.sign(user, ttl=COOKIE_TTL)
        path = _prefix_of(user)
        return (
            f"{self._service.authenticator.cookie}={token}; Path={path}/; "
            f"Max-Age={COOKIE_TTL}; HttpOnly; SameSite=Strict"
        )

    def _setup(self) -> bytes:
        users = [{"name": user, "path": _prefix_of(user)} for user in self._users]
        return _script_json({"producerKey": self._producer_key, "users": users})


_METHOD_NOT_ALLOWED = Problem(
    "method-not-allowed", "expected GET or HEAD", headers={"Allow": "GET, HEAD"}
)


def _prefix_of(user: str) -> str:
    return f"/as/{user}"


def _has_loopback_host(scope: HTTPScope) -> bool:
    hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
    return len(hosts) == 1 and bool(_LOOPBACK.fullmatch(hosts[0].decode("latin-1")))


def _script_json(document: object) -> bytes:
    """Encode *document* so that it cannot end its script element."""
    text = msgspec.json.encode(document).decode()
    escaped = re.sub("[<>&\u2028\u2029]", lambda m: f"\\u{ord(m[0]):04x}", text)
    return escaped.encode()


def _problem(problem: Problem) -> tuple[int, list[_Header], bytes]:
    headers = [("Content-Type", PROBLEM_MEDIA_TYPE), *problem.headers.items()]
    return problem.status, headers, msgspec.json.encode(problem.document())


async def _send(
    send: ASGISendCallable,
    scope: HTTPScope,
    status: int,
    headers: list[_Header],
    body: bytes,
) -> None:
    fields = [*_HEADERS.items(), *headers, ("Content-Length", str(len(body)))]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in fields],
        }
    )
    body = b"" if scope["method"] == "HEAD" else body
    await send({"type": "http.response.body", "body": body, "more_body": False})
