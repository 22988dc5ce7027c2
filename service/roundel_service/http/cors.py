"""Requests of pages of other origins: CORS, and the protection of writes by cookie.

CORS (WHATWG Fetch 3.2) lets the pages of listed origins call with credentials.

A browser adds a cookie to the requests of any page, and says where the page comes from
(CSRF). The rules are those of Go's `net/http.CrossOriginProtection`: `Sec-Fetch-Site`
decides (Fetch Metadata 2.3), since it is right behind every proxy. Older browsers send
`Origin` only, which is compared with `Host`. No page can set one of the three fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import final

import attrs

from .messages import RequestHeaders
from .origins import DEFAULT_PORTS, patterns_of

MAX_ASKED_HEADERS = 4_096
"""Maximum length of the header names that a preflight asks for, in characters."""

_METHODS = "GET, HEAD, POST, PUT, DELETE"
_EXPOSED_HEADERS = "ETag, Retry-After, X-Request-Id"
_MAX_AGE = "600"
_MAX_SHOWN = 64
# RFC 9110 5.6.1: a list of field names, in which elements may be empty.
_NAME = r"(?:[\w!#$%&'*+.^`|~-]+[ \t]*)?"
_NAMES = re.compile(rf"[ \t]*{_NAME}(?:,[ \t]*{_NAME})*", re.ASCII)


@final
@attrs.define(eq=False)
class Cors:
    """Allows *origins* and patterns, with credentials; a reload replaces them."""

    origins: frozenset[str] = frozenset()

    def allows(self, origin: str | None) -> bool:
        """Return whether *origin* is allowed."""
        # A pattern is in the list, and is no origin of a page.
        if not origin or "*" in origin:
            return False
        if origin in self.origins:
            return True
        return any(pattern in self.origins for pattern in patterns_of(origin))

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """Return the CORS headers of a response to *origin*."""
        if not self.origins:
            return {}
        if origin is None or not self.allows(origin):
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
        }

    def preflight(self, origin: str | None, asked: Sequence[str]) -> Mapping[str, str]:
        """Return the headers of a preflight response, in addition to `headers()`.

        *asked* has the fields `Access-Control-Request-Headers`. All headers are
        allowed, since libraries for tracing add their own, but none by ``*``: that
        means no header where credentials are allowed.
        """
        if not self.allows(origin):
            return {}
        headers = {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Max-Age": _MAX_AGE,
        }
        names = ", ".join(asked)
        if names and len(names) <= MAX_ASKED_HEADERS and _NAMES.fullmatch(names):
            headers["Access-Control-Allow-Headers"] = names
        return headers


def cross_origin_reason(headers: RequestHeaders, cors: Cors) -> str | None:
    """Return why a write is of a foreign page; `None` if it is of an own one."""
    # A proxy may repeat a field: over HTTP/2, `Host` beside `:authority`.
    site, origin, host = (
        ", ".join(dict.fromkeys(headers.getlist(name)))
        for name in ("Sec-Fetch-Site", "Origin", "Host")
    )
    if site in ("same-origin", "none") or cors.allows(origin):
        return None
    if site:
        return (
            "write by cookie: expected Sec-Fetch-Site same-origin, or an Origin of "
            f"ROUNDEL_CORS_ORIGINS, got Sec-Fetch-Site {_shown(site)} and Origin "
            f"{_shown(origin)}"
        )
    if _names_host(origin, host):
        return None
    return (
        "write by cookie: expected an Origin that equals Host, or is one of "
        f"ROUNDEL_CORS_ORIGINS, got Origin {_shown(origin)} and Host {_shown(host)}"
    )


def _names_host(origin: str, host: str) -> bool:
    """Return whether *origin* has this *host*.

    Case and default port do not count (RFC 3986 3.2). The schemes are not compared: a
    proxy that terminates TLS leaves no trace in `Host`.
    """
    scheme, _, authority = origin.lower().partition("://")
    port = f":{DEFAULT_PORTS.get(scheme, '')}"
    own = host.lower().removesuffix(":").removesuffix(port)
    # A comma is between different values of one field.
    is_single = bool(authority) and "," not in authority
    return is_single and authority.removesuffix(port) == own


def _shown(value: str) -> str:
    return repr(value[:_MAX_SHOWN]) if value else "none"
