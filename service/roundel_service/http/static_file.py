"""Static files of pages that load nothing from other origins."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from importlib import resources
from typing import final

import attrs

from .etags import known_etags
from .messages import Request, Response

# The page loads its own files and calls its own origin; all else is blocked.
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@final
@attrs.frozen(slots=False)
class StaticFile:
    """A file that does not change while the process runs."""

    content: bytes
    content_type: str
    headers: Mapping[str, str] = attrs.field(factory=lambda: PAGE_HEADERS)

    @cached_property
    def etag(self) -> str:
        """The opaque part of the entity tag: a hash of the content."""
        return blake2b(self.content, digest_size=12).hexdigest()

    async def respond(self, request: Request) -> Response:
        """Return the file, or a 304 if `If-None-Match` has its entity tag."""
        headers = {
            "ETag": f'"{self.etag}"',
            # Revalidated at each use, so that a new version is seen immediately.
            "Cache-Control": "public, no-cache",
            **self.headers,
        }
        if known_etags(request)(self.etag):
            return Response(status=304, headers=headers)
        headers["Content-Type"] = self.content_type
        return Response(body=self.content, headers=headers)


def page_files(files: Mapping[str, tuple[str, str]]) -> dict[str, StaticFile]:
    """Return files of this package by URL path; *files* has their name and type."""
    folder = resources.files("roundel_service")
    return {
        path: StaticFile((folder / name).read_bytes(), content_type)
        for path, (name, content_type) in files.items()
    }
