"""Entity tags of requests."""

from __future__ import annotations

from collections.abc import Callable

from .messages import Request


def known_etags(request: Request) -> Callable[[str], bool]:
    """Return whether `If-None-Match` has an entity tag, given without its quotes.

    The comparison is weak (RFC 9110 13.1.2).
    """
    fields = request.headers.getlist("If-None-Match")
    if not fields:
        return lambda etag: False
    from werkzeug.http import parse_etags  # 20 ms of a start.

    return parse_etags(", ".join(fields)).contains_weak
