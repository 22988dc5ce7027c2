"""Protects writes by cookie from pages of other origins (CSRF).

A browser adds a cookie to the requests of any page, and says where the page comes from.
The rules are those of Go's `net/http.CrossOriginProtection`: `Sec-Fetch-Site` decides
(Fetch Metadata 2.3), since it is right behind every proxy. Older browsers send `Origin`
only, which is compared with `Host`. No page can set one of the three fields.
"""

from __future__ import annotations

from .cors import Cors
from .messages import RequestHeaders

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_MAX_SHOWN = 64


def cross_origin_reason(headers: RequestHeaders, cors: Cors) -> str | None:
    """Return why a write is of a foreign page; `None` if it is of an own one."""
    site, origin, host = (
        ", ".join(headers.getlist(name))
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
    port = f":{_DEFAULT_PORTS.get(scheme, '')}"
    own = host.lower().removesuffix(":").removesuffix(port)
    return bool(authority) and authority.removesuffix(port) == own


def _shown(value: str) -> str:
    return repr(value[:_MAX_SHOWN]) if value else "none"
