"""The routes of the OpenAPI document and of the page that renders it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache

import msgspec

from ..messages import Request, Response
from ..static_file import StaticFile, page_files
from .document import document

_FILES = {
    "/api": ("http/openapi/api.html", "text/html; charset=utf-8"),
    "/api.css": ("http/openapi/api.css", "text/css; charset=utf-8"),
    "/api.js": ("http/openapi/api.js", "text/javascript; charset=utf-8"),
    "/api.svg": ("icon.svg", "image/svg+xml"),
}


@cache
def pages() -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
    """Return the handler of `GET` at each path; no credentials are needed."""
    content = msgspec.json.encode(document())
    headers = {"X-Content-Type-Options": "nosniff"}
    files = {
        "/openapi.json": StaticFile(content, "application/json", headers),
        **page_files(_FILES),
    }
    return {path: file.respond for path, file in files.items()}
