"""What is served of the description: the document, and the page that shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from hashlib import blake2b
from importlib import resources
from typing import TypeAlias, final

import attrs
import msgspec

from .. import decoding as requests
from ..messages import Request, Response
from .document import document

Page: TypeAlias = Callable[[Request], Awaitable[Response]]

_DOCUMENT = "/openapi.json"
_FILES = {
    "/api": ("http/openapi/api.html", "text/html; charset=utf-8"),
    "/api.css": ("http/openapi/api.css", "text/css; charset=utf-8"),
    "/api.js": ("http/openapi/api.js", "text/javascript; charset=utf-8"),
    "/api.svg": ("icon.svg", "image/svg+xml"),
}

# The page loads its own files and asks for the document; nothing else may happen.
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@cache
def pages() -> Mapping[str, Page]:
    """Return what answers `GET` at each path; nobody has to prove anything there."""
    folder = resources.files("roundel_service")
    files = {
        path: _StaticFile.of((folder / name).read_bytes(), content_type, _PAGE_HEADERS)
        for path, (name, content_type) in _FILES.items()
    }
    content = msgspec.json.encode(document())
    told = _StaticFile.of(
        content, "application/json", {"X-Content-Type-Options": "nosniff"}
    )
    return {path: file.answer for path, file in {_DOCUMENT: told, **files}.items()}


@final
@attrs.frozen
class _StaticFile:
    """What never changes while the process runs."""

    content: bytes
    tag: str
    headers: Mapping[str, str]

    @classmethod
    def of(
        cls, content: bytes, content_type: str, more: Mapping[str, str]
    ) -> _StaticFile:
        tag = blake2b(content, digest_size=12).hexdigest()
        headers = {
            "ETag": f'"{tag}"',
            # Kept, and asked for again each time: a new version is seen at once.
            "Cache-Control": "public, no-cache",
            **more,
        }
        return cls(content, tag, {"Content-Type": content_type, **headers})

    async def answer(self, request: Request) -> Response:
        """Answer with the file, or with 304 to whoever has it."""
        if self.tag not in requests.if_none_match(request.headers.get("If-None-Match")):
            return Response(body=self.content, headers=self.headers)
        kept = {n: v for n, v in self.headers.items() if n != "Content-Type"}
        return Response(status=304, headers=kept)
