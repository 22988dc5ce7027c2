"""The routes of the OpenAPI document and of the page that renders it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache

import msgspec
import trio

from ..messages import Request, Response
from ..static_file import StaticFile, page_files

_FILES = {
    "/api": ("http/openapi/api.html", "text/html; charset=utf-8"),
    "/api.css": ("http/openapi/api.css", "text/css; charset=utf-8"),
    "/api.js": ("http/openapi/api.js", "text/javascript; charset=utf-8"),
    "/api.svg": ("icon.svg", "image/svg+xml"),
}


@cache
def pages() -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
    """Return the handler of `GET` at each path; no credentials are needed."""
    files = page_files(_FILES)
    handlers = {path: file.respond for path, file in files.items()}
    return {"/openapi.json": _respond_document, **handlers}


async def _respond_document(request: Request) -> Response:
    # In a thread: the document takes 60 ms to make.
    file = await trio.to_thread.run_sync(_document_file)
    return await file.respond(request)


@cache
def _document_file() -> StaticFile:
    from .document import document

    headers = {"X-Content-Type-Options": "nosniff"}
    return StaticFile(msgspec.json.encode(document()), "application/json", headers)
