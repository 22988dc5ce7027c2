"""The files for browsers below `/roundel/`: public, and usable by pages of any origin.

Each file has two URLs. `/roundel/NAME` is revalidated at each use. The URL with the
hash of the content never changes, so it is cached for a year. `/roundel/` lists the
latter, with the integrity of the content (W3C Subresource Integrity).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from hashlib import sha384
from importlib import resources
from typing import Final

from msgspec import Struct

from ..messages import Request, Response, json_response
from ..static_file import StaticFile

_FILES: Final = ("roundel.js", "bell.js")
_CAST: Final = re.compile(rb"/\*\* @type \{.*?\} \*/ ?")
_JAVASCRIPT: Final = "text/javascript; charset=utf-8"
_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}
_IMMUTABLE: Final = {"Cache-Control": "public, max-age=31536000, immutable"}

Handler = Callable[[Request], Awaitable[Response]]


class WebFile(Struct):
    """The URL of a file that never changes, and the integrity of its content."""

    url: str
    integrity: str


def _without_comments(source: bytes) -> bytes:
    """Return *source* without comments: a third of the compressed size.

    It relies on the style of these files, in which each comment begins a line, except
    for casts: `/** @type {T} */ (value)`.
    """
    lines, is_comment = [], False
    for line in map(bytes.strip, _CAST.sub(b"", source).splitlines()):
        if is_comment or line.startswith(b"/*"):
            _, end, line = line.partition(b"*/")
            is_comment = not end
        if line and not is_comment and not line.startswith(b"//"):
            lines.append(line.strip())
    return b"\n".join((*lines, b""))


@cache
def web_routes() -> Mapping[str, Handler]:
    """Return the handler of `GET` at each path; no credentials are needed."""
    folder = resources.files("roundel_service") / "web"
    handlers: dict[str, Handler] = {}
    index: dict[str, WebFile] = {}
    for name in _FILES:
        content = _without_comments((folder / name).read_bytes())
        digest = sha384(content).digest()
        stem, _, suffix = name.partition(".")
        url = f"/roundel/{stem}-{digest.hex()[:16]}.{suffix}"
        index[name] = WebFile(url, f"sha384-{b64encode(digest).decode()}")
        current = StaticFile(content, _JAVASCRIPT, _HEADERS)
        handlers[f"/roundel/{name}"] = current.respond
        immutable = StaticFile(content, _JAVASCRIPT, {**_HEADERS, **_IMMUTABLE})
        handlers[url] = immutable.respond

    async def list_files(request: Request) -> Response:
        return json_response(index)

    return {"/roundel/": list_files, **handlers}
